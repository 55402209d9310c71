"""What the settings of the optimizers do: at creation, in config.yaml, and by PATCH on a living collection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
import trio

from tests.collection.conftest import opening
from tests.collection.operations import SIZE, until
from vdb.collection.collection import Collection
from vdb.config import load_settings
from vdb.model.collection_config import CreateCollection, UpdateCollection, apply_update, resolve
from vdb.model.decode import decode_hook
from vdb.model.operations import DeletePoints, Upsert, VectorColumn
from vdb.optimizer.policy import Limits
from vdb.optimizer.worker import Budget, Optimizer
from vdb.segment.builder import Job, build
from vdb.segment.sealed import SealedRows

ROW_BYTES: Final = SIZE * 4
KIB: Final = 1024 // ROW_BYTES  # rows in a KiB of vectors
HNSW: Final = {"m": 4, "ef_construct": 8, "full_scan_threshold": 10}


async def build_in_thread(job: Path) -> None:
    await trio.to_thread.run_sync(lambda: build(msgspec.json.decode(job.read_bytes(), type=Job)))


class Optimized:
    """A collection whose optimizer runs."""

    def __init__(self, collection: Collection, optimizer: Optimizer) -> None:
        self.collection = collection
        self.optimizer = optimizer

    async def add(self, first: int, count: int) -> None:
        """Writes points, and seals them if they are to be."""
        data = np.random.default_rng(first).normal(size=(count, SIZE)).astype(np.float32)
        ids = list(range(first, first + count))
        await self.collection.write(Upsert(ids, [None] * count, [VectorColumn("", data)]))
        await self.settled()

    async def settled(self) -> None:
        await until(lambda: self.optimizer.pending() is None)

    async def patch(self, **change: Any) -> None:
        update = msgspec.convert(change, UpdateCollection, dec_hook=decode_hook)
        await self.collection.actor.reconfigure(apply_update(self.collection.view.config, update))
        await self.settled()

    def sealed(self) -> list[SealedRows]:
        segments = self.collection.view.vectors[""].segments
        return [segment.rows for segment in segments if isinstance(segment.rows, SealedRows)]

    def rows(self) -> list[int]:
        """Rows of each sealed segment, dead ones among them."""
        return sorted(len(rows.nums) for rows in self.sealed())


@pytest.fixture(autouse=True)
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdb.optimizer.worker.IDLE_AFTER_S", 0.01)


@asynccontextmanager
async def optimized(folder: Path, **optimizers: Any) -> AsyncIterator[Optimized]:
    settings = {"indexing_threshold": 1, "default_segment_number": 2} | optimizers
    async with opening(folder, optimizers_config=settings, hnsw_config=HNSW) as collection:
        budget = Budget(trio.CapacityLimiter(2), trio.CapacityLimiter(1), 2)
        async with trio.open_nursery() as nursery:
            optimizer = Optimizer(collection, budget, build_in_thread)
            nursery.start_soon(optimizer.run)
            yield Optimized(collection, optimizer)
            nursery.cancel_scope.cancel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "collection"
    path.mkdir()
    return path


async def test_default_segment_number_is_how_many_segments_are_left(folder: Path) -> None:
    async with optimized(folder, default_segment_number=3) as it:
        for number in range(6):
            await it.add(number * 200, 200)
        assert len(it.rows()) == 3
        await it.patch(optimizers_config={"default_segment_number": 1})
        assert it.rows() == [1200]
        await it.patch(optimizers_config={"default_segment_number": 4})
        await it.add(1200, 200)
        assert len(it.rows()) == 2  # a segment is never taken apart


def test_default_segment_number_zero_follows_the_cpus() -> None:
    config = resolve(CreateCollection(), load_settings().storage)
    assert [Limits.of(config, cpus).segments for cpus in (1, 2, 4, 8, 16, 64)] == [1, 1, 2, 4, 8, 8]


async def test_max_segment_size_is_the_size_beyond_which_nothing_is_merged(folder: Path) -> None:
    async with optimized(folder, default_segment_number=1, max_segment_size=8) as it:
        for number in range(4):
            await it.add(number * 3 * KIB, 3 * KIB)
        assert it.rows() == [6 * KIB, 6 * KIB]
        await it.patch(optimizers_config={"max_segment_size": 100})
        assert it.rows() == [12 * KIB]


async def test_memmap_threshold_decides_which_segments_stay_on_the_disk(folder: Path) -> None:
    async with optimized(folder, memmap_threshold=4) as it:
        await it.add(0, 5 * KIB)
        await it.add(5 * KIB, 2 * KIB)
        assert {len(rows.nums): rows.cold for rows in it.sealed()} == {5 * KIB: True, 2 * KIB: False}
        await it.patch(optimizers_config={"memmap_threshold": 2})
        assert all(rows.cold for rows in it.sealed())
        await it.patch(optimizers_config={"memmap_threshold": 0})
        assert not any(rows.cold for rows in it.sealed())


async def test_memmap_threshold_seals_without_a_graph_where_indexing_is_off(folder: Path) -> None:
    async with optimized(folder, memmap_threshold=4, indexing_threshold=0) as it:
        await it.add(0, 3 * KIB)
        assert it.rows() == []
        await it.add(3 * KIB, 3 * KIB)
        assert it.rows() == [6 * KIB]
        assert it.sealed()[0].graph is None
        assert it.sealed()[0].cold


async def test_indexing_threshold_decides_from_where_on_a_graph_is_built(folder: Path) -> None:
    async with optimized(folder, indexing_threshold=4) as it:
        await it.add(0, 4 * KIB)
        assert it.rows() == []
        await it.add(4 * KIB, KIB)
        assert it.rows() == [5 * KIB]
        assert it.sealed()[0].graph is not None


async def test_indexing_threshold_zero_builds_no_graph_until_it_is_changed(folder: Path) -> None:
    async with optimized(folder, indexing_threshold=0) as it:
        await it.add(0, 20 * KIB)
        assert it.rows() == []
        await it.patch(optimizers_config={"indexing_threshold": 4})
        assert it.sealed()[0].graph is not None
        await it.patch(optimizers_config={"indexing_threshold": 0})
        assert it.sealed()[0].graph is not None  # what is there is not thrown away
        await it.add(20 * KIB, 20 * KIB)
        assert it.rows() == [20 * KIB]


async def test_deleted_threshold_is_the_share_of_dead_rows_that_is_put_up_with(folder: Path) -> None:
    async with optimized(folder, deleted_threshold=0.5, vacuum_min_vector_number=100) as it:
        await it.add(0, 1_000)
        await it.collection.write(DeletePoints(list(range(300))))
        await it.settled()
        assert it.rows() == [1_000]
        await it.patch(optimizers_config={"deleted_threshold": 0.2})
        assert it.rows() == [700]


async def test_vacuum_min_vector_number_leaves_small_segments_alone(folder: Path) -> None:
    async with optimized(folder, deleted_threshold=0.1, vacuum_min_vector_number=1_001) as it:
        await it.add(0, 1_000)
        await it.collection.write(DeletePoints(list(range(500))))
        await it.settled()
        assert it.rows() == [1_000]
        await it.patch(optimizers_config={"vacuum_min_vector_number": 1_000})
        assert it.rows() == [500]


async def test_max_optimization_threads_zero_builds_nothing_until_it_is_changed(folder: Path) -> None:
    async with optimized(folder, max_optimization_threads=0) as it:
        data = np.ones((500, SIZE), dtype=np.float32)
        await it.collection.write(Upsert(list(range(500)), [None] * 500, [VectorColumn("", data)]))
        assert not it.optimizer.enabled
        assert it.optimizer.pending() is not None
        assert it.optimizer.running == ()
        await it.patch(optimizers_config={"max_optimization_threads": "auto"})
        assert it.rows() == [500]


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (7, 2), ("auto", 2)])
async def test_max_optimization_threads_is_how_many_builds_run_at_once(
    folder: Path, threads: int | str, at_once: int
) -> None:
    """As long as the server's CPU budget has room: here for two."""
    running = most = 0
    turns = trio.Event()

    async def builder(job: Path) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == at_once:
            turns.set()
        await turns.wait()
        await build_in_thread(job)
        running -= 1

    settings = {"indexing_threshold": 1, "max_segment_size": 2, "max_optimization_threads": 0}
    async with opening(folder, optimizers_config=settings, hnsw_config=HNSW) as collection:
        optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(2), trio.CapacityLimiter(1), 2), builder)
        data = np.random.default_rng(1).normal(size=(2 * KIB, SIZE)).astype(np.float32)
        for number in range(4):
            ids = list(range(number * 2 * KIB, (number + 1) * 2 * KIB))
            await collection.write(Upsert(ids, [None] * len(ids), [VectorColumn("", data)]))
            await collection.actor.freeze()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(optimizer.run)
            it = Optimized(collection, optimizer)
            update: Any = threads
            await it.patch(optimizers_config={"max_optimization_threads": update})
            nursery.cancel_scope.cancel()
        assert most == at_once
        assert it.rows() == [2 * KIB] * 4


async def test_config_yaml_decides_what_a_request_leaves_open(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    given = {
        "deleted_threshold": 0.7,
        "vacuum_min_vector_number": 123,
        "default_segment_number": 5,
        "max_segment_size_kb": 77,
        "memmap_threshold_kb": 66,
        "indexing_threshold_kb": 55,
        "flush_interval_sec": 9,
        "max_optimization_threads": 1,
    }
    lines = [f"    {key}: {value}" for key, value in given.items()]
    path.write_text("\n".join(["storage:", "  wal: {wal_capacity_mb: 3}", "  optimizers:", *lines]))
    storage = load_settings([path]).storage
    config = resolve(CreateCollection(), storage)
    found = msgspec.structs.asdict(config.optimizer_config)
    assert found | {"prevent_unoptimized": None} == found
    assert {key: found[key.removesuffix("_kb")] for key in given} == given
    assert config.wal_config.wal_capacity_mb == 3
    asked = msgspec.convert({"optimizers_config": {"indexing_threshold": 1}}, CreateCollection, dec_hook=decode_hook)
    assert resolve(asked, storage).optimizer_config.indexing_threshold == 1
    assert resolve(asked, storage).optimizer_config.memmap_threshold == 66
