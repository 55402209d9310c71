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
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, ParamSpec, TypeVar

import aiosqlite
import trio
import trio_asyncio  # type: ignore[import-untyped]

from vdb.errors import Corrupt, InsufficientStorage, StorageFailed, VdbError

P = ParamSpec("P")
T = TypeVar("T")

Synchronous = Literal["FULL", "NORMAL"]

APPLICATION_ID: Final = 0x76646231  # "vdb1", shown by the `file` command and `PRAGMA application_id`
_PAGE_BYTES: Final = 16_384  # vector rows are kilobytes: 4,096 halves the write speed
_WRITER_CACHE_KIB: Final = 16_384
_READER_CACHE_KIB: Final = 2_048
WAL_BYTES_MAX: Final = 64 * 2**20  # the -wal file is cut back to this after a checkpoint
_AUTOCHECKPOINT_PAGES: Final = 1_000  # 16 MiB of new pages between checkpoints
# So long reads may be kept waiting for one that is slow, when SQLite's log has to be emptied.
_READERS_MAX_S: Final = 0.2
_FULL_DISK: Final = (sqlite3.SQLITE_FULL,)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What the medium, the operating system or another program does to us: it may be over at the next try.
_REFUSED: Final = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
)


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection, with one hop for a whole unit of work."""

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs ``work`` on the connection's own thread.

        A hop costs 120–180 µs whatever it carries, so a transaction is one function, not a statement each.
        """
        result: T = await self._execute(work, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


def _open_writer(path: Path, synchronous: Synchronous, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, factory=factory)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Writer:
    """The one connection of a database file that writes. Owned by one task: units of work run one at a time.

    ``factory`` makes connections; tests give one whose statements fail.
    """

    def __init__(
        self, path: Path, synchronous: Synchronous = "FULL", factory: type[sqlite3.Connection] = sqlite3.Connection
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._factory = factory
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Opens the file, making it where it is missing; raises Corrupt, StorageFailed, InsufficientStorage."""
        connection = _Connection(lambda: _open_writer(self.path, self._synchronous, self._factory), 64)
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

    async def renew(self) -> None:
        """Puts a fresh connection in the place of this one, which an error may have left with a wrong idea.

        Raises what ``open`` raises, and keeps the old one then.
        """
        former = self._connection
        assert former is not None, "open() comes first"
        await self.open()
        # Only now, so that it is not the last one to close: that one would write SQLite's log into the database file
        # and remove it, and what is in doubt would be decided on the way.
        with trio.CancelScope(shield=True), suppress(sqlite3.Error):
            await trio_asyncio.aio_as_trio(former.close)()

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
            with suppress(sqlite3.Error):  # the first error is the one to tell; `Writer.renew` ends what stays open
                connection.execute("ROLLBACK")
        raise


@contextmanager
def one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """All that this block reads is of one moment, whatever is committed meanwhile. Blocks may stand in one another."""
    nested = connection.in_transaction
    if nested:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def settle(connection: sqlite3.Connection, look: Callable[[sqlite3.Connection], T]) -> T:
    """What ``look`` finds, made final. For a connection that was opened after a COMMIT failed.

    A COMMIT whose flush failed has written all its frames to SQLite's log. They do not count, until a crash: recovery
    reads the log from its head and finds them whole. A durable transaction in their place ends that.
    """
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    try:
        with transaction(connection):
            found = look(connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {int(version)}")  # the same: it writes the first page
    finally:
        connection.execute(f"PRAGMA synchronous = {int(level)}")
    return found


def checkpoint(connection: sqlite3.Connection, readers: Readers | None = None) -> bool:
    """Moves SQLite's log into the database file and flushes both. For the writer's connection alone.

    With ``readers``, all of the database's, the log is emptied as well: what they are doing ends first, and what they
    are about to do waits. Statements that overlap would otherwise keep the log in use for ever, and it would only grow.
    False where somebody reads on for too long; nothing is lost.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if readers is None:
        return not busy
    with readers.paused(_READERS_MAX_S) as nobody_reads:
        if not nobody_reads:
            return False
        (patience_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout = 0")  # whoever else reads on, such as a snapshot: reads wait here
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(patience_ms)}")
    return not busy


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turns SQLite's codes into errors that name who must act."""
    try:
        yield
    except sqlite3.Error as error:
        named = named_error(error, path)
        if named is None:
            raise
        raise named from error


def named_error(error: sqlite3.Error, path: Path) -> VdbError | None:
    """InsufficientStorage, StorageFailed or Corrupt; None for what is a mistake in vdb."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _FULL_DISK:
        return InsufficientStorage("No space left on device: the write was not applied")
    if code & 0xFF in _REFUSED:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        return StorageFailed(f"The disk failed ({error}, {name}): nothing was applied")
    if code & 0xFF in _DAMAGED:
        return Corrupt(path, str(error))
    return None


def leaves_doubt(error: sqlite3.Error) -> bool:
    """False where a COMMIT failed before the last frame of its transaction was in SQLite's log: it can never count."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF not in (*_FULL_DISK, sqlite3.SQLITE_READONLY) and code != sqlite3.SQLITE_IOERR_WRITE


def is_refusal(error: sqlite3.Error) -> bool:
    """True where the disk is full or fails: nothing is wrong with the database or with vdb."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (*_FULL_DISK, *_REFUSED)


class Readers:
    """Read-only connections of one file, handed out one per unit of work. Safe to use from any thread.

    The list only ever grows to the number of threads that read at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._changed = threading.Condition()
        self._borrowed = 0
        self._paused = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection for this block; its statements must all be fetched to the end.

        Raises Corrupt and StorageFailed in the place of SQLite's own errors.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._paused)
            self._borrowed += 1
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                with _translated(self._path):
                    connection = self._open()
            try:
                with _translated(self._path):
                    yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)
        finally:
            with self._changed:
                self._borrowed -= 1
                if self._paused:
                    self._changed.notify_all()

    @contextmanager
    def paused(self, within_s: float) -> Iterator[bool]:
        """For this block nobody borrows a connection. False where some are not back after ``within_s``."""
        with self._changed:
            self._paused = True
            nobody_reads = self._changed.wait_for(lambda: not self._borrowed, within_s)
        try:
            yield nobody_reads
        finally:
            with self._changed:
                self._paused = False
                self._changed.notify_all()

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
