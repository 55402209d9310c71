"""SQLite's log and the log of operations: flushed when they should be, bounded whatever happens beside."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.collection.conftest import Open
from tests.collection.operations import until, upsert
from vdb.collection import flusher
from vdb.collection.collection import Collection
from vdb.collection.recovery import DATABASE_NAME
from vdb.model.collection_config import UpdateCollection, apply_update
from vdb.model.operations import Upsert
from vdb.query.view import View


def log_bytes(folder: Path) -> int:
    path = folder / (DATABASE_NAME + "-wal")
    return path.stat().st_size if path.exists() else 0


def in_database_file(folder: Path, tmp_path: Path) -> int:
    """How many points are in the file itself: what is left when SQLite's log is lost."""
    copy = tmp_path / "copy.sqlite"
    shutil.copyfile(folder / DATABASE_NAME, copy)
    connection = sqlite3.connect(copy)
    try:
        found: int = connection.execute("SELECT count(*) FROM points").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0  # not even the tables have been moved, or only some pages of them so far
    finally:
        connection.close()
    return found


async def patch(collection: Collection, change: dict[str, Any]) -> None:
    update = msgspec.convert(change, UpdateCollection)
    await collection.actor.reconfigure(apply_update(collection.view.config, update))


async def test_flush_interval_sec_says_when_what_was_written_is_in_the_database_file(
    opened: Open, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "_LOOK_S", 0.01)
    async with opened(optimizers_config={"flush_interval_sec": 0}) as collection:
        await collection.write(upsert(1, 2, 3))
        await until(lambda: in_database_file(folder, tmp_path) == 3)
        await patch(collection, {"optimizers_config": {"flush_interval_sec": 3_600}})
        await collection.write(upsert(4))
        for _ in range(20):  # each a turn of the loop in which a flush that is due would begin
            await collection.read(lambda view, connection: None)
        assert in_database_file(folder, tmp_path) == 3
        await patch(collection, {"optimizers_config": {"flush_interval_sec": 0}})
        await until(lambda: in_database_file(folder, tmp_path) == 4)


async def test_wal_capacity_mb_bounds_the_log_of_operations(opened: Open) -> None:
    """The newest operation always stays."""

    async def kept(collection: Collection) -> tuple[int, int, int]:
        def read(view: View, connection: sqlite3.Connection) -> tuple[int, int, int]:
            size = "coalesce(sum(length(body) + coalesce(length(vectors), 0)), 0)"
            (row,) = connection.execute(f"SELECT {size}, min(seq), max(seq) FROM log").fetchall()
            return row  # type: ignore[no-any-return]

        return await collection.read(read)

    payload = b'{"text":"' + b"x" * 200_000 + b'"}'
    async with opened(wal_config={"wal_capacity_mb": 1}) as collection:
        for number in range(20):
            await collection.write(Upsert([number], [payload], []))
            size, _, newest = await kept(collection)
            assert size <= 2**20 + len(payload) * 1.1  # clients are answered first, then it is cut
            assert newest == number
        assert (await kept(collection))[1] > 10
        assert collection.view.points_count == 20


async def test_the_database_file_does_not_keep_the_room_that_the_log_has_taken(opened: Open, folder: Path) -> None:
    payload = b'{"text":"' + b"x" * 100_000 + b'"}'
    async with opened(wal_config={"wal_capacity_mb": 2}) as collection:
        for _ in range(40):
            await collection.write(Upsert([1], [payload], []))
    assert (folder / DATABASE_NAME).stat().st_size < 3 * 2**19


async def test_where_nothing_is_written_sqlites_log_gives_its_space_back(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "_LOOK_S", 0.01)
    payload = b'{"text":"' + b"x" * 2_000_000 + b'"}'
    log = folder / (DATABASE_NAME + "-wal")
    async with opened(optimizers_config={"flush_interval_sec": 0}) as collection:
        await collection.write(Upsert([1], [payload], []))
        assert log.stat().st_size > len(payload)
        await until(lambda: log.stat().st_size == 0)
        await collection.write(Upsert([2], [payload], []))
        await until(lambda: log.stat().st_size == 0)


async def test_constant_reads_do_not_keep_the_log_from_being_emptied(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements that overlap leave no moment in which nobody reads: SQLite alone would let its log grow for ever."""
    bound = 4 * 2**20
    monkeypatch.setattr(flusher, "WAL_BYTES_MAX", bound)
    monkeypatch.setattr(flusher, "_LOOK_S", 0.005)
    largest, written = 0, 0

    def read_slowly(view: View, connection: sqlite3.Connection) -> int:
        """A statement of some 20 ms."""
        until_s = time.perf_counter() + 0.02
        connection.create_function("still", 0, lambda: int(time.perf_counter() < until_s))
        query = "WITH RECURSIVE wait(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM wait WHERE still()) SELECT count(*)"
        found: int = connection.execute(f"{query} FROM wait, (SELECT count(*) FROM points)").fetchone()[0]
        return found

    async def read_on() -> None:
        while True:
            await collection.read(read_slowly)

    async with opened(optimizers_config={"flush_interval_sec": 3_600}) as collection, trio.open_nursery() as nursery:
        for _ in range(2):  # as many as there are threads, out of step
            nursery.start_soon(read_on)
            await trio.sleep(0.007)
        data = b'{"text":"' + b"x" * 500_000 + b'"}'
        for number in range(160):
            await collection.write(Upsert([number % 10], [data], []))
            written += len(data)
            largest = max(largest, log_bytes(folder))
        nursery.cancel_scope.cancel()
    assert written > 16 * bound
    assert largest < 10 * bound  # it grows on between two looks
