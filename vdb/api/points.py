"""Points: written, read by id, scrolled and counted."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

import msgspec

from vdb.api import writes
from vdb.api.narrowing import narrow, narrow_ids, narrow_selector, require_visible
from vdb.api.reads import read
from vdb.api.routing import Call, Encoded, Routes
from vdb.model.collection_results import UpdateResult
from vdb.model.conditions import Filter
from vdb.model.ids import PointId, parse_path_id
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
    parse_ids,
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


@routes.add(
    "PUT",
    _POINTS,
    summary="Insert points, or replace them whole",
    access="write",
    body=PointInsertOperations,
    decode=decode_upsert,
    **_WRITES,
)
async def upsert_points(call: Call) -> UpdateResult:
    collection = call.collection()
    spaces = writes.spaces_of(collection)
    in_thread = len(call.body.ids) > writes.CONVERTED_INLINE_MAX or call.body.asks_for_models
    make = partial(writes.upsert, call.body, spaces, call.services.embedders)
    return await writes.write(call, collection, await writes.planned(call, in_thread, make))


@routes.add(
    "POST", _POINTS + "/delete", summary="Delete points", access="write", filtered=True, body=PointsSelector, **_WRITES
)
async def delete_points(call: Call) -> UpdateResult:
    return await writes.write(call, call.collection(), writes.delete_points(narrow_selector(call.body, call.only)))


@routes.add(
    "PUT",
    _POINTS + "/vectors",
    summary="Write some vectors of points",
    access="write",
    body=UpdateVectorsRequest,
    **_WRITES,
)
async def update_vectors(call: Call) -> UpdateResult:
    collection = call.collection()
    spaces = writes.spaces_of(collection)
    make = partial(writes.update_vectors, call.body, spaces, call.services.embedders)
    return await writes.write(call, collection, await writes.planned(call, writes.takes_long(call.body), make))


@routes.add(
    "POST",
    _POINTS + "/vectors/delete",
    summary="Delete some vectors of points",
    access="write",
    filtered=True,
    body=DeleteVectorsRequest,
    **_WRITES,
)
async def delete_vectors(call: Call) -> UpdateResult:
    collection = call.collection()
    spaces = writes.spaces_of(collection)
    return await writes.write(call, collection, writes.delete_vectors(narrow_selector(call.body, call.only), spaces))


@routes.add(
    "POST", _POINTS + "/payload", summary="Set keys of payloads", access="write", body=SetPayloadRequest, **_WRITES
)
async def set_payload(call: Call) -> UpdateResult:
    return await writes.write(call, call.collection(), writes.set_payload(call.body))


@routes.add("PUT", _POINTS + "/payload", summary="Replace payloads", access="write", body=SetPayloadRequest, **_WRITES)
async def overwrite_payload(call: Call) -> UpdateResult:
    return await writes.write(call, call.collection(), writes.overwrite_payload(call.body))


@routes.add(
    "POST",
    _POINTS + "/payload/delete",
    summary="Delete keys of payloads",
    access="write",
    body=DeletePayloadRequest,
    **_WRITES,
)
async def delete_payload(call: Call) -> UpdateResult:
    return await writes.write(call, call.collection(), writes.delete_payload(call.body))


@routes.add(
    "POST", _POINTS + "/payload/clear", summary="Remove payloads", access="write", body=PointsSelector, **_WRITES
)
async def clear_payload(call: Call) -> UpdateResult:
    return await writes.write(call, call.collection(), writes.clear_payload(call.body))


@routes.add(
    "POST",
    _POINTS + "/batch",
    summary="Several operations, in order",
    access="write",
    body=UpdateOperations,
    params=WriteParams,
    result=list[UpdateResult],
)
async def batch_update(call: Call) -> list[UpdateResult]:
    """Every operation is checked before the first is applied."""
    collection = call.collection()
    spaces = writes.spaces_of(collection)
    operations = call.body.operations
    in_thread = any(writes.takes_long(one.upsert) or writes.takes_long(one.update_vectors) for one in operations)
    make = partial(writes.all_of_batch, operations, spaces, call.services.embedders)
    return await writes.write_in_order(call, collection, await writes.planned(call, in_thread, make))


@routes.add(
    "GET",
    _POINTS + "/{id}",
    summary="One point with payload and vectors",
    access="read",
    filtered=True,
    result=Record,
    **_READS,
)
async def get_point(call: Call) -> Encoded:
    point_id = parse_path_id(call.path["id"])
    return await read(call, partial(_get_point, point_id=point_id, only=call.only))


def _get_point(
    view: View, connection: sqlite3.Connection, deadline: Deadline, point_id: PointId, only: Filter | None
) -> str:
    if only is not None:
        require_visible(view, connection, point_id, only, deadline)
    return execute.get_point(view, connection, point_id)


@routes.add(
    "POST",
    _POINTS,
    summary="Points by id",
    access="read",
    filtered=True,
    body=PointRequest,
    result=list[Record],
    **_READS,
)
async def get_points(call: Call) -> Encoded:
    return await read(call, partial(_get_points, request=call.body, only=call.only))


def _get_points(
    view: View, connection: sqlite3.Connection, deadline: Deadline, request: PointRequest, only: Filter | None
) -> str:
    if only is not None:
        visible = narrow_ids(view, connection, parse_ids(request.ids), only, deadline)
        request = msgspec.structs.replace(request, ids=visible)
    return execute.retrieve(view, connection, request)


@routes.add(
    "POST",
    _POINTS + "/scroll",
    summary="Points page by page",
    access="read",
    filtered=True,
    body=ScrollRequest,
    result=ScrollResult,
    **_READS,
)
async def scroll_points(call: Call) -> Encoded:
    request = narrow(call.body, call.only)
    return await read(call, lambda view, connection, deadline: scroll(view, connection, request, deadline))


@routes.add(
    "POST",
    _POINTS + "/count",
    summary="How many points there are",
    access="read",
    filtered=True,
    body=CountRequest,
    result=CountResult,
    **_READS,
)
async def count_points(call: Call) -> Encoded:
    return await read(call, partial(_count, request=narrow(call.body, call.only)))


def _count(view: View, connection: sqlite3.Connection, deadline: Deadline, request: CountRequest) -> str:
    return f'{{"count":{execute.count_points(view, connection, request, deadline)}}}'


@routes.add(
    "POST",
    "/collections/{collection_name}/facet",
    summary="How many points have each value of a field",
    access="read",
    filtered=True,
    body=FacetRequest,
    result=FacetResponse,
    **_READS,
)
async def facet_points(call: Call) -> Encoded:
    request = narrow(call.body, call.only)
    return await read(call, lambda view, connection, deadline: facet(view, connection, request, deadline))
