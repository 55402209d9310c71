"""The registry: names and aliases to running collections. Owns the catalog.

Guarantees
    What the catalog names is on disk before it is named, and a name is gone from the catalog before its files go, so
    that a crash leaves at most folders that nobody names: they are swept at start.
    Creating, deleting and renaming happen one at a time; reads of ``get`` never wait for them.
    A collection that cannot be opened is named in the log and answers an error; the others serve.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from vdb.collection.collection import Collection
from vdb.collection.commit import utc_now
from vdb.collection.copy import copy_points
from vdb.collection.drainable_threads import DrainableThreads
from vdb.collection.field_keeper import built
from vdb.config import Settings
from vdb.errors import (
    AlreadyExists,
    BadRequest,
    BadSnapshot,
    CollectionBroken,
    CollectionNotFound,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    TryLater,
    VdbError,
)
from vdb.fail_points import fail_point
from vdb.hosting import Host, Running, new_folder_name
from vdb.model import collection_config
from vdb.model.collection_config import CollectionConfig, UpdateCollection
from vdb.model.collection_results import (
    AliasDescription,
    CreateAliasOperation,
    DeleteAliasOperation,
    RenameAliasOperation,
)
from vdb.model.names import validate_collection_name
from vdb.model.vector_params import VectorNameConfig
from vdb.storage import catalog
from vdb.storage.backup import pin
from vdb.storage.catalog import CatalogEntry
from vdb.storage.catalog_writer import CatalogWriter

logger = logging.getLogger(__name__)

CATALOG_NAME: Final = "catalog.sqlite"
_RECONFIGURE_RETRY_S: Final = 1.0  # after a disk did not say whether it took new settings

AliasAction = CreateAliasOperation | DeleteAliasOperation | RenameAliasOperation


@dataclass(frozen=True, slots=True)
class Arrival:
    """A collection that was recovered from a snapshot into ``folder``, which no catalog names yet."""

    name: str
    folder: Path
    config: CollectionConfig


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a snapshot is made of; whoever holds it closes ``connection``."""

    name: str
    config: str
    connection: sqlite3.Connection


@dataclass(frozen=True, slots=True)
class RecoverySummary:
    """What the start found."""

    collections: int
    points: int
    rebuilt_segments: int
    broken: Sequence[str]

    def __str__(self) -> str:
        text = f"{self.collections} collections, {self.points} points"
        if self.rebuilt_segments:
            text += f", {self.rebuilt_segments} damaged segments to rebuild"
        if self.broken:
            text += f", {len(self.broken)} collections that cannot be opened: {', '.join(self.broken)}"
        return text


class Registry:
    """Made by ``open_registry``. Owned by the server's root task."""

    def __init__(self, settings: Settings, catalog: CatalogWriter, host: Host, nursery: trio.Nursery) -> None:
        self.settings = settings
        self.recovered = RecoverySummary(0, 0, 0, ())
        self._catalog = catalog
        self._host = host
        self._nursery = nursery
        self._lock = trio.Lock()
        self._by_name: dict[str, Running] = {}
        self._aliases: dict[str, str] = {}
        self._creating: set[str] = set()  # names of collections that are filled before anybody sees them
        self._background: set[trio.CancelScope] = set()

    @property
    def threads(self) -> DrainableThreads:
        """Where all collections search."""
        return self._host.threads

    def get(self, name: str) -> Collection:
        """The collection of that name or alias; raises CollectionNotFound and CollectionBroken."""
        return self.running(name).serving()

    def running(self, name: str) -> Running:
        """Raises CollectionNotFound."""
        running = self._by_name.get(self._aliases.get(name, name))
        if running is None:
            raise CollectionNotFound(name)
        return running

    def exists(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._by_name

    def resolve(self, name: str) -> str:
        """The collection that an alias stands for, or the name as it is."""
        return self._aliases.get(name, name)

    def names(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(self._by_name)

    def aliases(self, collection: str | None = None) -> list[AliasDescription]:
        """All aliases, or those of one collection, sorted by alias."""
        return [
            AliasDescription(alias_name=alias, collection_name=name)
            for alias, name in sorted(self._aliases.items())
            if collection is None or name == collection
        ]

    async def create(self, name: str, config: CollectionConfig, copy_from: Collection | None = None) -> Collection:
        """A new collection, with the points of ``copy_from`` where one is given.

        Raises AlreadyExists, and BadRequest for the name of an alias or for points that do not fit.
        """
        validate_collection_name(name)
        async with self._lock:
            self._check_free(name)
            _refuse_alias(name, self._aliases)
            self._check_room(len(self._by_name) + len(self._creating) + 1)
            self._creating.add(name)
        try:
            return await self._create(name, config, copy_from)
        finally:
            self._creating.discard(name)

    async def _create(self, name: str, config: CollectionConfig, copy_from: Collection | None) -> Collection:
        """Copying may take minutes, in which other collections are created and deleted."""
        folder = new_folder_name(name)
        text = collection_config.encode(config)
        running = Running(CatalogEntry(0, name, folder, text))
        collection = await self._host.open(running, config)
        try:
            if copy_from is not None:
                await copy_points(copy_from, collection)
            async with self._lock:
                collection_id: int = await self._catalog.change(
                    partial(catalog.add_collection, name=name, folder=folder, config=text, created_at=utc_now())
                )
                running.entry = replace(running.entry, collection_id=collection_id)
                self._by_name[name] = running
        except BaseException:
            await self._host.abandon(running)
            raise
        return collection

    def _check_free(self, name: str) -> None:
        """Raises AlreadyExists for the name of a collection, also of one that is being created."""
        if name in self._by_name or name in self._creating:
            raise _exists(name)

    async def delete(self, name: str) -> bool:
        """False where there is no such collection, which an alias never is. The collection's aliases go with it."""
        async with self._lock:
            running = self._by_name.get(name)
            if running is None:
                return False
            entry = running.entry
            await self._catalog.change(partial(catalog.remove_collection, collection_id=entry.collection_id))
            del self._by_name[entry.name]
            self._aliases = {alias: target for alias, target in self._aliases.items() if target != entry.name}
            await self._host.abandon(running)
            return True

    async def pin(self, name: str) -> Pinned:
        """One moment of a collection, its settings and its database; raises CollectionNotFound and CollectionBroken."""
        async with self._lock:  # settings and tables change together
            self.get(name)
            entry = self.running(name).entry
            with trio.CancelScope(shield=True):
                connection = await trio.to_thread.run_sync(pin, self._host.database(entry))
            return Pinned(entry.name, entry.config, connection)

    def new_folder(self, name: str) -> Path:
        """An empty folder for a collection that is to be adopted; a crash leaves it to the next start's sweep."""
        return self._host.new_folder(name)

    async def adopt(self, arrivals: Sequence[Arrival], aliases: Mapping[str, str]) -> None:
        """Opens recovered collections, and when all serve puts them in the place of those of their names, together
        with ``aliases`` (alias → collection), all at once.

        Raises BadSnapshot where one cannot be opened, BadRequest and AlreadyExists where names are in the way; then
        nothing has changed, and the folders are gone.
        """
        opened: list[Running] = []
        try:
            for arrival in arrivals:
                opened.append(await self._open_arrival(arrival))
            async with self._lock:
                merged = self._merged_aliases([arrival.name for arrival in arrivals], aliases)
                rows = [(running.entry.name, running.entry.folder, running.entry.config) for running in opened]
                fail_point("in-restore")
                work = partial(catalog.replace_collections, rows=rows, aliases=merged, created_at=utc_now())
                try:
                    ids: dict[str, int] = await self._catalog.change(work)
                except BaseException:
                    # A commit that failed may have reached the disk: the next start finds out, and needs the folders.
                    for running in opened:
                        running.scope.cancel()
                    opened.clear()
                    raise
                former = [self._by_name[name] for name in ids if name in self._by_name]
                for running in opened:
                    running.entry = replace(running.entry, collection_id=ids[running.entry.name])
                    self._by_name[running.entry.name] = running
                self._aliases = merged
        except BaseException:
            for running in opened:
                await self._host.abandon(running)
            raise
        for running in former:
            self._host.retire(running)

    async def _open_arrival(self, arrival: Arrival) -> Running:
        """A recovered collection that answers like the one it was made of: its field indexes are built."""
        running = Running(CatalogEntry(0, arrival.name, arrival.folder.name, collection_config.encode(arrival.config)))
        try:
            collection = await self._host.open(running, arrival.config)
            for path in list(collection.view.building):
                await built(collection.actor, path)
        except BaseException as error:
            await self._host.abandon(running)
            if isinstance(error, (Corrupt, CollectionBroken, ValueError, LookupError, ArithmeticError, TypeError)):
                raise BadSnapshot(f"the collection in it cannot be opened: {error}") from error
            raise
        return running

    def _merged_aliases(self, names: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
        merged = {**self._aliases, **aliases}
        for name in names:
            _refuse_alias(name, merged)
            if name in self._creating:
                raise _exists(name)
        collections = self._by_name.keys() | set(names)
        for alias, name in aliases.items():
            if alias in collections | self._creating:
                raise _exists(alias)
            if name not in collections:
                raise CollectionNotFound(name)
        self._check_room(len(collections))
        return merged

    def _check_room(self, collections: int) -> None:
        """Raises BadRequest where so many are more than are allowed, and more than there are."""
        limit = self.settings.storage.max_collections
        if limit is not None and collections > max(limit, len(self._by_name)):
            raise BadRequest(f"Cannot create a collection: storage.max_collections allows {limit}")

    def start_in_background(self, work: Callable[[], Awaitable[object]], what: str) -> None:
        """Runs ``work`` until it ends or the registry closes; what it raises is logged under ``what``."""
        self._nursery.start_soon(self._in_background, work, what)

    async def _in_background(self, work: Callable[[], Awaitable[object]], what: str) -> None:
        with trio.CancelScope() as scope:
            self._background.add(scope)
            try:
                await work()
            except VdbError as error:
                logger.warning("%s: %s", what, error)
            except Exception:
                logger.exception("%s", what)
            finally:
                self._background.discard(scope)

    async def update(self, name: str, update: UpdateCollection) -> None:
        """Changes the parameters of a living collection; raises BadRequest."""
        async with self._lock:
            collection = self.get(name)
            await self._reconfigure(name, collection_config.apply_update(collection.view.config, update))

    async def add_vector(self, name: str, vector: str, added: VectorNameConfig) -> None:
        """Adds a named vector to a living collection; raises BadRequest where another has the name."""
        async with self._lock:
            collection = self.get(name)
            await self._reconfigure(name, collection_config.add_vector(collection.view.config, vector, added))

    async def remove_vector(self, name: str, vector: str) -> None:
        """Removes a named vector from a living collection, with all its data; raises UnknownVectorName."""
        async with self._lock:
            collection = self.get(name)
            await self._reconfigure(name, collection_config.remove_vector(collection.view.config, vector))

    async def _reconfigure(self, name: str, config: CollectionConfig) -> None:
        running = self.running(name)
        assert running.collection is not None
        text = collection_config.encode(config)
        entry = running.entry
        await self._catalog.change(partial(catalog.set_config, collection_id=entry.collection_id, config=text))
        running.entry = CatalogEntry(entry.collection_id, entry.name, entry.folder, text)
        try:
            await running.collection.actor.reconfigure(config)
        except TryLater:  # the collection is as it was; where the catalog cannot be, the next start follows that
            await self._catalog.change(
                partial(catalog.set_config, collection_id=entry.collection_id, config=entry.config)
            )
            running.entry = entry
            raise
        except OutcomeUnknown as error:
            if not error.applied:
                self.start_in_background(partial(self._reconfigure_yet, running, text), f"settings of `{name}`")
            raise

    async def _reconfigure_yet(self, running: Running, text: str) -> None:
        """The catalog has these settings, and whether the collection's tables do only a disk knows that would not say.
        A start brings them to the catalog's: so it is done now, before anybody writes what these have no place for.
        """
        while True:
            await trio.sleep(_RECONFIGURE_RETRY_S)
            async with self._lock:
                collection = running.collection
                if collection is None or running.entry.config != text or running.scope.cancel_called:
                    return
                with suppress(TryLater, OutcomeUnknown):
                    await collection.actor.reconfigure(collection_config.decode(text))
                    return

    async def change_aliases(self, actions: Sequence[AliasAction]) -> None:
        """Applies all actions or none; raises NotFound, AlreadyExists, OutOfBounds."""
        async with self._lock:
            aliases = dict(self._aliases)
            for action in actions:
                self._apply_alias(aliases, action)
            rows = [(alias, self._by_name[name].entry.collection_id) for alias, name in aliases.items()]
            await self._catalog.change(partial(catalog.replace_aliases, aliases=rows))
            self._aliases = aliases

    def _apply_alias(self, aliases: dict[str, str], action: AliasAction) -> None:
        match action:
            case CreateAliasOperation(create_alias=create):
                validate_collection_name(create.alias_name, field="alias_name")
                if create.collection_name not in self._by_name:
                    raise CollectionNotFound(create.collection_name)
                self._check_free(create.alias_name)
                aliases[create.alias_name] = create.collection_name
            case DeleteAliasOperation(delete_alias=delete):
                aliases.pop(delete.alias_name, None)
            case RenameAliasOperation(rename_alias=rename):
                validate_collection_name(rename.new_alias_name, field="new_alias_name")
                if rename.old_alias_name not in aliases:
                    raise NotFound(f"Alias {rename.old_alias_name} does not exists!")
                self._check_free(rename.new_alias_name)
                aliases[rename.new_alias_name] = aliases.pop(rename.old_alias_name)

    async def recover(self) -> None:
        """Opens everything that the catalog names."""
        entries: list[CatalogEntry] = await self._catalog.read(catalog.read_collections)
        self._aliases = await self._catalog.read(catalog.read_aliases)
        await trio.to_thread.run_sync(self._host.sweep, {entry.folder for entry in entries})
        for entry in entries:
            running = Running(entry)
            self._by_name[entry.name] = running
            try:
                await self._host.open(running, collection_config.decode(entry.config))
            except (Corrupt, OSError, TryLater) as error:
                logger.error("collection %s cannot be opened: %s", entry.name, error)
                running.failure = CollectionBroken(f"Collection `{entry.name}` cannot be opened: {error}")
        opened = [running.collection for running in self._by_name.values() if running.collection is not None]
        self.recovered = RecoverySummary(
            len(opened),
            sum(collection.view.points_count for collection in opened),
            sum(len(collection.rebuilt) for collection in opened),
            [name for name, running in self._by_name.items() if running.failure is not None],
        )


def _exists(name: str) -> AlreadyExists:
    return AlreadyExists(f"Collection `{name}` already exists!")


def _refuse_alias(name: str, aliases: Mapping[str, str]) -> None:
    """Raises BadRequest for the name of a collection to be that is an alias."""
    if name in aliases:
        raise BadRequest(f"Can't create collection with name {name}. Alias with the same name already exists")


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[Registry]:
    """Opens the storage folder, recovers every collection, and on leaving finishes what was accepted and closes.

    Needs a running trio-asyncio loop and the folder's lock. Raises Corrupt when the catalog is damaged.
    """
    folder = Path(settings.storage.storage_path)
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (at start, before anything is served)
    writer = CatalogWriter(folder / CATALOG_NAME)
    await writer.open()
    try:
        async with trio.open_nursery() as nursery:
            host = Host(settings.storage, nursery, os.cpu_count() or 1)
            registry = Registry(settings, writer, host, nursery)
            host.threads.start()
            try:
                await registry.recover()
                yield registry
            finally:
                for scope in list(registry._background):
                    scope.cancel()
                for running in registry._by_name.values():
                    running.scope.cancel()
        host.threads.stop()
    finally:
        await writer.close()
