"""A collection through its own door, without HTTP: its actor and its search threads are real, and so is its SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
import trio_asyncio  # type: ignore[import-untyped]

from tests.collection.operations import SIZE
from vdb.collection.collection import Collection, open_collection
from vdb.collection.threads import WorkerThreads
from vdb.config import StorageSettings
from vdb.model.collection_config import CollectionConfig, CreateCollection, resolve
from vdb.model.decode import decode_hook


class Open(Protocol):
    def __call__(self, **config: Any) -> AbstractAsyncContextManager[Collection]: ...


def config_of(**create: Any) -> CollectionConfig:
    """A configuration from a request to create; without one, unnamed vectors of SIZE dimensions, compared by Dot."""
    request = {"vectors": {"size": SIZE, "distance": "Dot"}} | create
    return resolve(msgspec.convert(request, CreateCollection, dec_hook=decode_hook), StorageSettings())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the collection of this test lives; opening it again recovers it."""
    path = tmp_path / "collection"
    path.mkdir()
    return path


@asynccontextmanager
async def opening(folder: Path, **config: Any) -> AsyncIterator[Collection]:
    async with trio_asyncio.open_loop():
        threads = WorkerThreads(2, "search")
        threads.start()
        try:
            async with open_collection("test", folder, config_of(**config), threads, "NORMAL") as collection:
                yield collection
        finally:
            threads.stop()


@pytest.fixture
def opened(folder: Path) -> Open:
    """Opens the collection of this test for a block; again and again, if need be."""
    return partial(opening, folder)
