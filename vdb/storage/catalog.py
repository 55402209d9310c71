"""The catalog of collections and aliases: plain functions over the catalog's connection, one transaction each."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vdb.storage.sqlite import transaction


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """``folder`` is the collection's folder name; ``config`` is JSON text."""

    collection_id: int
    name: str
    folder: str
    config: str


def read_collections(connection: sqlite3.Connection) -> list[CatalogEntry]:
    return [
        CatalogEntry(*row)
        for row in connection.execute(
            "SELECT collection_id, name, folder, config FROM collections ORDER BY collection_id"
        ).fetchall()
    ]


def read_aliases(connection: sqlite3.Connection) -> dict[str, str]:
    """alias → name of its collection."""
    return dict(connection.execute("SELECT alias, name FROM aliases JOIN collections USING (collection_id)").fetchall())


def add_collection(connection: sqlite3.Connection, name: str, folder: str, config: str, created_at: str) -> int:
    """Returns the new collection_id."""
    with transaction(connection):
        cursor = connection.execute(
            "INSERT INTO collections (name, folder, config, created_at) VALUES (?, ?, ?, ?)",
            (name, folder, config, created_at),
        )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def set_config(connection: sqlite3.Connection, collection_id: int, config: str) -> None:
    with transaction(connection):
        connection.execute("UPDATE collections SET config = ? WHERE collection_id = ?", (config, collection_id))


def remove_collection(connection: sqlite3.Connection, collection_id: int) -> None:
    """Its aliases go with it."""
    with transaction(connection):
        connection.execute("DELETE FROM collections WHERE collection_id = ?", (collection_id,))


def replace_aliases(connection: sqlite3.Connection, aliases: Sequence[tuple[str, int]]) -> None:
    """All aliases at once, ``(alias, collection_id)``: a list of actions is applied whole or not at all."""
    with transaction(connection):
        connection.execute("DELETE FROM aliases")
        connection.executemany("INSERT INTO aliases (alias, collection_id) VALUES (?, ?)", aliases)


def replace_collections(
    connection: sqlite3.Connection, rows: Sequence[tuple[str, str, str]], aliases: Mapping[str, str], created_at: str
) -> dict[str, int]:
    """Collections by ``(name, folder, config)`` in the place of those of their names, and all aliases at once.

    Returns the collection_id of each; one that is replaced keeps its own.
    """
    with transaction(connection):
        connection.executemany(
            "INSERT INTO collections (name, folder, config, created_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE"
            " SET folder = excluded.folder, config = excluded.config, created_at = excluded.created_at",
            [(*row, created_at) for row in rows],
        )
        ids = dict(connection.execute("SELECT name, collection_id FROM collections").fetchall())
        connection.execute("DELETE FROM aliases")
        connection.executemany(
            "INSERT INTO aliases (alias, collection_id) VALUES (?, ?)",
            [(alias, ids[name]) for alias, name in aliases.items()],
        )
    return {name: ids[name] for name, _, _ in rows}
