"""Looking at a database without changing anything: is it whole, and do its tables agree with each other?

Guarantees
    Nothing is written, neither to the database nor beside it. Where a server has the file open, what is seen is one
    moment of it, and the server waits for nobody; its -wal file cannot be cut back until the connection is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from vdb.errors import Corrupt
from vdb.storage.migrate import Migration
from vdb.storage.points import Nums, vector_key
from vdb.storage.sqlite import APPLICATION_ID, transaction

_ERRORS_MAX: Final = 20  # of SQLite's own list; a damaged page brings hundreds
_READ_ROWS: Final = 2_000  # vectors read at once, a few megabytes
_BUSY_S: Final = 5.0

# What the tables must not hold; each statement counts the rows that are wrong.
_RULES: Final = (
    ("payloads belong to no point", "SELECT count(*) FROM payloads WHERE num NOT IN (SELECT num FROM points)"),
    (
        "payloads are not JSON objects",
        "SELECT count(*) FROM payloads WHERE CASE WHEN json_valid(body) THEN json_type(body) <> 'object' ELSE 1 END",
    ),
    (
        "vectors belong to no point",
        "SELECT count(*) FROM vectors WHERE key & 4294967295 NOT IN (SELECT num FROM points)",
    ),
    (
        "vectors have a name that is gone",
        "SELECT count(*) FROM vectors WHERE key >> 32 NOT IN (SELECT vector_id FROM vector_names)",
    ),
    (
        "points have a version that the log has not reached",
        "SELECT count(*) FROM points WHERE version > (SELECT coalesce(max(seq), -1) FROM log)",
    ),
    (
        "vectors have a version that the log has not reached",
        "SELECT count(*) FROM vectors WHERE version > (SELECT coalesce(max(seq), -1) FROM log)",
    ),
    (
        "points have an id of the wrong type",
        "SELECT count(*) FROM points WHERE CASE id_order WHEN 0 THEN typeof(id) <> 'integer' OR id < 0"
        " WHEN 1 THEN typeof(id) <> 'text' OR length(id) <> 19 WHEN 2 THEN typeof(id) <> 'text' OR length(id) <> 20"
        " ELSE typeof(id) <> 'text' OR length(id) <> 36 END",
    ),
)


@contextmanager
def inspecting(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment of the database; raises Corrupt where it cannot be read.

    A database that nobody has open is read as an immutable file: a plain read-only connection would leave a -wal and a
    -shm file beside it. So a server that starts meanwhile is noticed at the end, by ``Disturbed``.
    """
    log = path.with_name(path.name + "-wal")
    alone = not log.exists()
    if not path.is_file():
        raise Corrupt(path, "is missing")
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if alone and log.exists():
            raise Disturbed from error
        raise Corrupt(path, str(error)) from error
    if alone and log.exists():
        raise Disturbed


class Disturbed(Exception):
    """A server changed what was being read as if nobody did: what was seen means nothing."""


def file_errors(connection: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong with pages, indexes, types and references. Reads the whole file."""
    rows = connection.execute(f"PRAGMA integrity_check({_ERRORS_MAX})").fetchall()
    errors = [str(row[0]) for row in rows if row[0] != "ok"]
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_ERRORS_MAX):
        errors.append(f"a row of {table} refers to a row of {parent} that is not there")
    return errors


def schema_errors(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Where the database is not what ``migrations`` make; an older one is not wrong, a start brings it up."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return ["is a database of another application"]
    applied = connection.execute("SELECT name, sha256 FROM migrations ORDER BY number").fetchall()
    if len(applied) > len(migrations):
        return [f"was written by a newer version of vdb (it has migration {applied[-1][0]})"]
    return [
        f"migration {name} was applied and its file has changed since"
        for (name, sha256), known in zip(applied, migrations, strict=False)
        if (name, sha256) != (known.name, known.sha256)
    ]


def row_errors(connection: sqlite3.Connection) -> list[str]:
    """Where the tables of a collection contradict each other."""
    errors = []
    for what, statement in _RULES:
        count: int = connection.execute(statement).fetchone()[0]
        if count:
            errors.append(f"{count} {what}")
    return errors


def read_names(connection: sqlite3.Connection) -> dict[int, tuple[str, int | None, str]]:
    """vector_id → (name, dim or None for sparse vectors, datatype)."""
    rows = connection.execute("SELECT vector_id, name, dim, datatype FROM vector_names ORDER BY vector_id").fetchall()
    return {vector_id: (name, dim, datatype) for vector_id, name, dim, datatype in rows}


def read_unsealed_nums(connection: sqlite3.Connection, vector_id: int) -> Nums:
    """The points of a name's vectors that no segment is said to hold: ``(n,)`` uint32, ascending."""
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    rows = connection.execute("SELECT key FROM unsealed WHERE key >= ? AND key < ? ORDER BY key", (start, end))
    return np.array([key - start for (key,) in rows.fetchall()], dtype=np.uint32)


def read_vector_blocks(connection: sqlite3.Connection, vector_id: int) -> Iterator[tuple[Nums, list[bytes]]]:
    """All vectors of a name as they are stored, by point, some thousands at a time."""
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    last = start - 1
    while True:
        rows = connection.execute(
            "SELECT key, data FROM vectors WHERE key > ? AND key < ? ORDER BY key LIMIT ?", (last, end, _READ_ROWS)
        ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        yield np.array([key - start for key, _ in rows], dtype=np.uint32), [data for _, data in rows]


def segment_is_named(connection: sqlite3.Connection, segment_id: int) -> bool:
    found = connection.execute("SELECT 1 FROM segments WHERE segment_id = ?", (segment_id,)).fetchone()
    return found is not None


@contextmanager
def repairing(path: Path) -> Iterator[sqlite3.Connection]:
    """The one connection that writes, for a process that holds the storage folder's lock; raises Corrupt."""
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise Corrupt(path, str(error)) from error


def unseal_everything(connection: sqlite3.Connection) -> int:
    """Forgets all segments: every dense vector is read into memory at the next start, and sealed again.

    Returns how many vectors that are.
    """
    with transaction(connection):
        connection.execute("DELETE FROM tombstones")
        connection.execute("DELETE FROM segments")
        connection.execute("DELETE FROM unsealed")
        connection.execute(
            "INSERT INTO unsealed (key) SELECT key FROM vectors"
            " WHERE key >> 32 IN (SELECT vector_id FROM vector_names WHERE dim IS NOT NULL)"
        )
    count: int = connection.execute("SELECT count(*) FROM unsealed").fetchone()[0]
    return count
