"""What becomes of an index that was built while its collection changed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio_asyncio  # type: ignore[import-untyped]
from pyroaring import BitMap

from tests.collection.conftest import Open, config_of
from tests.collection.operations import until, upsert
from vdb.collection import field_builder
from vdb.collection.actor import Actor
from vdb.collection.field_files import Unusable
from vdb.collection.recovery import DATABASE_NAME, recover
from vdb.errors import CollectionClosing
from vdb.model.conditions import FieldCondition, MatchValue
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.query.targets import Resolve
from vdb.segment.fields import base_columns
from vdb.segment.fields.build import new_index
from vdb.segment.fields.index import Compaction, FieldIndex
from vdb.storage.sqlite import Readers, Writer

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


async def test_an_index_that_is_asked_for_again_goes_on_being_built(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that lose patience ask again; each wish of theirs must not begin anew."""
    release = threading.Event()
    built: list[str] = []
    build = field_builder.build

    def slowly(readers: Readers, path: str, *rest: Any) -> FieldIndex:
        built.append(path)
        release.wait()
        return build(readers, path, *rest)

    monkeypatch.setattr(field_builder, "build", slowly)
    async with opened() as collection, trio.open_nursery() as nursery:
        await collection.write(upsert(1, payload={PATH: "red"}))
        for _ in range(3):
            nursery.start_soon(collection.create_index, PATH, "keyword", True)
            await until(lambda: built)
        release.set()
        await until(lambda: PATH in collection.view.fields)
        assert built == [PATH]


async def test_waiting_for_an_index_ends_when_the_collection_closes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def never(*_: Any) -> FieldIndex:
        release.wait()
        raise Unusable("nobody waits for it any more")

    monkeypatch.setattr(field_builder, "build", never)
    async with trio.open_nursery() as nursery, opened() as collection:
        await collection.write(upsert(1))

        async def create() -> None:
            with pytest.raises(CollectionClosing):
                await collection.create_index(PATH, "keyword", True)

        nursery.start_soon(create)
        await until(lambda: collection.view.building)
        release.set()


async def test_a_compaction_is_adopted_while_writes_go_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that was asked again while a job of it ran forgot what had changed, and refused the job's result."""
    monkeypatch.setattr(base_columns, "_FRESH_MIN", 50)
    began, release = threading.Event(), threading.Event()
    runs = 0
    run = Compaction.run

    def slowly(job: Compaction) -> None:
        nonlocal runs
        runs += 1
        began.set()
        release.wait()
        run(job)

    async with opened() as collection:
        await collection.create_index("number", "integer", wait=True)
        monkeypatch.setattr(Compaction, "run", slowly)
        await collection.write(upsert(1_000, payload={"number": 0}))  # the first ones are sorted at once
        await collection.write(upsert(*range(100), payload={"number": 1}))
        await until(began.is_set)
        for point_id in range(100, 110):
            await collection.write(upsert(point_id, payload={"number": 2}))
        release.set()
        await until(lambda: "number" not in collection.actor._compacting)
        await collection.write(upsert(200, payload={"number": 3}))
        assert runs == 1
        assert not collection.actor.compactions
