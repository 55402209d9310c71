"""Forward-only migrations: numbered SQL files, each applied in one transaction, its name and hash recorded.

A file that was applied and has since changed or gone is refused by name: the schema would not be what its files say.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from vdb.errors import Corrupt
from vdb.fail_points import fail_point
from vdb.storage.sqlite import APPLICATION_ID, transaction


@dataclass(frozen=True, slots=True)
class Migration:
    """``number`` and ``name`` come from the file's name, ``0001_collection.sql``."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(folder: Path) -> list[Migration]:
    """The migrations of ``folder``, in order; raises Corrupt for a gap or a doubled number."""
    migrations = [
        Migration(int(path.name.split("_")[0]), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)) or not migrations:
        raise Corrupt(folder, "migrations must be numbered 0001, 0002, … without a gap")
    return migrations


def migrate(connection: sqlite3.Connection, path: Path, migrations: list[Migration]) -> list[str]:
    """Brings the database up to the last of ``migrations`` and returns the names of those applied now.

    Raises Corrupt for a database of another application, of a newer version, or with a changed history.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id not in (0, APPLICATION_ID):
        raise Corrupt(path, "is a database of another application")
    if application_id == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise Corrupt(path, "is a database of another application")
        with transaction(connection):
            connection.execute(
                "CREATE TABLE migrations ("
                " number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL,"
                " applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))) STRICT"
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    applied = {
        number: (name, sha256)
        for number, name, sha256 in connection.execute("SELECT number, name, sha256 FROM migrations").fetchall()
    }
    if len(applied) > len(migrations):
        raise Corrupt(path, f"was written by a newer version (migration {max(applied)} is unknown here)")
    for migration in migrations[: len(applied)]:
        name, sha256 = applied[migration.number]
        if (name, sha256) != (migration.name, migration.sha256):
            raise Corrupt(path, f"migration {name} was applied and its file has changed since")
    pending = migrations[len(applied) :]
    for migration in pending:
        with transaction(connection):
            for statement in _statements(migration.sql):
                connection.execute(statement)
            fail_point("in-migration")
            connection.execute(
                "INSERT INTO migrations (number, name, sha256) VALUES (?, ?, ?)",
                (migration.number, migration.name, migration.sha256),
            )
            connection.execute(f"PRAGMA user_version = {migration.number}")
    return [migration.name for migration in pending]


def _statements(sql: str) -> list[str]:
    """The statements of a script; executescript() would commit the open transaction first."""
    statements: list[str] = []
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
