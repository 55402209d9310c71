"""The status of a collection says what its segments are like: green, yellow, grey or red."""

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
from tests.optimizer.test_parameters import build_in_thread
from vdb.api.collections import describe
from vdb.collection.child_process import BuildFailed
from vdb.collection.collection import Collection
from vdb.errors import CollectionBroken
from vdb.hosting import Running
from vdb.model.collection_config import UpdateCollection, apply_update
from vdb.model.collection_results import CollectionInfo, OptimizersFailed
from vdb.model.operations import Upsert, VectorColumn
from vdb.optimizer.worker import Budget, Optimizer
from vdb.storage.catalog import CatalogEntry

COUNT: Final = 200


class Steered:
    """A collection whose builds wait for ``go``, and fail as long as ``fails`` is set."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.go = trio.Event()
        self.fails = False
        self.optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2), self._build)

    async def _build(self, job: Path) -> None:
        await self.go.wait()
        if self.fails:
            raise BuildFailed("the builder says so")
        await build_in_thread(job)

    def info(self) -> CollectionInfo:
        return describe(Running(CatalogEntry(0, "it", "it", ""), self.collection, self.optimizer))

    async def add(self) -> None:
        data = np.ones((COUNT, SIZE), dtype=np.float32)
        await self.collection.write(Upsert(list(range(COUNT)), [None] * COUNT, [VectorColumn("", data)]))

    async def patch(self, **change: Any) -> None:
        update = msgspec.convert(change, UpdateCollection)
        await self.collection.actor.reconfigure(apply_update(self.collection.view.config, update))


@asynccontextmanager
async def steered(tmp_path: Path, **optimizers: Any) -> AsyncIterator[Steered]:
    settings = {"indexing_threshold": 1} | optimizers
    async with opening(tmp_path, optimizers_config=settings) as collection, trio.open_nursery() as nursery:
        it = Steered(collection)
        nursery.start_soon(it.optimizer.run)
        yield it
        nursery.cancel_scope.cancel()


async def test_yellow_while_something_is_to_be_built_and_green_when_it_is(tmp_path: Path) -> None:
    async with steered(tmp_path) as it:
        assert (it.info().status, it.info().indexed_vectors_count) == ("green", 0)
        await it.add()
        assert (it.info().status, it.info().indexed_vectors_count) == ("yellow", 0)
        await until(lambda: it.optimizer.running)
        assert it.info().status == "yellow"
        it.go.set()
        await until(lambda: it.info().status == "green")
        assert it.info().indexed_vectors_count == it.info().points_count == COUNT
        await it.patch(hnsw_config={"m": 5})
        assert it.info().status == "yellow"
        await until(lambda: it.info().status == "green")


async def test_grey_where_builds_are_due_and_switched_off(tmp_path: Path) -> None:
    async with steered(tmp_path, max_optimization_threads=0) as it:
        assert it.info().status == "green"
        await it.add()
        assert it.info().status == "grey"
        it.go.set()
        await it.patch(optimizers_config={"max_optimization_threads": 1})
        await until(lambda: it.info().status == "green")


async def test_a_build_that_fails_is_told_of_until_one_succeeds(tmp_path: Path) -> None:
    async with steered(tmp_path) as it:
        it.fails = True
        it.go.set()
        await it.add()
        await until(lambda: it.info().optimizer_status != "ok")
        assert it.info().optimizer_status == OptimizersFailed(error="indexing: the builder says so")
        assert it.info().status == "red"
        it.fails = False
        await until(lambda: it.info().status == "green")
        assert it.info().optimizer_status == "ok"


async def test_red_where_the_collection_stopped(tmp_path: Path) -> None:
    async with steered(tmp_path) as it:
        with pytest.raises(CollectionBroken, match="99"):
            await it.collection.actor.swap((99,), None, 0)  # a segment that never was
        assert it.info().status == "red"
        assert it.info().optimizer_status != "ok"
