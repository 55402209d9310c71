"""Points: written, read by id, scrolled and counted."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

import trio

from vdb.api import writes
from vdb.api.reads import read
from vdb.api.routing import Call, Encoded, Routes
from vdb.model.collection_results import UpdateResult
from vdb.model.ids import parse_path_id
from vdb.model.params import ReadParams, WriteParams
from vdb.model.point_batch import decode_upsert
from vdb.model.points import (
    DeletePayloadRequest,
    DeleteVectorsRequest,
    PointInsertOperations,
    PointsSelector,
    SetPayloadRequest,
    UpdateOperations,
    UpdateVectorsRequest,
)
from vdb.model.points_results import CountResult, FacetResponse, Record, ScrollResult
from vdb.model.queries import CountRequest, FacetRequest, PointRequest, ScrollRequest
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.facet import facet
from vdb.query.scroll import scroll
from vdb.query.view import View

routes = Routes("Points")

_POINTS = "/collections/{collection_name}/points"
_WRITES: dict[str, Any] = {"params": WriteParams, "result": UpdateResult}
_READS: dict[str, Any] = {"params": ReadParams}

CONVERTED_INLINE_MAX = 64  # points whose vectors are made into blocks on the loop; more go to a thread


@routes.add(
    "PUT",
    _POINTS,
    summary="Insert points, or replace them whole",
    body=PointInsertOperations,
    decode=decode_upsert,
    **_WRITES,
)
async def upsert_points(call: Call) -> UpdateResult:
    spaces = writes.spaces_of(call.services.registry.get(call.path["collection_name"]))
    if len(call.body.ids) <= CONVERTED_INLINE_MAX:
        operation = writes.upsert(call.body, spaces)
    else:
        operation = await trio.to_thread.run_sync(writes.upsert, call.body, spaces, limiter=call.services.decoding)
    return await writes.write(call, operation)


@routes.add("POST", _POINTS + "/delete", summary="Delete points", body=PointsSelector, **_WRITES)
async def delete_points(call: Call) -> UpdateResult:
    return await writes.write(call, writes.delete_points(call.body))


@routes.add("PUT", _POINTS + "/vectors", summary="Write some vectors of points", body=UpdateVectorsRequest, **_WRITES)
async def update_vectors(call: Call) -> UpdateResult:
    spaces = writes.spaces_of(call.services.registry.get(call.path["collection_name"]))
    return await writes.write(call, writes.update_vectors(call.body, spaces))


@routes.add(
    "POST", _POINTS + "/vectors/delete", summary="Delete some vectors of points", body=DeleteVectorsRequest, **_WRITES
)
async def delete_vectors(call: Call) -> UpdateResult:
    spaces = writes.spaces_of(call.services.registry.get(call.path["collection_name"]))
    return await writes.write(call, writes.delete_vectors(call.body, spaces))


@routes.add("POST", _POINTS + "/payload", summary="Set keys of payloads", body=SetPayloadRequest, **_WRITES)
async def set_payload(call: Call) -> UpdateResult:
    return await writes.write(call, writes.set_payload(call.body))


@routes.add("PUT", _POINTS + "/payload", summary="Replace payloads", body=SetPayloadRequest, **_WRITES)
async def overwrite_payload(call: Call) -> UpdateResult:
    return await writes.write(call, writes.overwrite_payload(call.body))


@routes.add(
    "POST", _POINTS + "/payload/delete", summary="Delete keys of payloads", body=DeletePayloadRequest, **_WRITES
)
async def delete_payload(call: Call) -> UpdateResult:
    return await writes.write(call, writes.delete_payload(call.body))


@routes.add("POST", _POINTS + "/payload/clear", summary="Remove payloads", body=PointsSelector, **_WRITES)
async def clear_payload(call: Call) -> UpdateResult:
    return await writes.write(call, writes.clear_payload(call.body))


@routes.add(
    "POST",
    _POINTS + "/batch",
    summary="Several operations, in order",
    body=UpdateOperations,
    params=WriteParams,
    result=list[UpdateResult],
)
async def batch_update(call: Call) -> list[UpdateResult]:
    """Every operation is checked before the first is applied."""
    spaces = writes.spaces_of(call.services.registry.get(call.path["collection_name"]))
    operations = [writes.of_batch(operation, spaces) for operation in call.body.operations]
    return await writes.write_in_order(call, operations)


@routes.add("GET", _POINTS + "/{id}", summary="One point with payload and vectors", result=Record, **_READS)
async def get_point(call: Call) -> Encoded:
    point_id = parse_path_id(call.path["id"])
    return await read(call, lambda view, connection, _: execute.get_point(view, connection, point_id))


@routes.add("POST", _POINTS, summary="Points by id", body=PointRequest, result=list[Record], **_READS)
async def get_points(call: Call) -> Encoded:
    return await read(call, lambda view, connection, _: execute.retrieve(view, connection, call.body))


@routes.add(
    "POST", _POINTS + "/scroll", summary="Points page by page", body=ScrollRequest, result=ScrollResult, **_READS
)
async def scroll_points(call: Call) -> Encoded:
    return await read(call, lambda view, connection, deadline: scroll(view, connection, call.body, deadline))


@routes.add(
    "POST", _POINTS + "/count", summary="How many points there are", body=CountRequest, result=CountResult, **_READS
)
async def count_points(call: Call) -> Encoded:
    return await read(call, partial(_count, request=call.body))


def _count(view: View, connection: sqlite3.Connection, deadline: Deadline, request: CountRequest) -> str:
    return f'{{"count":{execute.count_points(view, connection, request, deadline)}}}'


@routes.add(
    "POST",
    "/collections/{collection_name}/facet",
    summary="How many points have each value of a field",
    body=FacetRequest,
    result=FacetResponse,
    **_READS,
)
async def facet_points(call: Call) -> Encoded:
    return await read(call, lambda view, connection, deadline: facet(view, connection, call.body, deadline))
