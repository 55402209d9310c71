"""Transactions that fail: what clients are told is what the database holds, now, after a crash and after a restart."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio
import trio_asyncio  # type: ignore[import-untyped]

from tests.collection.conftest import config_of, opening
from tests.collection.operations import everything, nearest, upsert, vector
from tests.faults.faulty_sqlite import CODES, Faults, connection_type
from vdb.api.collections import describe
from vdb.collection.actor import Actor
from vdb.collection.collection import Collection
from vdb.collection.recovery import DATABASE_NAME, recover
from vdb.collection.threads import WorkerThreads
from vdb.errors import InsufficientStorage, NotFound, OutcomeUnknown, StorageFailed, TryLater
from vdb.hosting import Running
from vdb.model.collection_results import OptimizersFailed
from vdb.model.field_index import KeywordIndexParams
from vdb.model.operations import CreateIndex, DeletePoints, PointOperation, SetPayload
from vdb.optimizer.policy import Plan
from vdb.optimizer.worker import Budget, Optimizer
from vdb.segment.builder import Job, build
from vdb.storage.catalog import CatalogEntry
from vdb.storage.sqlite import Readers, Writer

Record = dict[int, dict[str, Any]]  # point → payload
IDS: Final = 30
STEPS: Final = 40
SEEDS: Final = range(8)


@asynccontextmanager
async def faulty(folder: Path, faults: Faults, **config: Any) -> AsyncIterator[Collection]:
    """A collection without its background tasks, whose writer's statements fail as ``faults`` says."""
    async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
        threads = WorkerThreads(1, "search")
        threads.start()
        writer, readers = (
            Writer(folder / DATABASE_NAME, "NORMAL", connection_type(faults)),
            Readers(folder / DATABASE_NAME),
        )
        await writer.open()
        recovered = await writer.run(lambda connection: recover(connection, "test", folder, config_of(**config)))

        def remove(folder: Path) -> None:
            shutil.rmtree(folder, ignore_errors=True)

        async def resolve(work: Any) -> PointOperation:
            return await collection.read(work)

        actor = Actor("test", recovered.state, writer, recovered.log_bytes, remove, resolve)
        collection = Collection("test", folder, actor, threads, readers, recovered)
        nursery.start_soon(actor.run)
        try:
            yield collection
        finally:
            faults.heal()
            actor.stop()
            with trio.CancelScope(shield=True):
                await actor.stopped.wait()
                readers.close()
                await writer.close()
            threads.stop()
    assert actor.failure is None


def optimizer_of(collection: Collection) -> Optimizer:
    async def builder(job: Path) -> None:
        await trio.to_thread.run_sync(lambda: build(msgspec.json.decode(job.read_bytes(), type=Job)))

    return Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2), builder)


async def record_of(collection: Collection) -> Record:
    """What the View shows; count and search must agree with it."""
    points = await everything(collection)
    record = {point["id"]: point["payload"] or {} for point in points}
    assert len(record) == len(points) == collection.view.points_count
    assert sorted(await nearest(collection, vector(1.0), exact=True)) == sorted(record)
    return record


@dataclass(slots=True)
class Client:
    """Writes at random and knows what may be there. ``record`` is what it was told, ``maybe`` what it was not."""

    random: random.Random
    record: Record = field(default_factory=dict)
    maybe: list[Record] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)

    async def step(self, collection: Collection) -> None:
        after = {point: dict(payload) for point, payload in self.record.items()}
        operation = self._operation(after)
        try:
            await collection.write(operation)
        except NotFound:
            raise
        except TryLater:
            self._note("refused")
        except OutcomeUnknown as error:
            if error.applied:
                self.record = after
                self._note("applied")
            else:
                self.maybe = [self.record, after]
                self._note("unknown")
        else:
            self.record = after
            self._note("acknowledged")

    def settle(self, found: Record) -> None:
        """``found`` must be one of the states that are possible, and is the record from now on."""
        assert found in (self.maybe or [self.record])
        self.record, self.maybe = found, []

    def _note(self, what: str) -> None:
        self.told[what] = self.told.get(what, 0) + 1

    def _operation(self, after: Record) -> PointOperation:
        ids = self.random.sample(range(IDS), self.random.randint(1, 8))
        payload = {"n": self.random.randint(0, 1000)}
        there = [point for point in ids if point in after]
        match self.random.choice(("upsert", "upsert", "delete", "set")):
            case "delete":
                for point in there:
                    del after[point]
                return DeletePoints(ids)
            case "set" if there:
                for point in there:
                    after[point] |= payload
                return SetPayload(there, payload)
        for point in ids:
            after[point] = dict(payload)
        return upsert(*ids, payload=payload)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_statement_fails_the_record_the_view_and_the_database_agree(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    faults, client = Faults(), Client(random.Random(seed))
    folder = tmp_path / "collection"
    folder.mkdir()
    async with faulty(folder, faults) as collection:
        optimizer = optimizer_of(collection)
        for step in range(STEPS):
            if chance.random() < 0.5:
                faults.code = chance.choice(CODES)
                faults.healthy = chance.randint(0, 12)
                faults.failing = chance.choice((1, 1, 1, 2, 5, 20))
                faults.only_commits, faults.too_late = chance.random() < 0.4, chance.random() < 0.5
                if faults.only_commits:
                    faults.healthy = 0
            if chance.random() < 0.15:
                # Builds that meet a fault change nothing or everything; nobody is told, so that nothing is recorded.
                filled = [slot for slot in collection.slots if any(rows.length for rows in slot.rows.values())]
                with suppress(TryLater, OutcomeUnknown):
                    await optimizer.rebuild(Plan("indexing", tuple(slot.number for slot in filled), freeze=True))
            else:
                await client.step(collection)
            faults.heal()
            if client.maybe:
                await collection.actor.flush()  # any message makes it look again
            client.settle(await record_of(collection))
            if chance.random() < 0.1:
                await assert_a_crash_leaves(folder, tmp_path / f"crash{step}", client.record)
    async with opening(folder) as collection:
        client.settle(await record_of(collection))
    assert faults.failed > STEPS / 8
    assert client.told["acknowledged"] > STEPS / 4


async def assert_a_crash_leaves(folder: Path, copy: Path, record: Record) -> None:
    """What a process killed now would leave: without SQLite's shared memory, which dies with it."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    connection = sqlite3.connect(copy / DATABASE_NAME)
    found = connection.execute("SELECT CAST(id AS INTEGER) FROM points").fetchall()
    connection.close()
    assert {number for (number,) in found} == record.keys()


async def test_a_commit_that_happened_and_failed_is_shown_and_named(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_IOERR_FSYNC, failing=1, only_commits=True, too_late=True)
    faults.failing = 0
    async with faulty(tmp_path, faults) as collection:
        faults.failing = 1
        with pytest.raises(OutcomeUnknown, match="it was applied, but may be lost in a power cut") as caught:
            await collection.write(upsert(1))
        assert caught.value.applied
        assert await record_of(collection) == {1: {}}
        assert await collection.write(upsert(2)) == 1


async def test_a_commit_that_nobody_knows_about_is_settled_before_the_next_write(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_IOERR_FSYNC, only_commits=True, too_late=True)
    async with faulty(tmp_path, faults) as collection:
        await collection.write(upsert(1))
        faults.failing = 10**6
        with pytest.raises(OutcomeUnknown, match="is not known") as caught:
            await collection.write(upsert(2))
        assert caught.value.applied is None
        with pytest.raises(StorageFailed):
            await collection.write(upsert(3))
        assert await nearest(collection, vector(1.0)) == [1], "reads go on, on what was known to be durable"
        faults.heal()
        assert await collection.write(upsert(3)) == 2
        assert await record_of(collection) == {1: {}, 2: {}, 3: {}}


async def test_a_full_disk_refuses_writes_and_is_told_until_a_write_succeeds(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_FULL)
    async with faulty(tmp_path, faults) as collection:
        await collection.write(upsert(1))
        running = Running(CatalogEntry(1, "test", "test", ""), collection, optimizer_of(collection))
        faults.failing = 10**6
        for _ in range(3):
            with pytest.raises(InsufficientStorage, match="No space left on device: the write was not applied"):
                await collection.write(upsert(2))
        status = describe(running).optimizer_status
        assert status == OptimizersFailed(error="No space left on device: the write was not applied")
        assert await record_of(collection) == {1: {}}
        faults.heal()
        await collection.write(upsert(3))
        assert describe(running).optimizer_status == "ok"
        assert await record_of(collection) == {1: {}, 3: {}}


async def test_writes_that_wait_together_fail_together_and_the_next_ones_succeed(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_IOERR_WRITE, only_commits=True)
    async with faulty(tmp_path, faults) as collection:
        faults.failing = 1
        errors: list[Exception] = []

        async def write(point: int) -> None:
            try:
                await collection.write(upsert(point))
            except StorageFailed as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for point in range(10):
                nursery.start_soon(write, point)
        assert errors
        assert len(await record_of(collection)) == 10 - len(errors)


async def test_an_index_whose_commit_failed_is_there_or_not(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_IOERR_FSYNC, only_commits=True)
    schema = KeywordIndexParams()
    async with faulty(tmp_path, faults) as collection:
        faults.failing = 1
        with pytest.raises(StorageFailed):
            await collection.actor.change_indexes(CreateIndex("a", schema))
        assert not collection.view.building
        faults.failing, faults.too_late = 1, True
        with pytest.raises(OutcomeUnknown):
            await collection.actor.change_indexes(CreateIndex("a", schema))
        assert list(collection.view.building) == ["a"]
        assert collection.view.seq == 0


async def test_a_log_that_cannot_be_cut_stops_nobody(tmp_path: Path) -> None:
    faults = Faults(sqlite3.SQLITE_FULL, only_commits=True)
    async with faulty(tmp_path, faults, wal_config={"wal_capacity_mb": 4}) as collection:
        for point in range(2):
            await collection.write(upsert(point, payload="x" * 500_000))
        faults.healthy, faults.failing = 1, 1  # the write's own COMMIT passes
        assert await collection.write(upsert(2, payload="x" * 500_000)) == 2
        assert await collection.write(upsert(3)) == 3
        assert faults.failed == 1
