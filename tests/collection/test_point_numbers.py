"""Numbers of deleted points: given again, so that memory does not grow with all the points that ever were."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
from pyroaring import BitMap

from tests.collection.conftest import Open
from tests.collection.operations import everything, nearest, until, upsert, vector
from vdb.collection import point_numbers
from vdb.collection.collection import Collection
from vdb.collection.messages import Write
from vdb.collection.point_numbers import PointNumbers
from vdb.collection.recovery import DATABASE_NAME
from vdb.model.operations import DeletePoints

FIRST, SECOND = range(1, 11), range(101, 111)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives free numbers again, however few they are."""
    monkeypatch.setattr(point_numbers, "FREE_MAX", 0)


def numbers(folder: Path) -> set[int]:
    connection = sqlite3.connect(folder / DATABASE_NAME)
    try:
        return {num for (num,) in connection.execute("SELECT num FROM points")}
    finally:
        connection.close()


async def replace(collection: Collection, old: Iterable[int], new: Iterable[int]) -> None:
    """Two transactions: what is deleted in one is not shown by the View after it."""
    await collection.write(DeletePoints(tuple(old)))
    await collection.write(upsert(*new, payload={"new": True}))


@pytest.mark.usefixtures("at_once")
async def test_points_that_come_and_go_share_their_numbers(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST, payload={"old": True}))
        for _ in range(5):
            await replace(collection, FIRST, SECOND)
            await replace(collection, SECOND, FIRST)
        assert max(numbers(folder)) < 2 * len(FIRST)
        found = await everything(collection)
        assert {point["id"]: (point["payload"], point["vector"]) for point in found} == {
            i: ({"new": True}, vector(i)) for i in FIRST
        }
        assert set(await nearest(collection, vector(1))) == set(FIRST)


@pytest.mark.usefixtures("at_once")
async def test_a_view_keeps_the_numbers_that_it_shows(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        before, view = numbers(folder), collection.view
        await replace(collection, FIRST, SECOND)
        assert numbers(folder).isdisjoint(before)
        shown = view.identities.describe(next(iter(view.vectors.values())).segments[0].rows.nums[: len(FIRST)])
        assert [point.id for point in shown] == list(FIRST)
        del view
        await replace(collection, SECOND, FIRST)
        assert numbers(folder) == before


@pytest.mark.usefixtures("at_once")
async def test_the_oldest_view_of_several_decides(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        before, oldest = numbers(folder), collection.view
        await collection.write(upsert(50))
        newer = collection.view
        await collection.write(DeletePoints(tuple(FIRST)))
        del newer
        await collection.write(upsert(*SECOND))
        assert numbers(folder).isdisjoint(before)
        del oldest


@pytest.mark.usefixtures("at_once")
async def test_a_start_finds_the_numbers_that_are_free(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        await collection.write(upsert(50))
        await collection.write(DeletePoints(tuple(FIRST)))
    async with opened() as collection:
        await collection.write(upsert(*SECOND))
        assert max(numbers(folder)) == len(FIRST)
        assert set(await nearest(collection, vector(1))) == {50, *SECOND}


@pytest.mark.usefixtures("at_once")
async def test_a_refused_write_uses_no_number(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        await collection.write(DeletePoints((1,)))
        await collection.write(upsert(50))  # the View after it shows 1 no more
        with pytest.raises(Exception, match="expected dim"):
            await collection.write(upsert(60, size=3))
        await collection.write(upsert(61))
        assert len(numbers(folder)) == max(numbers(folder)) + 1 == len(FIRST) + 1


@pytest.mark.usefixtures("at_once")
async def test_searches_beside_it_never_meet_another_point(opened: Open) -> None:
    """Each point's payload names its vector: an answer that mixes two points would show."""
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        done = trio.Event()

        async def search() -> None:
            while not done.is_set():
                for point in await everything(collection):
                    assert point["vector"] == vector(point["id"])
                assert len(await nearest(collection, vector(1))) in (0, len(FIRST))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(search)
            nursery.start_soon(search)
            for _ in range(40):
                await replace(collection, FIRST, SECOND)
                await replace(collection, SECOND, FIRST)
            done.set()


async def test_a_thread_that_waits_keeps_no_view(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(*FIRST))
        await everything(collection)
        shown = weakref.ref(collection.view)
        await collection.write(DeletePoints(tuple(FIRST)))
        await until(lambda: shown() is None)  # the thread lets go of its job after it has handed over the answer


@pytest.mark.usefixtures("at_once")
async def test_a_number_that_was_used_and_not_kept_is_free(opened: Open, folder: Path) -> None:
    """A point that is written and deleted in one transaction, beside one that stays, leaves no hole."""
    async with opened() as collection:
        messages = [Write(upsert(1)), Write(upsert(2)), Write(DeletePoints((1,)))]
        for message in messages:
            collection.actor.mailbox.send_nowait(message)
        for message in messages:
            await message.reply.wait()
        await collection.write(upsert(3))
        assert numbers(folder) == {0, 1}


def test_a_few_free_numbers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_numbers, "FREE_MAX", 3)
    free = PointNumbers(BitMap([4, 5]))
    assert next(free.unused()) == 0
    free.take([0])
    assert (free.free_count, next(free.unused())) == (3, 6)
