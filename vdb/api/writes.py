"""Requests that write, turned into the operations that the log keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from vdb.api.routing import Call
from vdb.collection.collection import Collection
from vdb.errors import DeadlineExceeded, MalformedBody, UnknownVectorName
from vdb.model.collection_results import UpdateResult
from vdb.model.ids import PointId
from vdb.model.json_path import parse_path
from vdb.model.operations import (
    ClearPayload,
    DeletePayload,
    DeletePoints,
    DeleteVectors,
    OverwritePayload,
    PointOperation,
    SetPayload,
)
from vdb.model.payloads import read_payload
from vdb.model.point_batch import PointBatch, batch_of
from vdb.model.points import (
    DeletePayloadRequest,
    DeleteVectorsRequest,
    PointsSelector,
    SetPayloadRequest,
    UpdateOperation,
    UpdateVectorsRequest,
    parse_ids,
)
from vdb.model.sparse import Space
from vdb.query.targets import Resolve, by_filter, update_vectors_where, upsert_where

# An operation, or what makes one when its turn has come.
Planned = PointOperation | Resolve

T = TypeVar("T")


def spaces_of(collection: Collection) -> dict[str, Space]:
    return collection.view.spaces()


async def write(call: Call, planned: Planned) -> UpdateResult:
    """Hands the operation to the actor and waits: what is answered is durable and visible, with ``wait`` or without.

    After ``timeout`` the answer is an error, and the write goes on.
    """
    if callable(planned):
        return (await write_in_order(call, [planned]))[0]
    collection = call.services.registry.get(call.path["collection_name"])
    return _result(call, await _within_timeout(call, collection.write(planned)))


async def write_in_order(call: Call, planned: Sequence[Planned]) -> list[UpdateResult]:
    """``write`` for several operations, with nothing in between; the first that is refused ends them."""
    collection = call.services.registry.get(call.path["collection_name"])
    return [_result(call, seq) for seq in await _within_timeout(call, collection.write_in_order(planned))]


async def _within_timeout(call: Call, answer: Awaitable[T]) -> T:
    timeout_s: int | None = call.params.timeout
    if timeout_s is None:
        return await answer
    with trio.move_on_after(timeout_s):
        return await answer
    raise DeadlineExceeded(timeout_s)


def _result(call: Call, seq: int) -> UpdateResult:
    return UpdateResult(operation_id=seq, status="completed" if call.params.wait else "acknowledged")


def upsert(batch: PointBatch, spaces: dict[str, Space]) -> Planned:
    operation = batch.upsert(spaces)
    if batch.update_filter is None and batch.update_mode in (None, "upsert"):
        return operation
    return upsert_where(operation, batch.update_filter, batch.update_mode or "upsert")


def update_vectors(request: UpdateVectorsRequest, spaces: dict[str, Space]) -> Planned:
    batch = PointBatch()
    batch.add(request.points)
    operation = batch.update_vectors(spaces)
    return operation if request.update_filter is None else update_vectors_where(operation, request.update_filter)


def delete_vectors(request: DeleteVectorsRequest, spaces: dict[str, Space]) -> Planned:
    for name in request.vector:
        if name not in spaces:
            raise UnknownVectorName(name)
    return _about(request, lambda ids: DeleteVectors(ids, request.vector))


def delete_points(request: PointsSelector) -> Planned:
    return _about(request, DeletePoints)


def set_payload(request: SetPayloadRequest) -> Planned:
    payload = read_payload(request.payload)
    if request.key is not None:
        parse_path(request.key)
    return _about(request, lambda ids: SetPayload(ids, payload, request.key))


def overwrite_payload(request: SetPayloadRequest) -> Planned:
    payload = read_payload(request.payload)
    return _about(request, lambda ids: OverwritePayload(ids, payload))


def delete_payload(request: DeletePayloadRequest) -> Planned:
    for key in request.keys:
        parse_path(key)
    return _about(request, lambda ids: DeletePayload(ids, request.keys))


def clear_payload(request: PointsSelector) -> Planned:
    return _about(request, ClearPayload)


def of_batch(operation: UpdateOperation, spaces: dict[str, Space]) -> Planned:
    """One operation of a batch request."""
    match operation:
        case UpdateOperation(upsert=request) if request is not None:
            return upsert(batch_of(request), spaces)
        case UpdateOperation(delete=request) if request is not None:
            return delete_points(request)
        case UpdateOperation(set_payload=request) if request is not None:
            return set_payload(request)
        case UpdateOperation(overwrite_payload=request) if request is not None:
            return overwrite_payload(request)
        case UpdateOperation(delete_payload=request) if request is not None:
            return delete_payload(request)
        case UpdateOperation(clear_payload=request) if request is not None:
            return clear_payload(request)
        case UpdateOperation(update_vectors=request) if request is not None:
            return update_vectors(request, spaces)
        case UpdateOperation(delete_vectors=request) if request is not None:
            return delete_vectors(request, spaces)
    raise MalformedBody("an operation is missing")


def _about(
    request: PointsSelector | DeleteVectorsRequest | SetPayloadRequest | DeletePayloadRequest,
    make: Callable[[Sequence[PointId]], PointOperation],
) -> Planned:
    """The operation on the points that the request names; where it gives ids and a filter, the ids decide."""
    if request.points is not None:
        return make(parse_ids(request.points))
    assert request.filter is not None
    return by_filter(request.filter, make)
