"""Collections that run: each opened in a folder of its own, with its tasks, and ended before the folder goes.

Guarantees
    A folder is removed when nothing in it is open any more, and nobody begins to read there.
    Which folders count is the registry's to say: all others are swept at start.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import trio

from vdb.collection.collection import Collection, open_collection
from vdb.collection.drainable_threads import DrainableThreads
from vdb.collection.recovery import DATABASE_NAME
from vdb.config import StorageSettings
from vdb.errors import CollectionBroken
from vdb.files import fsync_dir
from vdb.model.collection_config import CollectionConfig
from vdb.optimizer.worker import Budget, Optimizer
from vdb.storage.catalog import CatalogEntry

logger = logging.getLogger(__name__)

COLLECTIONS_NAME: Final = "collections"
_SLUG: Final = re.compile(r"[^a-z0-9]+")
_SLUG_LENGTH_MAX: Final = 40


@dataclass(slots=True)
class Running:
    """A collection with its tasks. ``collection`` is None for one that could not be opened: ``failure`` says why."""

    entry: CatalogEntry
    collection: Collection | None = None
    optimizer: Optimizer | None = None
    failure: CollectionBroken | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    closed: trio.Event = field(default_factory=trio.Event)

    def serving(self) -> Collection:
        """Raises CollectionBroken where it could not be opened."""
        if self.collection is None:
            assert self.failure is not None
            raise self.failure.with_traceback(None)  # every raise adds to the one that it has
        return self.collection


class Host:
    """Runs collections in ``nursery``. ``threads`` search for all of them. Owned by the registry."""

    def __init__(self, settings: StorageSettings, nursery: trio.Nursery, cpus: int) -> None:
        performance = settings.performance
        processes = performance.optimizer_cpus(cpus)
        self.threads = DrainableThreads(performance.search_threads(cpus), "search")
        self._folder = Path(settings.storage_path) / COLLECTIONS_NAME
        self._synchronous = settings.synchronous
        self._nursery = nursery
        self._budget = Budget(trio.CapacityLimiter(processes), trio.CapacityLimiter(processes), cpus)
        self._index_processes = trio.CapacityLimiter(processes)

    def database(self, entry: CatalogEntry) -> Path:
        return self._folder / entry.folder / DATABASE_NAME

    def new_folder(self, name: str) -> Path:
        """An empty folder for a collection of that name; a crash leaves it to the next start's sweep."""
        folder = self._folder / new_folder_name(name)
        folder.mkdir()
        return folder

    def sweep(self, named: Set[str]) -> None:
        """Deletes collection folders that were never named, or whose deletion a crash interrupted."""
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in named:
                logger.info("removing the folder of a deleted collection: %s", path.name)
                shutil.rmtree(path, ignore_errors=True)

    async def open(self, running: Running, config: CollectionConfig) -> Collection:
        """Starts the collection's tasks and returns when it serves; raises Corrupt, OSError, TryLater."""
        collection: Collection = await self._nursery.start(self._run, running, config)
        return collection

    async def _run(
        self, running: Running, config: CollectionConfig, *, task_status: trio.TaskStatus[Collection]
    ) -> None:
        folder = self._folder / running.entry.folder
        try:
            await trio.to_thread.run_sync(_make_folder, folder)
            with running.scope:
                async with open_collection(
                    running.entry.name, folder, config, self.threads, self._synchronous, self._index_processes
                ) as collection:
                    running.collection = collection
                    running.optimizer = Optimizer(collection, self._budget)
                    task_status.started(collection)
                    await running.optimizer.run()
                    await trio.sleep_forever()
        finally:
            running.closed.set()

    async def abandon(self, running: Running) -> None:
        """Stops a collection that the catalog does not name any more and deletes its folder."""
        with trio.CancelScope(shield=True):
            if running.collection is not None:
                running.collection.discarded = True
            running.scope.cancel()
            await running.closed.wait()
            path = self._folder / running.entry.folder
            await trio.to_thread.run_sync(partial(shutil.rmtree, path, ignore_errors=True))

    def retire(self, running: Running) -> None:
        """Has a collection abandoned that another has taken the place of, once reads on their way are done."""
        self._nursery.start_soon(self._retire, running)

    async def _retire(self, running: Running) -> None:
        with trio.CancelScope(shield=True):
            await self.threads.drained()
            await self.abandon(running)


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    fsync_dir(folder.parent)


def new_folder_name(name: str) -> str:
    """For people: what counts is that no other folder is called so."""
    return f"{_SLUG.sub('-', name.lower())[:_SLUG_LENGTH_MAX].strip('-') or 'collection'}-{uuid4().hex[:12]}"
