"""Making snapshots, and recovering from them.

Guarantees
    Nothing stops for a snapshot: writes go on while it is made, and the old collection serves until the recovered one
    is open and all its field indexes are built.
    A recovery that fails, or that a crash ends, changes nothing: the catalog names the new folder last.
Assumes
    The process holds the storage folder's lock.
"""

from __future__ import annotations

import hmac
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
import trio

from vdb import __version__
from vdb.collection.archive import (
    ALIASES_NAME,
    DATABASE_NAME,
    FORMAT_VERSION,
    CollectionEntry,
    Manifest,
    open_archive,
    sha256_of,
    write_archive,
)
from vdb.collection.commit import utc_now
from vdb.collection.restore import CheckCancelled, SegmentSize, make_snapshot, restore
from vdb.errors import BadRequest, BadSnapshot, CollectionNotFound
from vdb.model.collection_config import CollectionConfig
from vdb.model.collection_results import CreateAlias, CreateAliasOperation
from vdb.model.names import validate_collection_name
from vdb.model.snapshots import SnapshotDescription
from vdb.optimizer.policy import SEGMENT_ROWS_MAX
from vdb.registry import Arrival, Registry
from vdb.segment.manifest import describe_file
from vdb.snapshots.activity import SnapshotActivity
from vdb.snapshots.folder import SnapshotsFolder, SnapshotsPlace, named_disk, require_space
from vdb.storage.backup import database_bytes

T = TypeVar("T")

_WORKERS: Final = 2  # snapshots made or recovered at a time: each reads and writes as fast as the disk goes
_PAUSE_MAX_S: Final = 0.05  # where the disk made the work slow, a longer pause would only hold up checkpoints
_SEGMENT_BYTES: Final = 200 * 2**20  # of a recovered collection; the optimizer merges what belongs together


class Snapshots:
    """Owned by the application; one for its whole life."""

    def __init__(self, registry: Registry) -> None:
        settings = registry.settings.storage
        self.folder = SnapshotsFolder(Path(settings.snapshots_path), Path(settings.storage_path))
        self.activity = SnapshotActivity()
        self._registry = registry
        self._workers = trio.CapacityLimiter(_WORKERS)
        # Moments of databases that are held at once: while one is, its database's log only grows.
        self._pins = trio.CapacityLimiter(_WORKERS)
        self.folder.sweep()  # before anything is served

    async def _run(self, work: Callable[[CheckCancelled], T]) -> T:
        """Runs ``work`` in a thread; it gives up soon after the caller was cancelled."""
        with named_disk():
            return await trio.to_thread.run_sync(work, trio.from_thread.check_cancelled, limiter=self._workers)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """An empty folder beside the snapshots, removed at the end of the block."""
        with named_disk():
            path = await trio.to_thread.run_sync(self.folder.new_scratch)
        try:
            yield path
        finally:
            await _remove(path)

    def place(self, collection: str | None, shard: bool = False) -> SnapshotsPlace:
        """Where the snapshots of a collection lie, or of the whole storage (None); raises CollectionNotFound."""
        return self.folder.of(None if collection is None else self._registry.running(collection).entry.name, shard)

    async def list(self, place: SnapshotsPlace) -> list[SnapshotDescription]:
        return await trio.to_thread.run_sync(place.list)

    async def find(self, place: SnapshotsPlace, name: str) -> Path:
        """Raises NotFound."""
        return await trio.to_thread.run_sync(place.find, name)

    async def delete(self, place: SnapshotsPlace, name: str) -> None:
        """Raises NotFound."""
        with named_disk():
            await trio.to_thread.run_sync(place.delete, name)

    async def create(self, place: SnapshotsPlace, collection: str) -> SnapshotDescription:
        """Makes a snapshot of a collection; raises CollectionNotFound, CollectionBroken and InsufficientStorage."""
        async with self.scratch() as scratch:
            at = datetime.now(UTC)
            archive, checksum = await self._archive(collection, scratch, at)
            return await self._keep(place, archive, at, checksum)

    async def create_stream(self, collection: str) -> tuple[BinaryIO, str]:
        """A snapshot that no folder keeps: an open file without a name, and what to call it."""
        async with self.scratch() as scratch:
            at = datetime.now(UTC)
            place = self.place(collection, shard=True)
            archive, _ = await self._archive(collection, scratch, at)
            return archive.open("rb"), place.new_name(at)

    async def create_full(self) -> SnapshotDescription:
        """Makes a snapshot of all collections, one after another, and of the aliases."""
        place = self.folder.of(None)
        async with self.scratch() as scratch:
            at = datetime.now(UTC)
            files = [scratch / ALIASES_NAME]
            entries = []
            for number, name in enumerate(self._registry.names(), 1):
                part = scratch / str(number)
                part.mkdir()
                try:
                    archive, _ = await self._archive(name, part, at)
                except CollectionNotFound:  # deleted since it was listed
                    continue
                files.append(archive.rename(scratch / f"{number:04}.snapshot"))
                entries.append(CollectionEntry(name, files[-1].name))
            kept = {entry.name for entry in entries}
            aliases = [
                CreateAliasOperation(CreateAlias(collection_name=alias.collection_name, alias_name=alias.alias_name))
                for alias in self._registry.aliases()
                if alias.collection_name in kept
            ]
            work = partial(
                _write_full, scratch=scratch, aliases=_Aliases(tuple(aliases)), entries=entries, files=files, at=at
            )
            archive, checksum = await self._run(work)
            return await self._keep(place, archive, at, checksum)

    async def recover(self, collection: str, path: Path, checksum: str | None) -> None:
        """Replaces the collection of that name or alias by what the snapshot holds, or makes it.

        Raises BadSnapshot, InsufficientStorage, and OutOfBounds for a name that no collection can have.
        """
        name = self._registry.resolve(collection)
        if not self._registry.exists(name):
            validate_collection_name(name)
        with self.activity.recovery(name):
            arrival = await self._arrival(name, path, checksum)
            await self._registry.adopt([arrival], {})

    async def recover_full(self, path: Path, checksum: str | None) -> None:
        """Replaces or makes all collections and aliases that a snapshot of a storage holds, all at once; others stay.

        Raises what ``recover`` raises, and AlreadyExists where an alias has the name of a collection.
        """
        arrivals: list[Arrival] = []
        adopted = False
        async with self.scratch() as scratch:
            collections, aliases = await self._run(
                partial(_unpack_full, path=path, scratch=scratch, checksum=checksum, snapshots=self.folder)
            )
            try:
                for entry in collections:
                    with self.activity.recovery(entry.name):
                        arrivals.append(await self._arrival(entry.name, scratch / entry.file, None))
                adopted = True  # from here on the registry removes them
                await self._registry.adopt(arrivals, aliases)
            finally:
                if not adopted:
                    for arrival in arrivals:
                        await _remove(arrival.folder)

    async def _arrival(self, name: str, path: Path, checksum: str | None) -> Arrival:
        """The snapshot of a collection, unpacked into a folder that only the next step makes somebody's."""
        folder = self._registry.new_folder(name)
        try:
            return Arrival(
                name, folder, await self._run(partial(_restore, path=path, folder=folder, checksum=checksum))
            )
        except BaseException:
            await _remove(folder)
            raise

    async def _keep(self, place: SnapshotsPlace, archive: Path, at: datetime, checksum: str) -> SnapshotDescription:
        with named_disk():
            return await trio.to_thread.run_sync(place.adopt, archive, place.new_name(at), checksum)

    async def _archive(self, collection: str, scratch: Path, at: datetime) -> tuple[Path, str]:
        """The archive of a collection in ``scratch``, and its SHA-256."""
        async with self._pins:
            pinned = await self._registry.pin(collection)
            with closing(pinned.connection), self.activity.creation(pinned.name):

                def work(check_cancelled: CheckCancelled) -> tuple[Path, str]:
                    # The copy, and the archive that it is put into.
                    self.folder.require_space(2 * database_bytes(pinned.connection))
                    pause = _pausing(check_cancelled)
                    return make_snapshot(pinned.connection, pinned.name, pinned.config, scratch, at, pause)

                return await self._run(work)


async def _remove(folder: Path) -> None:
    """Also where the caller was cancelled. A large file takes its time to go."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))


def _pausing(check_cancelled: CheckCancelled) -> CheckCancelled:
    """``check_cancelled``, and then a pause as long as the work before it: half a CPU and half the disk are left."""
    resumed_at = time.perf_counter()

    def check_and_pause() -> None:
        nonlocal resumed_at
        check_cancelled()
        time.sleep(min(time.perf_counter() - resumed_at, _PAUSE_MAX_S))
        resumed_at = time.perf_counter()

    return check_and_pause


def _restore(check_cancelled: CheckCancelled, path: Path, folder: Path, checksum: str | None) -> CollectionConfig:
    with path.open("rb") as file:
        _check_sha256(file, checksum, check_cancelled)
        archive = open_archive(file, "collection")
        # The database, and its vectors once more in segments.
        require_space(folder, 2 * archive.members[DATABASE_NAME].size)
        size = SegmentSize(_SEGMENT_BYTES, SEGMENT_ROWS_MAX)
        return restore(archive, folder, size, check_cancelled)


def _check_sha256(file: BinaryIO, checksum: str | None, check_cancelled: CheckCancelled) -> None:
    if checksum is None:
        return
    found = sha256_of(file, check_cancelled)
    if not hmac.compare_digest(found.encode(), checksum.strip().lower().encode()):
        raise BadSnapshot(f"its checksum is {found}, not the one that was given")


def _write_full(
    check_cancelled: CheckCancelled,
    scratch: Path,
    aliases: _Aliases,
    entries: list[CollectionEntry],
    files: list[Path],
    at: datetime,
) -> tuple[Path, str]:
    files[0].write_bytes(msgspec.json.encode(aliases))
    described = [describe_file(path) for path in files]
    require_space(scratch, sum(file.size_bytes for file in described))
    manifest = Manifest(
        format=FORMAT_VERSION,
        kind="storage",
        vdb=__version__,
        created_at=utc_now(),
        files=tuple(described),
        collections=tuple(entries),
    )
    target = scratch / "archive"
    return target, write_archive(target, manifest, files, at, check_cancelled)


def _unpack_full(
    check_cancelled: CheckCancelled, path: Path, scratch: Path, checksum: str | None, snapshots: SnapshotsFolder
) -> tuple[Sequence[CollectionEntry], dict[str, str]]:
    """The collections' snapshots in ``scratch``, and the aliases."""
    with path.open("rb") as file:
        _check_sha256(file, checksum, check_cancelled)
        archive = open_archive(file, "storage")
        entries = archive.manifest.collections
        if len({entry.name for entry in entries}) < len(entries) or len({entry.file for entry in entries}) < len(
            entries
        ):
            raise BadSnapshot("it names a collection twice")
        for entry in entries:
            _check_name(entry.name)
        aliases = _aliases(archive.read(ALIASES_NAME))
        snapshots.require_space(sum(archive.members[entry.file].size for entry in entries))
        for entry in entries:
            archive.extract(entry.file, scratch / entry.file, check_cancelled)
    return entries, aliases


def _aliases(text: bytes) -> dict[str, str]:
    try:
        request = msgspec.json.decode(text, type=_Aliases)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadSnapshot(f"its {ALIASES_NAME} cannot be read: {error}") from error
    aliases = {action.create_alias.alias_name: action.create_alias.collection_name for action in request.actions}
    for alias in aliases:
        _check_name(alias)
    return aliases


def _check_name(name: str) -> None:
    try:
        validate_collection_name(name)
    except BadRequest as error:
        raise BadSnapshot(f"it names what cannot be a name: {error}") from error


class _Aliases(msgspec.Struct, frozen=True):
    actions: tuple[CreateAliasOperation, ...]
