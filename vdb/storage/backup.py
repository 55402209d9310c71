"""Copying a collection's database while it is written to, and judging one that came from outside.

Guarantees
    A copy is one moment of the database: the moment at which it was pinned. Writes go on meanwhile; the -wal file is
    not cut back until the copy is done.
    ``admit`` lets no database through that holds anything but the tables, indexes and views of our own migrations, or
    rows that they cannot hold: what comes after it may read the file like one of our own.
Assumes
    SQLite itself survives hostile files as its authors promise for the settings that ``admit`` makes.
"""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from vdb.errors import BadSnapshot, Corrupt, InsufficientStorage
from vdb.storage.integrity import file_errors, row_errors
from vdb.storage.migrate import Migration, migrate
from vdb.storage.points import Nums, vector_key
from vdb.storage.sqlite import APPLICATION_ID, transaction

_COPY_PAGES: Final = 64  # at once, a megabyte: between two lots the caller may give up
_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100
_NUM_MAX: Final = 2**32 - 2**20  # there must be room for more
_SEQ_MAX: Final = 2**62
_NUM_FREE: Final = 2**26  # points written and deleted since the collection began
_NUM_SHARE: Final = 1_000  # and so many for each that is left
_BLOCK_BYTES: Final = 512 * 1024  # vectors read at once: as hexadecimal text, and taking that apart holds the GIL
_LISTED_ROWS: Final = 8_192
_ERROR_LENGTH_MAX: Final = 200

# What our own writer never stores, beside the rules of ``row_errors``.
_RULES: Final = (
    ("points have a number out of range", f"SELECT count(*) FROM points WHERE num NOT BETWEEN 0 AND {_NUM_MAX}"),
    # Memory is taken by the largest number: a file of a few points must not take all of it.
    (
        "points have a number that so few points never reach",
        f"SELECT count(*) FROM points WHERE num > max({_NUM_FREE}, (SELECT count(*) FROM points) * {_NUM_SHARE})",
    ),
    ("points have a version below 0", "SELECT count(*) FROM points WHERE version < 0"),
    (
        "points have an id that is none",
        "SELECT count(*) FROM points WHERE CASE id_order WHEN 0 THEN 0"
        " WHEN 1 THEN id GLOB '*[^0-9]*' OR id < '9223372036854775808'"
        " WHEN 2 THEN id GLOB '*[^0-9]*' OR id < '10000000000000000000' OR id > '18446744073709551615'"
        " ELSE id GLOB '*[^0-9a-f-]*' OR length(replace(id, '-', '')) <> 32 OR substr(id, 9, 1) <> '-'"
        " OR substr(id, 14, 1) <> '-' OR substr(id, 19, 1) <> '-' OR substr(id, 24, 1) <> '-' END",
    ),
    ("vectors have a version below 0", "SELECT count(*) FROM vectors WHERE version < 0"),
    ("vectors have a key below 0", "SELECT count(*) FROM vectors WHERE key < 0"),
    ("operations have a number out of range", f"SELECT count(*) FROM log WHERE seq NOT BETWEEN 0 AND {_SEQ_MAX}"),
    ("payloads hold control characters", "SELECT count(*) FROM payloads WHERE body GLOB '*' || char(30) || '*'"
     " OR body GLOB '*' || char(31) || '*' OR instr(body, char(0))"),
)  # fmt: skip
# Statistics that an administrator's ANALYZE left behind: harmless, and dropped.
_STATISTICS: Final = re.compile(r"sqlite_stat[1-4]")


def pin(path: Path) -> sqlite3.Connection:
    """A read-only connection that sees this moment of the database until it is closed; may be used in any thread."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def copy_pinned(connection: sqlite3.Connection, target: Path, check_cancelled: Callable[[], None]) -> None:
    """Writes the pinned moment to ``target``, a new file; it is not flushed to the disk.

    The backup never starts over, however busy the writer: the connection's read transaction is open already.
    """
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        # A copy that was not finished is thrown away: no journal, no flushing.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        with refusals(target):
            connection.backup(copy, pages=_COPY_PAGES, progress=lambda *_: check_cancelled())
    finally:
        copy.close()


def database_bytes(connection: sqlite3.Connection) -> int:
    """The size of the database as the connection sees it."""
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return pages * page_bytes


def points_and_seq(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many points there are, and the number of the newest operation; −1 where there is none."""
    points, seq = connection.execute("SELECT (SELECT count(*) FROM points), (SELECT max(seq) FROM log)").fetchone()
    return points, -1 if seq is None else seq


def read_header(path: Path) -> None:
    """Looks at the first bytes of a database from outside, before SQLite does; raises BadSnapshot."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        size = file.seek(0, 2)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise BadSnapshot("the database in it is not one of SQLite's")
    page_bytes = struct.unpack(">H", header[16:18])[0]
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    pages, encoding, application_id = (struct.unpack(">I", header[at : at + 4])[0] for at in (28, 56, 68))
    if page_bytes < 512 or page_bytes & (page_bytes - 1) or pages * page_bytes != size:
        raise BadSnapshot("the database in it is not as long as it says")
    if encoding != 1 or application_id != APPLICATION_ID:
        raise BadSnapshot("the database in it is one of another application")


@contextmanager
def admitting(path: Path, value_bytes_max: int) -> Iterator[sqlite3.Connection]:
    """The one connection of a database from outside; ``admit`` comes first. Raises BadSnapshot for what SQLite refuses.

    A text or blob of more than ``value_bytes_max`` is refused: it would have to be in memory at once.
    """
    read_header(path)
    with refusals(path):
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=0)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, value_bytes_max)
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA mmap_size = 0")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # flushed once, at the end
            yield connection
        finally:
            connection.close()


def admit(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Judges everything but the vectors, and brings an older database up to ``migrations``; raises BadSnapshot.

    Reads the whole file.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise BadSnapshot(f"it was written by a newer version (migration {version} is unknown here)")
    # Before anything else is asked: reading sqlite_schema runs nothing of the file's, and afterwards all of it is ours.
    _check_schema(connection, migrations[:version])
    _refuse_first(file_errors(connection))
    try:
        migrate(connection, path, list(migrations))
    except Corrupt as error:
        raise BadSnapshot(f"the database in it {error.why}") from error
    _refuse_first(row_errors(connection))
    for what, statement in _RULES:
        count: int = connection.execute(statement).fetchone()[0]
        if count:
            raise BadSnapshot(f"{count} {what}")


def _check_schema(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if isinstance(name, str) and _STATISTICS.fullmatch(name):
            connection.execute(f"DROP TABLE {name}")
    expected = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(expected, Path(":memory:"), list(migrations))
        if _schema(connection) != _schema(expected):
            raise BadSnapshot("the database in it has other tables, views or triggers than it should")
    finally:
        expected.close()


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str, str, str | None]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall())


def _refuse_first(errors: Sequence[str]) -> None:
    if errors:
        raise BadSnapshot(f"the database in it is damaged: {errors[0][:_ERROR_LENGTH_MAX]}")


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """SQLite's complaints about a file from outside, or about the disk below it, as errors that name who must act."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise InsufficientStorage(f"{path.name} cannot be written: {error}") from error
        raise BadSnapshot(f"the database in it cannot be read: {str(error)[:_ERROR_LENGTH_MAX]}") from error


def add_segment(connection: sqlite3.Connection, segment_id: int, folder: str, created_at: str, manifest: str) -> None:
    """Names a sealed segment that was made of this very database."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO segments (segment_id, folder, built_from_seq, created_at, manifest) VALUES (?, ?, ?, ?, ?)",
            (segment_id, folder, points_and_seq(connection)[1], created_at, manifest),
        )


def seal(connection: sqlite3.Connection, vector_id: int) -> None:
    """Takes all vectors of a name out of ``unsealed``: segments that were added hold them."""
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    with transaction(connection):
        connection.execute("DELETE FROM unsealed WHERE key >= ? AND key < ?", (start, end))


def vector_bytes(connection: sqlite3.Connection, vector_id: int) -> int:
    """Bytes of all vectors of a name, as they are stored."""
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    total: int = connection.execute(
        "SELECT coalesce(sum(length(data)), 0) FROM vectors WHERE key >= ? AND key < ?", (start, end)
    ).fetchone()[0]
    return total


def read_raw_blocks(connection: sqlite3.Connection, vector_id: int) -> Iterator[tuple[Nums, list[int], bytes]]:
    """All vectors of a name by point, some at a time: the points, the bytes of each, and all bytes joined.

    One statement a block: they travel as text, because SQLite joins nothing else.
    """
    start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
    last = start - 1
    while True:
        joined = connection.execute(
            "SELECT group_concat(key), group_concat(length(data)) FROM"
            " (SELECT key, data FROM vectors WHERE key > ? AND key < ? ORDER BY key LIMIT ?)",
            (last, end, _LISTED_ROWS),
        ).fetchone()
        if joined[0] is None:
            return
        keys, sizes = (np.array(column.split(","), dtype=np.int64) for column in joined)
        last = int(keys[-1])
        for first, past in _cuts(sizes.tolist()):
            data: str = connection.execute(
                "SELECT group_concat(hex(data), '') FROM"
                " (SELECT data FROM vectors WHERE key BETWEEN ? AND ? ORDER BY key)",
                (int(keys[first]), int(keys[past - 1])),
            ).fetchone()[0]
            yield (keys[first:past] - start).astype(np.uint32), sizes[first:past].tolist(), bytes.fromhex(data)


def read_payload_blocks(connection: sqlite3.Connection) -> Iterator[list[str]]:
    """The texts of all payloads, some at a time; rows with a separator of ours in them are refused by ``admit``."""
    last = -1
    while True:
        joined = connection.execute(
            "SELECT group_concat(num), group_concat(length(CAST(body AS BLOB))) FROM"
            " (SELECT num, body FROM payloads WHERE num > ? ORDER BY num LIMIT ?)",
            (last, _LISTED_ROWS),
        ).fetchone()
        if joined[0] is None:
            return
        nums, sizes = ([int(value) for value in column.split(",")] for column in joined)
        last = nums[-1]
        for first, past in _cuts(sizes):
            texts: str = connection.execute(
                "SELECT group_concat(body, char(30)) FROM payloads WHERE num BETWEEN ? AND ?",
                (nums[first], nums[past - 1]),
            ).fetchone()[0]
            yield texts.split("\x1e")


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places at which to cut a list so that its parts have ``_BLOCK_BYTES`` or one entry each."""
    first = total = 0
    for place, size in enumerate(sizes):
        if total and total + size > _BLOCK_BYTES:
            yield first, place
            first, total = place, 0
        total += size
    yield first, len(sizes)
