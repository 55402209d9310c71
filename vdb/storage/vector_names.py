"""The numbers that stand for vector names in keys and file names, so that a client's text never does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from vdb.model.sparse import Space, SparseSpace
from vdb.storage.points import vector_key


def read_vector_ids(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, vector_id FROM vector_names").fetchall())


def ensure_vector_ids(connection: sqlite3.Connection, spaces: Iterable[Space]) -> dict[str, int]:
    """The numbers of all ``spaces``, giving new ones out within the caller's transaction."""
    known = read_vector_ids(connection)
    for space in spaces:
        if space.name not in known:
            cursor = connection.execute(
                "INSERT INTO vector_names (name, dim, datatype) VALUES (?, ?, ?)",
                (space.name, None, "float32")
                if isinstance(space, SparseSpace)
                else (space.name, space.dim, space.datatype.value),
            )
            assert cursor.lastrowid is not None
            known[space.name] = cursor.lastrowid
    return known


def drop_vectors(connection: sqlite3.Connection, vector_id: int) -> None:
    """Deletes all vectors of a name, and the name, within the caller's transaction."""
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    connection.execute("DELETE FROM vectors WHERE key >= ? AND key < ?", (start, end))
    connection.execute("DELETE FROM unsealed WHERE key >= ? AND key < ?", (start, end))
    connection.execute("DELETE FROM tombstones WHERE vector_id = ?", (vector_id,))
    connection.execute("DELETE FROM vector_names WHERE vector_id = ?", (vector_id,))
