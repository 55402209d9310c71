"""Which fields are indexed: the schema alone, as the indexes themselves are made from payloads."""

from __future__ import annotations

import sqlite3


def read_field_indexes(connection: sqlite3.Connection) -> dict[str, str]:
    """path → schema as JSON text, oldest first."""
    return dict(connection.execute("SELECT field, schema FROM field_indexes ORDER BY created_at, field").fetchall())


def put_field_index(connection: sqlite3.Connection, field: str, schema: str, created_at: str) -> None:
    """Within the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO field_indexes (field, schema, created_at) VALUES (?, ?, ?)", (field, schema, created_at)
    )


def remove_field_index(connection: sqlite3.Connection, field: str) -> None:
    """Within the caller's transaction."""
    connection.execute("DELETE FROM field_indexes WHERE field = ?", (field,))
