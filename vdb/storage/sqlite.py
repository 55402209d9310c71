"""Connections to SQLite: one writer per file, read-only readers beside it.

Guarantees
    Exactly one connection per file ever writes or checkpoints. SQLite before 3.51.3 can corrupt a database when two
    connections of one file do (the WAL-reset bug), and Python ships older ones.
    Readers never leave a statement half read: an open read transaction stops checkpoints.
Assumes
    The process holds the storage folder's lock.
    A trio-asyncio loop is running (aiosqlite is an asyncio library).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, ParamSpec, TypeVar

import aiosqlite
import trio
import trio_asyncio  # type: ignore[import-untyped]

from vdb.errors import Corrupt, InsufficientStorage

P = ParamSpec("P")
T = TypeVar("T")

Synchronous = Literal["FULL", "NORMAL"]

APPLICATION_ID: Final = 0x76646231  # "vdb1", shown by the `file` command and `PRAGMA application_id`
_PAGE_BYTES: Final = 16_384  # vector rows are kilobytes: 4,096 halves the write speed
_WRITER_CACHE_KIB: Final = 16_384
_READER_CACHE_KIB: Final = 2_048
_WAL_BYTES_MAX: Final = 64 * 2**20  # the -wal file is cut back to this after a checkpoint
_AUTOCHECKPOINT_PAGES: Final = 1_000  # 16 MiB of new pages between checkpoints
_FULL_DISK: Final = (sqlite3.SQLITE_FULL,)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, with one hop for a whole unit of work."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs ``work`` on the connection's own thread.

        A hop costs 120–180 µs whatever it carries, so a transaction is one function, not a statement each.
        """
        result: T = await self._execute(work, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


def _open_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Writer:
    """The one connection of a database file that writes. Owned by one task: units of work run one at a time."""

    def __init__(self, path: Path, synchronous: Synchronous = "FULL") -> None:
        self.path = path
        self._synchronous = synchronous
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Opens the file, making it where it is missing; raises Corrupt."""
        connection = _Connection(lambda: _open_writer(self.path, self._synchronous), 64)
        with _translated(self.path), trio.CancelScope(shield=True):
            await trio_asyncio.aio_as_trio(connection.__aenter__)()
        self._connection = connection

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``work`` on the connection's thread, to its end even when the caller is cancelled.

        An abandoned await would leave the statement running and its transaction open.
        """
        connection = self._connection
        assert connection is not None, "open() comes first"
        with _translated(self.path), trio.CancelScope(shield=True):
            result: T = await trio_asyncio.aio_as_trio(connection.run)(work, connection._conn)
        return result

    async def close(self) -> None:
        """Checkpoints and closes; the last connection of the file to close, so that no -wal file stays."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        with trio.CancelScope(shield=True):
            await trio_asyncio.aio_as_trio(connection.close)()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turns SQLite's codes into errors that name who must act."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _FULL_DISK:
            raise InsufficientStorage("No space left on device: the write was not applied") from error
        if code in _DAMAGED:
            raise Corrupt(path, str(error)) from error
        raise


class Readers:
    """Read-only connections of one file, handed out one per unit of work. Safe to use from any thread.

    The list only ever grows to the number of threads that read at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection for this block; its statements must all be fetched to the end."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            yield connection
        finally:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        connection.execute("PRAGMA query_only = ON")
        return connection

    def close(self) -> None:
        """Closes idle connections; those in use close when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
