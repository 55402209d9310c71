"""What becomes of an index that was built while its collection changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
import trio_asyncio  # type: ignore[import-untyped]
from pyroaring import BitMap

from tests.collection.conftest import config_of
from tests.collection.operations import upsert
from vdb.collection.actor import Actor
from vdb.collection.recovery import DATABASE_NAME, recover
from vdb.model.conditions import FieldCondition, MatchValue
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.query.targets import Resolve
from vdb.segment.fields.build import new_index
from vdb.segment.fields.index import FieldIndex
from vdb.storage.sqlite import Writer

PATH: Final = "color"


@asynccontextmanager
async def acting(folder: Path) -> AsyncIterator[Actor]:
    """The actor of an empty collection, without anybody who builds its indexes."""

    async def resolve(work: Resolve) -> PointOperation:
        raise AssertionError("nobody asks for this")

    async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
        writer = Writer(folder / DATABASE_NAME, "NORMAL")
        await writer.open()
        recovered = await writer.run(lambda connection: recover(connection, "test", folder, config_of()))
        actor = Actor("test", recovered.state, writer, recovered.log_bytes, lambda folder: None, resolve)
        nursery.start_soon(actor.run)
        yield actor
        actor.stop()
        await actor.stopped.wait()
        await writer.close()


def index_of(*colors: str) -> FieldIndex:
    """What a builder makes of points 0, 1, … with these colours."""
    index = new_index(PATH, "keyword")
    index.apply((num, [color]) for num, color in enumerate(colors))
    return index


@pytest.mark.parametrize("between", [[], [DeleteIndex(PATH)]], ids=["created twice", "dropped and created"])
async def test_a_build_does_not_answer_for_an_index_that_was_asked_for_after_it_began(
    folder: Path, between: list[DeleteIndex]
) -> None:
    """What changed before the second wish was noted for the first alone: the filter would find what was overwritten."""
    async with acting(folder) as actor:
        await actor.write(upsert(1, payload={PATH: "red"}))
        await actor.change_indexes(CreateIndex(PATH, "keyword"))
        began, overtaken = actor.view.seq, index_of("red")
        await actor.write(upsert(1, payload={PATH: "green"}))
        changes: list[CreateIndex | DeleteIndex] = [*between, CreateIndex(PATH, "keyword")]
        for change in changes:
            await actor.change_indexes(change)
        assert not await actor.adopt_index(PATH, overtaken, began)
        assert PATH in actor.view.building

        assert await actor.adopt_index(PATH, index_of("green"), actor.view.seq)
        view = actor.view
        condition = FieldCondition(key=PATH, match=MatchValue(value="red"))
        found = view.fields[PATH].matching(condition, view.all_points)
        assert found is not None and not BitMap(found) & view.all_points


async def test_a_build_answers_for_what_changed_while_it_ran(folder: Path) -> None:
    async with acting(folder) as actor:
        await actor.write(upsert(1, payload={PATH: "red"}))
        await actor.change_indexes(CreateIndex(PATH, "keyword"))
        began, built = actor.view.seq, index_of("red")
        await actor.write(upsert(1, payload={PATH: "green"}))
        assert await actor.adopt_index(PATH, built, began)
        view = actor.view
        condition = FieldCondition(key=PATH, match=MatchValue(value="green"))
        found = view.fields[PATH].matching(condition, view.all_points)
        assert found is not None and list(BitMap(found)) == list(view.all_points)
