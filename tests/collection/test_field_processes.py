"""Field indexes that a child process builds: what is written meanwhile counts, and a child that fails harms nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pyroaring import BitMap

from tests.collection.conftest import Open
from tests.collection.operations import until, upsert
from vdb.collection import child_process, field_keeper
from vdb.collection.collection import Collection
from vdb.collection.field_files import FIELDS_NAME, index_file
from vdb.files import self_command
from vdb.model.conditions import FieldCondition, Match, MatchText, MatchValue
from vdb.model.field_index import PayloadFieldSchema
from vdb.model.operations import DeletePoints, SetPayload

COLOR = "color"
build_index = child_process.build_index


@pytest.fixture(autouse=True)
def every_index_has_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_keeper, "IN_THREAD_POINTS_MAX", 0)
    monkeypatch.setattr(field_keeper, "_RETRY_S", 0.0)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[object]]], None]:
    """Has something happen once, after the first child has read all payloads and before its index is adopted."""

    def arrange(happen: Callable[[], Awaitable[object]]) -> None:
        async def build(job: Path) -> None:
            await build_index(job)
            monkeypatch.setattr(field_keeper, "build_index", build_index)
            await happen()

        monkeypatch.setattr(field_keeper, "build_index", build)

    return arrange


def ids(collection: Collection, path: str, match: Match) -> list[int]:
    """The points that an index finds, by num; there must be one."""
    view = collection.view
    found = view.fields[path].matching(FieldCondition(key=path, match=match), view.all_points)
    assert found is not None
    return list(BitMap(found) & view.all_points)


@pytest.mark.parametrize(
    ("schema", "match"),
    [("keyword", MatchValue(value="red")), ("text", MatchText(text="red"))],
)
async def test_it_answers_and_its_file_serves_the_next_start(
    opened: Open, folder: Path, schema: PayloadFieldSchema, match: Match
) -> None:
    async with opened() as collection:
        await collection.write(upsert(1, 2, payload={COLOR: "red"}))
        await collection.write(upsert(3, payload={COLOR: ["green", "red"]}))
        await collection.write(upsert(4, payload={COLOR: 5}))
        await collection.create_index(COLOR, schema, wait=True)
        assert ids(collection, COLOR, match) == [0, 1, 2]
        file = index_file(folder / FIELDS_NAME, COLOR)
        await until(file.exists)
        assert list(file.parent.iterdir()) == [file]
        written = file.stat().st_mtime_ns
    async with opened() as collection:
        assert not collection.view.building
        assert ids(collection, COLOR, match) == [0, 1, 2]
    assert file.stat().st_mtime_ns == written, "nothing has changed since the child wrote it"


async def test_what_is_written_while_it_is_built_counts(
    opened: Open, meanwhile: Callable[[Callable[[], Awaitable[object]]], None]
) -> None:
    async with opened() as collection:
        await collection.write(upsert(1, 2, 3, payload={COLOR: "red"}))

        async def change() -> None:
            await collection.write(SetPayload([1], {COLOR: "green"}, None))
            await collection.write(DeletePoints([2]))
            await collection.write(upsert(4, payload={COLOR: "red"}))

        meanwhile(change)
        await collection.create_index(COLOR, "keyword", wait=True)
        assert ids(collection, COLOR, MatchValue(value="red")) == [2, 3]
        assert ids(collection, COLOR, MatchValue(value="green")) == [0]
    async with opened() as collection:  # its file is older than these writes
        assert ids(collection, COLOR, MatchValue(value="red")) == [2, 3]
        assert ids(collection, COLOR, MatchValue(value="green")) == [0]


async def test_one_that_was_dropped_while_it_was_built_does_not_come_back(
    opened: Open, folder: Path, meanwhile: Callable[[Callable[[], Awaitable[object]]], None]
) -> None:
    async with opened() as collection:
        await collection.write(upsert(1, payload={COLOR: "red"}))

        async def drop() -> None:
            await collection.delete_index(COLOR)
            await collection.create_index("other", "keyword", wait=False)

        meanwhile(drop)
        await collection.create_index(COLOR, "keyword", wait=True)
        await until(lambda: "other" in collection.view.fields)
        assert list(collection.view.fields) == ["other"]
        await until(index_file(folder / FIELDS_NAME, "other").exists)
        assert not index_file(folder / FIELDS_NAME, COLOR).exists()


async def test_a_child_that_fails_is_named_and_tried_again_while_the_collection_serves(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "self_command", lambda *_: ["false"])
    async with opened() as collection:
        await collection.write(upsert(1, payload={COLOR: "red"}))
        await collection.create_index(COLOR, "keyword", wait=False)
        await until(lambda: "an index waits: the builder exited with 1" in caplog.text)
        await collection.write(upsert(2, payload={COLOR: "red"}))
        assert COLOR in collection.view.building
        monkeypatch.setattr(child_process, "self_command", self_command)
        await until(lambda: not collection.view.building)
        assert ids(collection, COLOR, MatchValue(value="red")) == [0, 1]


async def test_what_a_crash_left_of_a_build_is_swept(opened: Open, folder: Path) -> None:
    async with opened() as collection:
        await collection.create_index(COLOR, "keyword", wait=True)
    left = folder / FIELDS_NAME / ".building"
    left.write_bytes(b"half an index")
    async with opened() as collection:
        assert not left.exists()
        assert COLOR in collection.view.fields
