"""How much a collection keeps in its tables. Each walks a table: for worker threads, and not for every request."""

from __future__ import annotations

import sqlite3

from vdb.storage.points import vector_key


def payload_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of all payloads as JSON text in UTF-8."""
    size: int = connection.execute("SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM payloads").fetchone()[0]
    return size


def vector_bytes(connection: sqlite3.Connection, vector_id: int) -> int:
    """Bytes of all vectors of one name; a sparse one has eight an entry."""
    size: int = connection.execute(
        "SELECT coalesce(sum(length(data)), 0) FROM vectors WHERE key >= ? AND key < ?",
        (vector_key(vector_id, 0), vector_key(vector_id + 1, 0)),
    ).fetchone()[0]
    return size
