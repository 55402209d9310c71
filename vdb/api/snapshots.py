"""Snapshots of collections, of their one shard, and of the whole storage."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import trio

from vdb.api.routing import Accepted, Call, Download, Routes
from vdb.api.transfers import save
from vdb.errors import BadRequest, Forbidden, NotFound
from vdb.model.snapshots import (
    ShardSnapshotRecover,
    SnapshotDescription,
    SnapshotParams,
    SnapshotRecover,
    SnapshotUpload,
    UploadParams,
)
from vdb.snapshots.fetch import fetching
from vdb.snapshots.folder import SnapshotsPlace
from vdb.snapshots.service import Snapshots

T = TypeVar("T")

routes = Routes("Snapshots")

_COLLECTION = "/collections/{collection_name}/snapshots"
_SHARD = "/collections/{collection_name}/shards/{shard_id}/snapshots"
_FULL = "/snapshots"

Recovery = Callable[[Path, str | None], Awaitable[None]]


@routes.add("GET", _COLLECTION, summary="Snapshots of a collection", access="read", result=list[SnapshotDescription])
async def list_snapshots(call: Call) -> list[SnapshotDescription]:
    return await _list(call, _place(call))


@routes.add(
    "POST",
    _COLLECTION,
    summary="Make a snapshot of a collection",
    access="write",
    params=SnapshotParams,
    result=SnapshotDescription,
)
async def create_snapshot(call: Call) -> SnapshotDescription | Accepted:
    """The snapshot is one moment of the collection; writes go on while it is made."""
    return await _create(call, _place(call))


@routes.add("GET", _COLLECTION + "/{snapshot_name}", summary="Download a snapshot of a collection", access="read",
            result=bytes, enveloped=False)  # fmt: skip
async def get_snapshot(call: Call) -> Download:
    return await _download(call, _place(call))


@routes.add(
    "DELETE",
    _COLLECTION + "/{snapshot_name}",
    summary="Delete a snapshot of a collection",
    access="write",
    params=SnapshotParams,
)
async def delete_snapshot(call: Call) -> bool | Accepted:
    return await _delete(call, _place(call))


@routes.add(
    "POST",
    _COLLECTION + "/upload",
    summary="Recover a collection from a file that is sent",
    access="manage",
    body=SnapshotUpload,
    streamed=True,
    params=UploadParams,
)
async def recover_from_uploaded_snapshot(call: Call) -> bool | Accepted:
    """Replaces the collection, or makes it. What is there stays until the new one is ready, and if anything fails."""
    return await _recover_upload(call, _recovery(call))


@routes.add(
    "PUT",
    _COLLECTION + "/recover",
    summary="Recover a collection from a file or a URL",
    access="manage",
    body=SnapshotRecover,
    params=SnapshotParams,
)
async def recover_from_snapshot(call: Call) -> bool | Accepted:
    """``file://`` below the snapshots folder; http and https where the server's settings allow it."""
    return await _recover(call, _recovery(call))


@routes.add("GET", _SHARD, summary="Snapshots of a shard", access="read", result=list[SnapshotDescription])
async def list_shard_snapshots(call: Call) -> list[SnapshotDescription]:
    return await _list(call, _shard(call))


@routes.add(
    "POST", _SHARD, summary="Make a snapshot of a shard", access="write", params=SnapshotParams,
    result=SnapshotDescription,
)  # fmt: skip
async def create_shard_snapshot(call: Call) -> SnapshotDescription | Accepted:
    return await _create(call, _shard(call))


@routes.add("GET", _SHARD + "/{snapshot_name}", summary="Download a snapshot of a shard", access="read",
            result=bytes, enveloped=False)  # fmt: skip
async def get_shard_snapshot(call: Call) -> Download:
    return await _download(call, _shard(call))


@routes.add(
    "DELETE", _SHARD + "/{snapshot_name}", summary="Delete a snapshot of a shard", access="write", params=SnapshotParams
)
async def delete_shard_snapshot(call: Call) -> bool | Accepted:
    return await _delete(call, _shard(call))


@routes.add(
    "GET",
    "/collections/{collection_name}/shards/{shard_id}/snapshot",
    summary="Download a shard as it is now",
    access="write",
    result=bytes,
    enveloped=False,
)
async def stream_shard_snapshot(call: Call) -> Download:
    """Like making a snapshot, downloading it and deleting it."""
    _shard(call)
    file, name = await _snapshots(call).create_stream(call.path["collection_name"])
    return _opened(file, name)


@routes.add(
    "POST",
    _SHARD + "/upload",
    summary="Recover a shard from a file that is sent",
    access="manage",
    body=SnapshotUpload,
    streamed=True,
    params=UploadParams,
)
async def recover_shard_from_uploaded_snapshot(call: Call) -> bool | Accepted:
    _shard(call)
    return await _recover_upload(call, _recovery(call))


@routes.add(
    "PUT",
    _SHARD + "/recover",
    summary="Recover a shard from a file or a URL",
    access="manage",
    body=ShardSnapshotRecover,
    params=SnapshotParams,
)
async def recover_shard_from_snapshot(call: Call) -> bool | Accepted:
    return await _recover(call, _recovery(call), _shard(call))


@routes.add("GET", _FULL, summary="Snapshots of the whole storage", access="read", result=list[SnapshotDescription])
async def list_full_snapshots(call: Call) -> list[SnapshotDescription]:
    return await _list(call, _snapshots(call).place(None))


@routes.add(
    "POST",
    _FULL,
    summary="Make a snapshot of the whole storage",
    access="manage",
    params=SnapshotParams,
    result=SnapshotDescription,
)
async def create_full_snapshot(call: Call) -> SnapshotDescription | Accepted:
    """All collections, each as it is when its turn comes, and the aliases."""
    return await _waited_for(call, _snapshots(call).create_full)


@routes.add("GET", _FULL + "/{snapshot_name}", summary="Download a snapshot of the whole storage", access="read",
            result=bytes, enveloped=False)  # fmt: skip
async def get_full_snapshot(call: Call) -> Download:
    return await _download(call, _snapshots(call).place(None))


@routes.add(
    "DELETE",
    _FULL + "/{snapshot_name}",
    summary="Delete a snapshot of the whole storage",
    access="manage",
    params=SnapshotParams,
)
async def delete_full_snapshot(call: Call) -> bool | Accepted:
    return await _delete(call, _snapshots(call).place(None))


@routes.add(
    "POST",
    _FULL + "/upload",
    summary="Recover all collections from a file that is sent",
    access="manage",
    body=SnapshotUpload,
    streamed=True,
    params=UploadParams,
)
async def recover_full_from_uploaded_snapshot(call: Call) -> bool | Accepted:
    """Replaces or makes the collections and aliases of the snapshot, all at once; others stay."""
    return await _recover_upload(call, _snapshots(call).recover_full)


@routes.add(
    "PUT",
    _FULL + "/recover",
    summary="Recover all collections from a file or a URL",
    access="manage",
    body=SnapshotRecover,
    params=SnapshotParams,
)
async def recover_full_from_snapshot(call: Call) -> bool | Accepted:
    """Replaces or makes the collections and aliases of the snapshot, all at once; others stay."""
    return await _recover(call, _snapshots(call).recover_full)


def _snapshots(call: Call) -> Snapshots:
    return call.services.snapshots


def _place(call: Call) -> SnapshotsPlace:
    return _snapshots(call).place(call.path["collection_name"])


def _shard(call: Call) -> SnapshotsPlace:
    """The place of a collection's one shard; raises NotFound for another one."""
    place = _snapshots(call).place(call.path["collection_name"], shard=True)
    shard_id = call.path["shard_id"]
    if not (shard_id.isascii() and shard_id.isdigit()):
        raise BadRequest(f"{shard_id!r} is not the number of a shard")
    if int(shard_id) != 0:
        raise NotFound(f"Shard {int(shard_id)} doesn't exist: collections have shard 0 only")
    return place


def _recovery(call: Call) -> Recovery:
    return partial(_snapshots(call).recover, call.path["collection_name"])


async def _list(call: Call, place: SnapshotsPlace) -> list[SnapshotDescription]:
    return await _snapshots(call).list(place)


async def _create(call: Call, place: SnapshotsPlace) -> SnapshotDescription | Accepted:
    return await _waited_for(call, partial(_snapshots(call).create, place, call.path["collection_name"]))


async def _download(call: Call, place: SnapshotsPlace) -> Download:
    path = await _snapshots(call).find(place, call.path["snapshot_name"])
    try:
        file = await trio.to_thread.run_sync(path.open, "rb")
    except FileNotFoundError:  # deleted since it was found
        raise NotFound(f"Snapshot `{path.name}` doesn't exist!") from None
    return _opened(file, path.name)


def _opened(file: BinaryIO, name: str) -> Download:
    return Download(file, os.fstat(file.fileno()).st_size, name)


async def _delete(call: Call, place: SnapshotsPlace) -> bool | Accepted:
    snapshots, name = _snapshots(call), call.path["snapshot_name"]
    await snapshots.find(place, name)

    async def delete() -> bool:
        await snapshots.delete(place, name)
        return True

    return await _waited_for(call, delete)


async def _recover_upload(call: Call, recover: Recovery) -> bool | Accepted:
    async with AsyncExitStack() as stack:
        received = await stack.enter_async_context(_snapshots(call).scratch()) / "received"
        await call.body.save(received, _bytes_max(call))
        return await _recovered(call, stack, partial(recover, received, call.params.checksum))


async def _recover(call: Call, recover: Recovery, shard: SnapshotsPlace | None = None) -> bool | Accepted:
    request: SnapshotRecover = call.body
    snapshots = _snapshots(call)
    async with AsyncExitStack() as stack:
        scheme = request.location.partition(":")[0].lower()
        if scheme in ("http", "https"):
            path = await stack.enter_async_context(snapshots.scratch()) / "received"
            await _fetch(call, request, path)
        elif shard is not None and "/" not in request.location and ":" not in request.location:
            path = await snapshots.find(shard, request.location)
        else:
            path = await trio.to_thread.run_sync(snapshots.folder.resolve, request.location)
        return await _recovered(call, stack, partial(recover, path, request.checksum))


async def _fetch(call: Call, request: SnapshotRecover, target: Path) -> None:
    if not call.services.settings.storage.snapshots_allow_http:
        raise Forbidden("Recovering from a URL is off: storage.snapshots_allow_http turns it on")
    async with fetching(request.location, request.api_key) as (content, length):
        await save(content, length, target, _bytes_max(call))


async def _recovered(call: Call, stack: AsyncExitStack, work: Callable[[], Awaitable[None]]) -> bool | Accepted:
    """Does ``work``, and then closes what ``stack`` holds, also where that is after the answer."""
    held = stack.pop_all()

    async def recover() -> bool:
        async with held:
            await work()
        return True

    return await _waited_for(call, recover)


async def _waited_for(call: Call, work: Callable[[], Awaitable[T]]) -> T | Accepted:
    """What ``work`` returns, or Accepted where the client does not wait for it."""
    params: SnapshotParams | UploadParams = call.params
    if params.wait:
        return await work()
    call.services.registry.start_in_background(work, f"work on snapshots of {call.path.get('collection_name', 'all')}")
    return Accepted()


def _bytes_max(call: Call) -> int | None:
    size_mb: int | None = call.services.settings.storage.snapshots_max_size_mb
    return None if size_mb is None else size_mb * 2**20
