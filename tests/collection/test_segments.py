"""Sealed segments: builds beside writes, and recovery when their files are damaged."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
import trio

from tests.collection.conftest import Open, opening
from tests.collection.operations import everything, nearest, until, update_vectors, upsert, vector
from vdb.collection import child_process
from vdb.collection.collection import Collection
from vdb.collection.recovery import SEGMENTS_NAME
from vdb.files import self_command
from vdb.model.collection_config import UpdateCollection, apply_update
from vdb.model.operations import DeletePoints, DeleteVectors
from vdb.optimizer import worker
from vdb.optimizer.worker import Budget, Optimizer

# A graph from 1 KiB of vectors on, that is from 65 points.
INDEXED: Final[dict[str, Any]] = {
    "optimizers_config": {"indexing_threshold": 1},
    "hnsw_config": {"full_scan_threshold": 10},
}
COUNT: Final = 500


def is_settled(collection: Collection, optimizer: Optimizer) -> bool:
    return any(slot.sealed is not None for slot in collection.slots) and optimizer.pending() is None


@asynccontextmanager
async def optimizing(collection: Collection) -> AsyncIterator[Optimizer]:
    """Runs the collection's optimizer for this block."""
    optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(optimizer.run)
        yield optimizer
        nursery.cancel_scope.cancel()


async def settled(collection: Collection, optimizer: Optimizer) -> None:
    """Returns once everything that is to be sealed is."""
    await until(lambda: is_settled(collection, optimizer))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection on disk whose COUNT points all lie in one sealed segment; built once, copied for every test."""
    folder = tmp_path_factory.mktemp("prepared")

    async def build() -> None:
        async with opening(folder, **INDEXED) as collection, optimizing(collection) as optimizer:
            await collection.write(upsert(*range(COUNT)))
            await settled(collection, optimizer)
            assert [slot.points_count for slot in collection.slots if slot.sealed is not None] == [COUNT]

    trio.run(build)
    return folder


@pytest.fixture
def sealed(prepared: Path, folder: Path, opened: Open) -> Open:
    """Opens a copy of that collection."""
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    return opened


def sealed_rows(collection: Collection) -> int:
    return sum(slot.points_count for slot in collection.slots if slot.sealed is not None)


async def test_files_that_nobody_needs_are_deleted_beside_the_event_loop(
    sealed: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To unlink a gigabyte takes a quarter of a second."""
    deleted_in: dict[str, int] = {}
    delete = shutil.rmtree

    def watched(path: Path, **options: Any) -> None:
        deleted_in[Path(path).name] = threading.get_ident()
        delete(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    async with sealed(**INDEXED) as collection:
        (former,) = (folder / SEGMENTS_NAME).iterdir()
        update = msgspec.convert({"hnsw_config": {"m": 4}}, UpdateCollection)
        await collection.actor.reconfigure(apply_update(collection.view.config, update))
        async with optimizing(collection):
            await until(lambda: not former.exists())
    assert deleted_in[former.name] != threading.get_ident()


async def test_writes_during_a_build_survive_the_swap(opened: Open) -> None:
    """The build reads what was there when it began; whatever moved on since must not come back with it."""
    async with opened(**INDEXED) as collection:
        await collection.write(upsert(*range(COUNT)))
        swap = collection.actor.swap

        async def after_writes(*args: Any) -> None:
            await collection.write(DeletePoints(list(range(100))))
            await collection.write(update_vectors(*range(100, 150), value=-7))
            await collection.write(DeleteVectors(list(range(150, 200)), [""]))
            await collection.write(upsert(*range(10), value=-9))
            await swap(*args)

        collection.actor.swap = after_writes  # type: ignore[method-assign,assignment]
        async with optimizing(collection) as optimizer:
            await until(lambda: any(slot.sealed is not None for slot in collection.slots))
            collection.actor.swap = swap  # type: ignore[method-assign]
            await check_after_writes(collection)
            await settled(collection, optimizer)
            await check_after_writes(collection)
    async with opened(**INDEXED) as collection:
        await check_after_writes(collection)


async def check_after_writes(collection: Collection) -> None:
    points = {point["id"]: point["vector"] for point in await everything(collection)}
    assert set(points) == {*range(10), *range(100, COUNT)}
    assert all(points[i] == vector(-9) for i in range(10))
    assert all(points[i] == vector(-7) for i in range(100, 150))
    assert all(points[i] == {} for i in range(150, 200))
    assert all(points[i] == vector(i) for i in range(200, COUNT))
    for exact in (True, False):
        ids = await nearest(collection, vector(-1), exact=exact)
        assert len(ids) == len(set(ids))
        assert set(ids) == set(points) - set(range(150, 200))
        assert set(ids[:10]) == set(range(10))


async def test_deletes_in_a_sealed_segment_survive_a_restart(sealed: Open) -> None:
    async with sealed(**INDEXED) as collection:
        await collection.write(DeletePoints([1, 2, 3]))
        await collection.write(update_vectors(4, value=10_000))
        assert sealed_rows(collection) == COUNT - 4
    async with sealed(**INDEXED) as collection:
        assert sealed_rows(collection) == COUNT - 4
        ids = await nearest(collection, vector(1))
        assert ids[0] == 4
        assert set(ids) == set(range(COUNT)) - {1, 2, 3}


async def test_unsealed_rows_come_back_beside_sealed_ones(sealed: Open) -> None:
    async with sealed(**INDEXED) as collection:
        await collection.write(upsert(*range(COUNT, COUNT + 7), payload={"new": True}))
        before = await everything(collection)
    async with sealed(**INDEXED) as collection:
        assert sealed_rows(collection) == COUNT
        assert await everything(collection) == before
        assert set(await nearest(collection, vector(1))) == set(range(COUNT + 7))


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("suffix", ["matrix", "nums", "graph"])
@pytest.mark.parametrize("damage", [missing, truncated, longer, bit_flipped, emptied])
async def test_a_damaged_segment_file_is_noticed_and_its_rows_come_from_sqlite(
    sealed: Open, folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], suffix: str
) -> None:
    async with sealed(**INDEXED) as collection:
        await collection.write(DeletePoints([1]))
        await collection.write(update_vectors(2, value=10_000))
        before = await everything(collection)
    (path,) = (folder / SEGMENTS_NAME).glob(f"*/*.{suffix}")
    damage(path)
    with caplog.at_level(logging.WARNING):
        async with sealed(**INDEXED) as collection:
            assert len(collection.rebuilt) == 1
            assert str(path) in caplog.text
            assert sealed_rows(collection) == 0
            assert await everything(collection) == before
            ids = await nearest(collection, vector(1))
            assert ids[0] == 2
            assert set(ids) == set(range(COUNT)) - {1}
    assert not path.parent.exists()
    async with sealed(**INDEXED) as collection:
        assert collection.rebuilt == []
        assert await everything(collection) == before


async def test_a_whole_segment_folder_that_is_gone_is_rebuilt(sealed: Open, folder: Path) -> None:
    (segment,) = (folder / SEGMENTS_NAME).iterdir()
    for path in segment.iterdir():
        path.unlink()
    segment.rmdir()
    async with sealed(**INDEXED) as collection:
        assert len(collection.rebuilt) == 1
        assert set(await nearest(collection, vector(1))) == set(range(COUNT))
        async with optimizing(collection) as optimizer:
            await settled(collection, optimizer)
    async with sealed(**INDEXED) as collection:
        assert collection.rebuilt == []
        assert sealed_rows(collection) == COUNT
        assert set(await nearest(collection, vector(1))) == set(range(COUNT))


async def test_folders_that_the_manifest_does_not_name_are_swept(sealed: Open, folder: Path) -> None:
    stray = folder / SEGMENTS_NAME / ".half.new"
    stray.mkdir()
    (stray / "0.matrix").write_bytes(b"half")
    async with sealed(**INDEXED) as collection:
        assert not stray.exists()
        assert len(list((folder / SEGMENTS_NAME).iterdir())) == 1
        assert sealed_rows(collection) == COUNT


async def test_a_build_that_fails_leaves_everything_and_is_tried_again(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "self_command", lambda *_: ["false"])
    monkeypatch.setattr(worker, "PAUSE_FIRST_S", 0.01)
    async with opened(**INDEXED) as collection:
        await collection.write(upsert(*range(COUNT)))
        async with optimizing(collection) as optimizer:
            await until(lambda: optimizer.error is not None)
            assert "the builder exited with 1" in str(optimizer.error)
            assert set(await nearest(collection, vector(1))) == set(range(COUNT))
            monkeypatch.setattr(child_process, "self_command", self_command)
            await settled(collection, optimizer)
            assert optimizer.error is None
        assert sealed_rows(collection) == COUNT
        assert all(not path.name.startswith(".") for path in (folder / SEGMENTS_NAME).iterdir())


async def test_random_writes_beside_builds_and_restarts_agree_with_a_dictionary(opened: Open) -> None:
    """Points live in memory, in sealed segments and in both; a plain dictionary says what must be there."""
    random = np.random.default_rng(20)
    model: dict[Any, float | None] = {}
    for _ in range(3):
        async with opened(**INDEXED) as collection, optimizing(collection) as optimizer:
            for _ in range(40):
                ids = [int(i) for i in random.choice(400, size=int(random.integers(1, 60)), replace=False)]
                value = float(random.integers(-1000, 1000))
                known = [i for i in ids if i in model]
                match int(random.integers(4)):
                    case 0 | 1:
                        await collection.write(upsert(*ids, value=value))
                        model.update(dict.fromkeys(ids, value))
                    case 2:
                        await collection.write(DeletePoints(ids))
                        for i in known:
                            del model[i]
                    case _ if known:
                        await collection.write(DeleteVectors(known[:5], [""]))
                        model.update(dict.fromkeys(known[:5], None))
                    case _:
                        pass
                assert collection.view.points_count == len(model)
            await compare(collection, model)
            await settled(collection, optimizer)
            await compare(collection, model)


async def compare(collection: Collection, model: dict[Any, float | None]) -> None:
    expected = [
        {"id": i, "payload": {}, "vector": {} if model[i] is None else vector(model[i] or 0.0)} for i in sorted(model)
    ]
    assert await everything(collection) == expected
    ids = await nearest(collection, vector(1), exact=True)
    assert sorted(ids) == [i for i in sorted(model) if model[i] is not None]
