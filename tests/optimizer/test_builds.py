"""Builds that fail, and builds that nobody waits for any more."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest
import trio
import trio.testing
import trio_asyncio  # type: ignore[import-untyped]

from tests.collection.conftest import config_of, opening
from tests.collection.operations import SIZE, until
from tests.optimizer.test_policy import in_memory
from vdb.collection import child_process
from vdb.collection.child_process import BuildFailed
from vdb.collection.collection import Collection
from vdb.collection.state import SlotView
from vdb.config import Settings, StorageSettings
from vdb.model.operations import Upsert, VectorColumn
from vdb.optimizer.policy import Plan
from vdb.optimizer.worker import PAUSE_FIRST_S, PAUSE_MAX_S, Budget, Optimizer
from vdb.query.view import View
from vdb.registry import open_registry

SETTINGS: Final[dict[str, Any]] = {"optimizers_config": {"indexing_threshold": 1, "max_segment_size": 2}}
ROWS: Final = 200


def budget() -> Budget:
    return Budget(trio.CapacityLimiter(2), trio.CapacityLimiter(1), 2)


async def add(collection: Collection, first: int = 0) -> None:
    ids = list(range(first, first + ROWS))
    data = np.ones((ROWS, SIZE), dtype=np.float32)
    await collection.write(Upsert(ids, [None] * ROWS, [VectorColumn("", data)]))


class StubActor:
    def __init__(self) -> None:
        self.published, self.stopped, self.written_at = trio.Event(), trio.Event(), -1e9


class StubCollection:
    """What an optimizer looks at before it builds: rows in memory that are due."""

    def __init__(self) -> None:
        self.name, self.actor, self.damaged = "stub", StubActor(), ()
        self.slots: tuple[SlotView, ...] = (in_memory(100),)
        config = config_of(vectors={"size": 16, "distance": "Dot"}, **SETTINGS)
        self.view = cast(View, type("StubView", (), {"config": config})())


class Failing(Optimizer):
    """Fails ``failures`` times, and notes when it is asked."""

    def __init__(self, failures: int) -> None:
        self.stub = StubCollection()
        super().__init__(cast(Collection, self.stub), budget())
        self.asked_at: list[float] = []
        self.failures = failures

    async def rebuild(self, chosen: Plan) -> None:
        self.asked_at.append(trio.current_time())
        if len(self.asked_at) <= self.failures:
            raise BuildFailed("no")
        self.stub.slots = ()


async def test_a_build_that_fails_is_tried_again_after_pauses_that_grow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    optimizer = Failing(failures=9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(optimizer.run)
        await trio.sleep(PAUSE_FIRST_S / 2)
        early = optimizer.error, optimizer.pending() is not None
        await trio.sleep(10_000)
        late = optimizer.error, optimizer.pending() is not None
        assert (early, late) == (("indexing: no", True), (None, False))
        nursery.cancel_scope.cancel()
    pauses = np.diff(optimizer.asked_at).tolist()
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    assert (PAUSE_FIRST_S, PAUSE_MAX_S) == (1, 60)


async def test_a_write_does_not_shorten_the_pause_after_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    optimizer = Failing(failures=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(optimizer.run)
        for _ in range(200):
            await trio.sleep(0.01)
            optimizer.stub.actor.published.set()
            optimizer.stub.actor.published = trio.Event()
        nursery.cancel_scope.cancel()
    assert len(optimizer.asked_at) == 2


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Builders that never end; each leaves a file here that is named after its process."""
    folder = tmp_path / "builders"
    folder.mkdir()
    program = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"
    monkeypatch.setattr(child_process, "self_command", lambda *_: [sys.executable, "-c", program, str(folder)])
    return folder


def alive(folder: Path) -> list[int]:
    """Processes of builders that still run."""
    return [int(path.name) for path in folder.iterdir() if _runs(int(path.name))]


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


posix = pytest.mark.skipif(sys.platform == "win32", reason="signal 0 asks whether a process runs on POSIX only")


@posix
async def test_an_optimizer_that_is_cancelled_leaves_no_process_and_no_file(tmp_path: Path, hanging: Path) -> None:
    folder = tmp_path / "collection"
    folder.mkdir()
    async with opening(folder, **SETTINGS) as collection:
        await add(collection)
        async with trio.open_nursery() as nursery:
            optimizer = Optimizer(collection, budget())
            nursery.start_soon(optimizer.run)
            await until(lambda: alive(hanging))
            assert optimizer.pending() is not None
            nursery.cancel_scope.cancel()
        assert alive(hanging) == []
        assert optimizer.running == ()
        assert list(collection.segments_folder.iterdir()) == []


@posix
async def test_deleting_a_collection_ends_its_builds(tmp_path: Path, hanging: Path) -> None:
    settings = Settings(storage=StorageSettings(storage_path=str(tmp_path / "storage")))
    async with trio_asyncio.open_loop(), open_registry(settings) as registry:
        collection = await registry.create("one", config_of(**SETTINGS))
        other = await registry.create("other", config_of())
        await add(collection)
        await until(lambda: alive(hanging))
        assert await registry.delete("one")
        assert alive(hanging) == []
        assert not collection.folder.exists()
        await add(other)


@posix
async def test_a_server_that_stops_ends_all_builds(tmp_path: Path, hanging: Path) -> None:
    settings = Settings(storage=StorageSettings(storage_path=str(tmp_path / "storage")))
    async with trio_asyncio.open_loop(), open_registry(settings) as registry:
        for name in ("one", "two"):
            await add(await registry.create(name, config_of(**SETTINGS)))
        await until(lambda: alive(hanging))
    assert alive(hanging) == []


async def test_builds_of_all_collections_stay_inside_the_cpu_budget(tmp_path: Path) -> None:
    """A collection that wants more builds than there is room for waits for the others'."""
    running = most = done = 0

    async def builder(job: Path) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await trio.testing.wait_all_tasks_blocked()
        running -= 1
        done += 1
        raise BuildFailed("nothing is built here")

    shared = budget()
    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            folder = tmp_path / name
            folder.mkdir()
            optimizer = Optimizer(await nursery.start(_open, folder), shared, builder)
            nursery.start_soon(optimizer.run)
        await until(lambda: done >= 3)
        nursery.cancel_scope.cancel()
    assert most <= 2


async def _open(folder: Path, *, task_status: trio.TaskStatus[Collection]) -> None:
    async with opening(folder, **SETTINGS) as collection:
        await add(collection)
        task_status.started(collection)
        await trio.sleep_forever()
