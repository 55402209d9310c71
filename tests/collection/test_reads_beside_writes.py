"""A point that is read while it is written is the old one or the new one, never parts of both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from sqlite3 import Connection
from typing import Any, Final

import msgspec
import pytest
import trio

from tests.collection.conftest import Open
from tests.collection.operations import upsert, vector
from vdb.errors import BadRequest, Busy
from vdb.model.decode import decode_hook
from vdb.model.groups import QueryGroupsRequest
from vdb.model.ids import PointId
from vdb.model.operations import DeletePoints
from vdb.model.queries import PointRequest, QueryRequest, ScrollRequest
from vdb.model.query_kinds import NearestQuery
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.scroll import scroll
from vdb.query.view import View
from vdb.storage import log

IDS: Final = tuple(range(1, 21))
ROUNDS: Final = 60

Read = Callable[[View, Connection], str]


def _scroll(view: View, connection: Connection) -> str:
    return scroll(view, connection, ScrollRequest(limit=100, with_vector=True), Deadline())


def _retrieve(view: View, connection: Connection) -> str:
    return execute.retrieve(view, connection, PointRequest(ids=list(IDS), with_vector=True))


def _query(view: View, connection: Connection, with_payload: bool) -> str:
    nearest = NearestQuery(nearest=vector(1))
    request = QueryRequest(query=nearest, limit=100, with_payload=with_payload, with_vector=True)
    return execute.query_points(view, connection, request, Deadline())


def _groups(view: View, connection: Connection) -> str:
    request = QueryGroupsRequest(
        query=NearestQuery(nearest=vector(1)), group_by="group", group_size=100, with_payload=True, with_vector=True
    )
    return execute.query_groups(view, connection, request, Deadline())


READS: Final[dict[str, Read]] = {
    "scroll": _scroll,
    "retrieve": _retrieve,
    "query": partial(_query, with_payload=True),
    "query without payload": partial(_query, with_payload=False),
    "groups": _groups,
}


def _points(answer: Any) -> list[dict[str, Any]]:
    if isinstance(answer, list):
        return answer
    return [*answer.get("points", []), *(hit for group in answer.get("groups", []) for hit in group["hits"])]


def _value(point: dict[str, Any]) -> float:
    assert point["vector"], f"no vector: {point}"
    values = {*point["vector"], point.get("payload", {}).get("value", point["vector"][0])}
    assert len(values) == 1, f"parts of two: {point}"
    return float(values.pop())


@pytest.mark.parametrize("on_disk_payload", [True, False])
@pytest.mark.parametrize("read", READS)
async def test_a_point_is_never_read_in_parts(opened: Open, read: str, on_disk_payload: bool) -> None:
    """Points hold the same number in payload and vector, are written anew, and go and come again."""
    async with opened(on_disk_payload=on_disk_payload) as collection:
        await collection.write(upsert(*IDS, value=1, payload={"value": 1, "group": 1}))
        done = trio.Event()
        seen: set[PointId] = set()

        async def reading() -> None:
            while not done.is_set():
                for point in _points(msgspec.json.decode(await collection.read(READS[read]))):
                    _value(point)
                    seen.add(point["id"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading)
            nursery.start_soon(reading)
            for number in range(2, ROUNDS):
                await collection.write(upsert(*IDS, value=number, payload={"value": number, "group": 1}))
                await collection.write(DeletePoints(IDS[::2]))
                await collection.write(upsert(*IDS[::2], value=-number, payload={"value": -number, "group": 1}))
            done.set()
        assert seen == set(IDS)


async def test_a_read_of_one_moment_has_a_view_of_what_the_database_holds(opened: Open) -> None:
    async with opened() as collection:
        await collection.write(upsert(*IDS))
        done = trio.Event()
        looked = 0

        async def reading() -> None:
            nonlocal looked
            while not done.is_set():
                seq, head = await collection.read(
                    lambda view, connection: (view.seq, log.head(connection)), of_one_moment=True
                )
                assert seq == head
                looked += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading)
            nursery.start_soon(reading)
            for number in range(ROUNDS):
                await collection.write(upsert(*IDS, value=number))
            done.set()
        assert looked


async def test_a_read_of_one_moment_waits_for_the_view(opened: Open) -> None:
    """Between the COMMIT and its View there are moments; a database that stays ahead is refused."""
    async with opened() as collection:
        await collection.write(upsert(1))
        shown = collection.actor.view
        await collection.write(upsert(2))
        newest, collection.actor.view = collection.actor.view, shown
        with pytest.raises(Busy):
            await collection.read(lambda view, connection: view.seq, of_one_moment=True)
        collection.actor.view = newest
        assert await collection.read(lambda view, connection: view.seq, of_one_moment=True) == newest.seq


async def test_a_point_that_is_gone_keeps_the_payload_that_its_view_has(opened: Open) -> None:
    async with opened(on_disk_payload=False) as collection:
        await collection.write(upsert(1, payload={"value": 1}))
        view = collection.view
        await collection.write(upsert(1, payload={"value": 2}))
        await collection.write(DeletePoints((1,)))
        request = QueryRequest(query=NearestQuery(nearest=vector(1)), with_payload=True)
        text = await collection.read(lambda _, connection: execute.query_points(view, connection, request, Deadline()))
        assert [point["payload"] for point in msgspec.json.decode(text)] == [{"value": 1}]


async def test_a_formula_leaves_out_a_point_that_is_gone_with_its_payload(opened: Open) -> None:
    body = {"prefetch": {"query": vector(1), "limit": 9}, "query": {"formula": {"sum": ["$score", "value"]}}}
    request = msgspec.convert(body, QueryRequest, dec_hook=decode_hook)
    async with opened() as collection:
        await collection.write(upsert(1, 2, payload={"value": 1}))
        view = collection.view
        await collection.write(DeletePoints((1,)))
        text = await collection.read(lambda _, connection: execute.query_points(view, connection, request, Deadline()))
        assert [point["id"] for point in msgspec.json.decode(text)] == [2]
        await collection.write(upsert(2))
        with pytest.raises(BadRequest, match="value"):
            await collection.read(lambda _, connection: execute.query_points(view, connection, request, Deadline()))
