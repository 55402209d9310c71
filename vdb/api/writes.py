"""Requests that write, turned into the operations that the log keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from vdb.api.routing import Call
from vdb.collection.collection import Collection
from vdb.errors import EmptyUpdate, MalformedBody, UnknownVectorName
from vdb.inference.embedders import BUILT_IN, Embedders
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
from vdb.model.point_batch import PointBatch, asks_for_models, batch_of
from vdb.model.points import (
    DeletePayloadRequest,
    DeleteVectorsRequest,
    PointInsertOperations,
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

CONVERTED_INLINE_MAX: Final = 64  # points whose vectors are made into blocks on the loop; more go to a thread


def spaces_of(collection: Collection) -> dict[str, Space]:
    return collection.view.spaces()


async def write(call: Call, collection: Collection, planned: Planned) -> UpdateResult:
    """Hands the operation to the actor and waits: what is answered is durable and visible, with ``wait`` or without."""
    if callable(planned):
        return (await write_in_order(call, collection, [planned]))[0]
    result = _result(call, await collection.write(planned))
    if call.meter is not None:
        call.meter.wrote(planned)
    return result


async def write_in_order(call: Call, collection: Collection, planned: Sequence[Planned]) -> list[UpdateResult]:
    """``write`` for several operations, with nothing in between; the first that is refused ends them."""
    results = [_result(call, seq) for seq in await collection.write_in_order(planned)]
    if call.meter is not None:
        for operation in planned:
            if not callable(operation):  # what a filter chose is known to the actor alone
                call.meter.wrote(operation)
    return results


def _result(call: Call, seq: int) -> UpdateResult:
    return UpdateResult(operation_id=seq, status="completed" if call.params.wait else "acknowledged")


def takes_long(request: PointInsertOperations | UpdateVectorsRequest | None) -> bool:
    """Whether the vectors of a request are to be made in a thread: there are many, or a model makes them."""
    if request is None:
        return False
    columns = request.batch if isinstance(request, PointInsertOperations) else None
    count = len(request.points or ()) if columns is None else len(columns.ids)
    return count > CONVERTED_INLINE_MAX or asks_for_models(request)


async def planned(call: Call, in_thread: bool, make: Callable[[], T]) -> T:
    """What ``make`` makes of a request."""
    return await trio.to_thread.run_sync(make, limiter=call.services.decoding) if in_thread else make()


def upsert(batch: PointBatch, spaces: dict[str, Space], embedders: Embedders = BUILT_IN) -> Planned:
    if not batch.ids:
        raise EmptyUpdate
    operation = batch.upsert(spaces, partial(embedders.embed, purpose="document"))
    if batch.update_filter is None and batch.update_mode in (None, "upsert"):
        return operation
    return upsert_where(operation, batch.update_filter, batch.update_mode or "upsert")


def update_vectors(request: UpdateVectorsRequest, spaces: dict[str, Space], embedders: Embedders = BUILT_IN) -> Planned:
    batch = PointBatch()
    batch.add(request.points)
    operation = batch.update_vectors(spaces, partial(embedders.embed, purpose="document"))
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


def all_of_batch(
    operations: Sequence[UpdateOperation], spaces: dict[str, Space], embedders: Embedders
) -> list[Planned]:
    return [of_batch(operation, spaces, embedders) for operation in operations]


def of_batch(operation: UpdateOperation, spaces: dict[str, Space], embedders: Embedders = BUILT_IN) -> Planned:
    """One operation of a batch request."""
    match operation:
        case UpdateOperation(upsert=request) if request is not None:
            return upsert(batch_of(request), spaces, embedders)
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
            return update_vectors(request, spaces, embedders)
        case UpdateOperation(delete_vectors=request) if request is not None:
            return delete_vectors(request, spaces)
    raise MalformedBody("an operation is missing")


def _about(
    request: PointsSelector | DeleteVectorsRequest | SetPayloadRequest | DeletePayloadRequest,
    make: Callable[[Sequence[PointId]], PointOperation],
) -> Planned:
    """The operation on the points that the request names; where it gives ids and a filter, the ids decide."""
    if request.points is not None:
        if not request.points:
            raise EmptyUpdate
        return make(parse_ids(request.points))
    assert request.filter is not None
    return by_filter(request.filter, make)
