"""Field indexes over restarts: read from their files where these are of use, built from payloads where not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from tests.collection.conftest import Open
from tests.collection.operations import until, upsert
from vdb.collection import field_files, field_keeper
from vdb.collection.collection import Collection
from vdb.collection.field_files import FIELDS_NAME
from vdb.model.conditions import FieldCondition, MatchValue
from vdb.model.operations import ClearPayload, DeletePoints, SetPayload

PATH = "color"


@pytest.fixture(autouse=True)
def every_change_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few points must be as good as thousands."""
    monkeypatch.setattr(field_keeper, "_BEHIND_POINTS_AT_END", 0)


@pytest.fixture
def files(folder: Path) -> Path:
    return folder / FIELDS_NAME


def holders(collection: Collection, color: str) -> int:
    """How many points the index of colours finds; there must be one."""
    view = collection.view
    condition = FieldCondition(key=PATH, match=MatchValue(value=color))
    found = view.fields[PATH].matching(condition, view.all_points)
    assert found is not None
    return len(BitMap(found) & view.all_points)


def names(files: Path) -> list[str]:
    return [file.name for file in files.glob("*.index")]


async def fill(opened: Open) -> None:
    """Points 1 to 4, red, red, green and without a payload; the file of their index is written on closing."""
    async with opened() as collection:
        await collection.create_index(PATH, "keyword", wait=True)
        await collection.write(upsert(1, 2, payload={PATH: "red"}))
        await collection.write(upsert(3, payload={PATH: "green"}))
        await collection.write(upsert(4))


async def test_an_index_answers_from_its_file_as_soon_as_the_collection_is_open(opened: Open, files: Path) -> None:
    await fill(opened)
    assert len(names(files)) == 1
    async with opened() as collection:
        assert not collection.view.building
        assert holders(collection, "red") == 2
        await collection.write(upsert(5, payload={PATH: "red"}))
        assert holders(collection, "red") == 3


async def test_points_that_changed_after_the_file_was_written_are_read_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(opened)
    monkeypatch.setattr(field_keeper, "_BEHIND_POINTS_AT_END", 10_000)  # from here on the file stays as it is
    async with opened() as collection:
        await collection.write(SetPayload([1], {PATH: "green"}, None))
        await collection.write(ClearPayload([3]))
        await collection.write(upsert(4, payload={PATH: ["red", "blue"]}))
        await collection.write(upsert(6, payload={PATH: "red"}))
        await collection.write(DeletePoints([2]))
    async with opened() as collection:
        assert not collection.view.building
        assert [holders(collection, color) for color in ("red", "green", "blue")] == [2, 1, 1]
        assert collection.view.fields[PATH].points() == 3


async def test_the_number_of_a_deleted_point_that_is_given_out_again_is_read_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as collection:
        await collection.create_index(PATH, "keyword", wait=True)
        await collection.write(upsert(1, 2, payload={PATH: "red"}))
    monkeypatch.setattr(field_keeper, "_BEHIND_POINTS_AT_END", 10_000)
    async with opened() as collection:
        await collection.write(DeletePoints([2]))
    async with opened() as collection:  # the highest number is free now, and the next point gets it
        await collection.write(upsert(99, payload={PATH: "green"}))
    async with opened() as collection:
        assert [holders(collection, color) for color in ("red", "green")] == [1, 1]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def replace(file: Path) -> None:
    file.write_bytes(os.urandom(4096))


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, replace, empty, Path.unlink])
async def test_a_damaged_or_missing_file_is_built_again(
    opened: Open, files: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    await fill(opened)
    file = files / names(files)[0]
    damage(file)
    async with opened() as collection:
        await until(lambda: not collection.view.building)
        assert holders(collection, "red") == 2
        await until(lambda: file.exists() and file.stat().st_size > 100)
    assert ("is built again" in caplog.text) == (damage is not Path.unlink)


async def test_a_file_of_another_version_is_built_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(opened)
    monkeypatch.setattr(field_files, "recipe", lambda schema: "vdb 99")
    async with opened() as collection:
        await until(lambda: not collection.view.building)
        assert holders(collection, "red") == 2
    assert "is built again" in caplog.text


async def test_a_file_that_knows_more_than_its_database_is_removed(
    opened: Open, files: Path, folder: Path, tmp_path: Path
) -> None:
    """Somebody put an older copy of the database in place: its numbers will come again and mean something else."""
    async with opened() as collection:
        await collection.create_index(PATH, "keyword", wait=True)
    database = folder / "collection.sqlite"
    older = database.read_bytes()
    async with opened() as collection:
        await collection.write(upsert(1, payload={PATH: "red"}))
    database.write_bytes(older)
    async with opened() as collection:
        await until(lambda: not collection.view.building)
        await collection.write(upsert(1, payload={PATH: "green"}))
        await collection.write(upsert(2))
    async with opened() as collection:
        assert [holders(collection, color) for color in ("red", "green")] == [0, 1]


async def test_an_index_far_behind_is_built_again_while_the_collection_serves(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(opened)
    monkeypatch.setattr(field_keeper, "_BEHIND_POINTS_AT_END", 10_000)
    monkeypatch.setattr(field_files, "REREAD_POINTS_MAX", 1)
    async with opened() as collection:
        await collection.write(upsert(5, 6, payload={PATH: "red"}))
    async with opened() as collection:
        await until(lambda: not collection.view.building)
        assert holders(collection, "red") == 4


async def test_another_schema_or_none_leaves_no_file_behind(opened: Open, files: Path) -> None:
    await fill(opened)
    async with opened() as collection:
        await collection.create_index(PATH, "text", wait=True)
        await collection.create_index("other", "integer", wait=True)
        await until(lambda: len(names(files)) == 2)
        await collection.delete_index("other")
        await until(lambda: len(names(files)) == 1)
    async with opened() as collection:
        assert not collection.view.building
        assert list(collection.view.fields) == [PATH]
        assert collection.view.fields[PATH].schema == "text"
        await collection.delete_index(PATH)
        await until(lambda: not names(files))


async def test_a_file_is_written_while_points_stream_in(
    opened: Open, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_keeper, "_BEHIND_POINTS_MAX", 10)
    monkeypatch.setattr(field_keeper, "_WRITING_SHARE", 1.0)
    async with opened() as collection:
        await collection.create_index(PATH, "keyword", wait=True)
        await until(lambda: names(files))
        file = files / names(files)[0]
        size = file.stat().st_size
        await collection.write(upsert(*range(20), payload={PATH: "red"}))
        await until(lambda: file.stat().st_size > size)


async def test_a_file_that_cannot_be_written_costs_nothing_but_a_warning(
    opened: Open, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / FIELDS_NAME).write_text("a file where the folder should be")
    async with opened() as collection:
        await collection.create_index(PATH, "keyword", wait=True)
        await collection.write(upsert(1, payload={PATH: "red"}))
        await until(lambda: "was not written" in caplog.text)
        assert holders(collection, "red") == 1


async def payloads_in_memory(collection: Collection) -> dict[int, Any]:
    assert collection.view.payloads is not None
    return dict(collection.view.payloads.items())


async def test_payloads_are_kept_in_memory_where_that_is_configured(opened: Open) -> None:
    async with opened(on_disk_payload=False) as collection:
        await collection.write(upsert(1, 2, payload={PATH: "red"}))
        await collection.write(SetPayload([1], {PATH: "grün"}, None))
        before = await payloads_in_memory(collection)
        assert list(before.values()) == ['{"color":"grün"}'.encode(), b'{"color":"red"}']
        await collection.write(ClearPayload([1]))
        await collection.write(DeletePoints([2]))
        assert await payloads_in_memory(collection) == {}
        await collection.write(upsert(3, payload={PATH: "blue"}))
    async with opened(on_disk_payload=False) as collection:
        assert list((await payloads_in_memory(collection)).values()) == [b'{"color":"blue"}']
    async with opened(on_disk_payload=True) as collection:
        assert collection.view.payloads is None
