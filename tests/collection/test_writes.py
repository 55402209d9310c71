"""The actor: what it commits together, what it refuses, and what it does when callers leave or it breaks."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.collection.conftest import Open
from tests.collection.operations import everything, nearest, update_vectors, upsert, vector
from vdb.api.collections import describe
from vdb.collection import mailbox
from vdb.collection.collection import Collection
from vdb.collection.recovery import DATABASE_NAME
from vdb.errors import BadRequest, Busy, CollectionBroken, CollectionClosing, PointNotFound, TryLater, WrongDimension
from vdb.hosting import Running
from vdb.model.collection_results import OptimizersFailed
from vdb.model.operations import (
    ClearPayload,
    DeletePayload,
    DeletePoints,
    DeleteVectors,
    OverwritePayload,
    PointOperation,
    SetPayload,
)
from vdb.optimizer.worker import Budget, Optimizer
from vdb.storage import points
from vdb.storage.catalog import CatalogEntry
from vdb.storage.sqlite import Writer


class Gate:
    """Holds the writer's units of work until it is opened, and counts them."""

    def __init__(self, collection: Collection) -> None:
        self.runs = 0
        self.entered = trio.Event()
        self.open = trio.Event()
        writer: Writer = collection.actor._writer
        self._run = writer.run
        writer.run = self._held  # type: ignore[method-assign]

    async def _held(self, work: Any) -> Any:
        self.runs += 1
        self.entered.set()
        with trio.CancelScope(shield=True):
            await self.open.wait()
        return await self._run(work)


async def test_what_waits_is_committed_in_one_transaction(opened: Open) -> None:
    async with opened() as collection:
        gate = Gate(collection)
        seqs: list[int] = []

        async def write(number: int) -> None:
            seqs.append(await collection.write(upsert(number)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, 0)
            await gate.entered.wait()
            for number in range(1, 50):
                nursery.start_soon(write, number)
            await wait_all_tasks_blocked()
            gate.open.set()
        assert gate.runs == 2
        assert sorted(seqs) == list(range(50))
        assert len(await everything(collection)) == 50


async def test_a_refused_operation_in_a_group_changes_nothing_and_the_others_go_on(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(1, 2, payload={"a": 1}))
        gate = Gate(collection)
        outcomes: dict[str, Any] = {}

        async def write(name: str, operation: PointOperation) -> None:
            try:
                outcomes[name] = await collection.write(operation)
            except (BadRequest, PointNotFound) as error:
                outcomes[name] = type(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, "first", upsert(3))
            await gate.entered.wait()
            others: dict[str, PointOperation] = {
                "missing": SetPayload([1, 99], {"a": 2}),
                "good": SetPayload([2], {"a": 3}),
                "wrong size": upsert(1, size=3),
                "missing vectors": update_vectors(1, 99, value=9),
                "wrong name": DeleteVectors([1], ["", "x"]),
                "last": upsert(4),
            }
            for name, operation in others.items():
                nursery.start_soon(write, name, operation)
                await wait_all_tasks_blocked()
            gate.open.set()
        assert outcomes == {
            "first": 1,
            "missing": PointNotFound,
            "good": 2,
            "wrong size": WrongDimension,
            "missing vectors": PointNotFound,
            "wrong name": outcomes["wrong name"],
            "last": 3,
        }
        assert issubclass(outcomes["wrong name"], BadRequest)
        assert await everything(collection) == [
            {"id": 1, "payload": {"a": 1}, "vector": vector(1)},
            {"id": 2, "payload": {"a": 3}, "vector": vector(2)},
            {"id": 3, "payload": {}, "vector": vector(3)},
            {"id": 4, "payload": {}, "vector": vector(4)},
        ]


async def test_operations_of_one_group_see_each_other(opened: Open) -> None:
    async with opened() as collection:
        gate = Gate(collection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collection.write, upsert(1))
            await gate.entered.wait()
            for operation in (
                upsert(2, payload={"a": 1}),
                SetPayload([2], {"b": 2}),
                update_vectors(2, value=7),
                DeletePoints([1]),
                upsert(1, value=8, payload={"again": True}),
                upsert(3),
                DeletePoints([3]),
                upsert(4),
                DeleteVectors([4], [""]),
                OverwritePayload([4], {"x": 1, "y": 2}),
                DeletePayload([4], ["x"]),
                upsert(5, payload={"gone": 1}),
                ClearPayload([5]),
            ):
                nursery.start_soon(collection.write, operation)
                await wait_all_tasks_blocked()
            gate.open.set()
        assert gate.runs == 2
        expected = [
            {"id": 1, "payload": {"again": True}, "vector": vector(8)},
            {"id": 2, "payload": {"a": 1, "b": 2}, "vector": vector(7)},
            {"id": 4, "payload": {"y": 2}, "vector": {}},
            {"id": 5, "payload": {}, "vector": vector(5)},
        ]
        assert await everything(collection) == expected
        assert await nearest(collection, vector(1)) == [1, 2, 5]
        assert collection.view.points_count == 4
    async with opened() as collection:
        assert await everything(collection) == expected
        assert await nearest(collection, vector(1)) == [1, 2, 5]


async def test_of_an_id_that_stands_twice_in_one_upsert_the_last_one_counts(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(1, 2, 1, value=3))
        await collection.write(upsert(2, 2))
        assert [point["id"] for point in await everything(collection)] == [1, 2]
        assert await nearest(collection, vector(1)) == [1, 2]
        assert collection.view.points_count == 2


async def test_a_cancelled_caller_does_not_cancel_its_write(opened: Open) -> None:
    async with opened() as collection:
        gate = Gate(collection)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collection.write, upsert(1))
                await gate.entered.wait()
                nursery.start_soon(collection.write, upsert(2))
                await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        gate.open.set()
        await collection.write(upsert(3))
        assert [point["id"] for point in await everything(collection)] == [1, 2, 3]


async def test_what_was_accepted_is_finished_when_the_collection_closes(opened: Open) -> None:
    async with opened() as collection:
        gate = Gate(collection)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(collection.write, upsert(number))
                await wait_all_tasks_blocked()
                scope.cancel()
        gate.open.set()
    with pytest.raises(CollectionClosing, match="nothing was applied"):
        await collection.write(upsert(9))
    async with opened() as collection:
        assert len(await everything(collection)) == 5


async def test_a_full_mailbox_makes_the_caller_wait_and_then_come_back_later(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MESSAGES_MAX", 3)
    monkeypatch.setattr(mailbox, "WAIT_MAX_S", 0.05)
    async with opened() as collection:
        gate = Gate(collection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collection.write, upsert(0))
            await gate.entered.wait()
            for number in range(1, 4):
                nursery.start_soon(collection.write, upsert(number))
            await wait_all_tasks_blocked()
            with pytest.raises(Busy) as refused:
                await collection.write(upsert(9))
            assert refused.value.retry_after_s >= 1
            monkeypatch.setattr(mailbox, "WAIT_MAX_S", 60.0)
            nursery.start_soon(collection.write, upsert(4))
            await wait_all_tasks_blocked()
            gate.open.set()
        assert [point["id"] for point in await everything(collection)] == [0, 1, 2, 3, 4]


async def test_a_broken_actor_says_so_refuses_writes_and_goes_on_reading(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(1))

        async def fails(work: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

        run = collection.actor._writer.run
        collection.actor._writer.run = fails  # type: ignore[method-assign]
        with pytest.raises(CollectionBroken, match="disk I/O error"):
            await collection.write(upsert(2))
        await collection.actor.stopped.wait()
        assert collection.actor.failure is not None
        with pytest.raises(CollectionBroken, match="stopped: disk I/O error"):
            await collection.write(upsert(3))
        for _ in range(100):
            with pytest.raises(CollectionBroken) as refused:
                await collection.write(upsert(3))
        assert len(traceback.extract_tb(refused.tb)) < 20, "what is raised again and again must not grow"
        assert [point["id"] for point in await everything(collection)] == [1]
        assert await nearest(collection, vector(1)) == [1]
        optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 1))
        info = describe(Running(CatalogEntry(1, "test", "folder", ""), collection, optimizer))
        assert info.status == "red"
        assert isinstance(info.optimizer_status, OptimizersFailed)
        assert "disk I/O error" in info.optimizer_status.error
        collection.actor._writer.run = run  # type: ignore[method-assign]
    async with opened() as collection:
        assert [point["id"] for point in await everything(collection)] == [1]
        await collection.write(upsert(2))


async def test_reads_of_an_old_view_do_not_change_under_writes(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(*range(100)))
        old = collection.view
        before = [rows.alive_rows().tolist() for rows in old.vectors[""].segments]
        await collection.write(DeletePoints(list(range(50))))
        await collection.write(upsert(*range(100, 400)))
        assert [rows.alive_rows().tolist() for rows in old.vectors[""].segments] == before
        assert old.points_count == 100
        assert collection.view.points_count == 350


async def test_the_log_is_cut_and_never_forgets_its_newest_number(opened: Open, folder: Path) -> None:
    size = 1024
    config = {"vectors": {"size": size, "distance": "Dot"}, "wal_config": {"wal_capacity_mb": 1}}
    async with opened(**config) as collection:
        for _ in range(5):
            last = await collection.write(upsert(*range(100), size=size))
    connection = sqlite3.connect(folder / DATABASE_NAME)
    rows, newest = connection.execute("SELECT count(*), max(seq) FROM log").fetchone()
    connection.close()
    assert newest == last == 4
    assert 1 <= rows < 5
    async with opened(**config) as collection:
        assert await collection.write(upsert(1, size=size)) == last + 1


async def test_emptying_the_log_does_not_wait_for_a_reader_that_stays(opened: Open, folder: Path) -> None:
    """Whoever makes a snapshot reads from the log for minutes: all reads would wait for it."""
    async with opened() as collection:
        await collection.write(upsert(1))
        outside = sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)
        try:
            outside.execute("BEGIN")
            outside.execute("SELECT count(*) FROM points").fetchone()
            await collection.write(upsert(2))
            with trio.fail_after(2):
                assert not await collection.actor.flush(collection._readers)
        finally:
            outside.close()
        assert await collection.actor.flush(collection._readers)


async def test_a_segment_that_takes_new_rows_is_not_swapped_away(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(1))
        (slot,) = collection.slots
        with pytest.raises(TryLater):
            await collection.actor.swap((slot.number,), None, collection.view.seq)
        await collection.write(upsert(2))
        assert [point["id"] for point in await everything(collection)] == [1, 2]


async def test_payloads_longer_than_the_longest_text_are_changed_in_parts(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's longest text is a billion bytes; here it is shorter."""
    monkeypatch.setattr(points, "_WRITTEN_BYTES", 4_000)
    async with opened() as collection:
        await collection.write(upsert(*range(20), payload={"text": "x" * 1_000}))
        await collection.actor._writer.run(lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 5_000))
        await collection.write(SetPayload(tuple(range(20)), {"more": 1}))
        assert all(point["payload"] == {"text": "x" * 1_000, "more": 1} for point in await everything(collection))
