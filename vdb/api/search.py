"""Queries, alone, in batches and in groups, and the matrix of distances."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from vdb.api.narrowing import narrow, narrow_query
from vdb.api.reads import read, read_with_lookups
from vdb.api.routing import Call, Encoded, Routes
from vdb.errors import CollectionNotFound
from vdb.inference.embedders import Embedders
from vdb.inference.queries import embedded, embedded_if_short
from vdb.model.groups import QueryGroupsRequest
from vdb.model.matrix import SearchMatrixRequest
from vdb.model.params import ReadParams
from vdb.model.points_results import (
    GroupsResult,
    QueryResponse,
    SearchMatrixOffsetsResponse,
    SearchMatrixPairsResponse,
)
from vdb.model.queries import QueryRequest, QueryRequestBatch, QueryStage, lookup_names
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.execute import Lookups
from vdb.query.matrix import matrix_offsets, matrix_pairs
from vdb.query.together import is_plain, query_batch
from vdb.query.view import View

routes = Routes("Search")

POINTS = "/collections/{collection_name}/points"
_READS: dict[str, Any] = {"params": ReadParams}

Narrowed = TypeVar("Narrowed", bound=QueryStage)
Shape = Callable[[str], str]  # hits, a JSON array, as a route answers them


@routes.add(
    "POST",
    POINTS + "/query",
    summary="The points that answer a query",
    access="read",
    filtered=True,
    body=QueryRequest,
    result=QueryResponse,
    **_READS,
)
async def query_points(call: Call) -> Encoded:
    return await answer(call, call.body, _as_points)


@routes.add(
    "POST",
    POINTS + "/query/batch",
    summary="Several queries at once",
    access="read",
    filtered=True,
    body=QueryRequestBatch,
    result=list[QueryResponse],
    **_READS,
)
async def query_batch_points(call: Call) -> Encoded:
    return await answer_batch(call, call.body.searches, _as_points)


@routes.add(
    "POST",
    POINTS + "/query/groups",
    summary="The points that answer a query, grouped by a field",
    access="read",
    filtered=True,
    body=QueryGroupsRequest,
    result=GroupsResult,
    **_READS,
)
async def query_points_groups(call: Call) -> Encoded:
    return await answer_groups(call, call.body)


@routes.add(
    "POST",
    POINTS + "/search/matrix/pairs",
    summary="Distances between sampled points, as pairs",
    access="read",
    filtered=True,
    body=SearchMatrixRequest,
    result=SearchMatrixPairsResponse,
    **_READS,
)
async def search_matrix_pairs(call: Call) -> Encoded:
    request = narrow(call.body, call.only)
    return await read(
        call, lambda view, connection, deadline: matrix_pairs(Source(view, connection), request, deadline)
    )


@routes.add(
    "POST",
    POINTS + "/search/matrix/offsets",
    summary="Distances between sampled points, as positions in a list of ids",
    access="read",
    filtered=True,
    body=SearchMatrixRequest,
    result=SearchMatrixOffsetsResponse,
    **_READS,
)
async def search_matrix_offsets(call: Call) -> Encoded:
    request = narrow(call.body, call.only)
    return await read(
        call, lambda view, connection, deadline: matrix_offsets(Source(view, connection), request, deadline)
    )


async def answer(call: Call, request: QueryRequest, shape: Shape) -> Encoded:
    """The hits of one request, found in a search thread."""
    request = embedded_if_short(_narrowed(call, request), call.services.embedders)
    if call.meter is None and call.only is None and call.params.timeout is None and is_plain(request):
        collection = call.collection()
        return Encoded(shape(await collection.query(request)).encode())
    work = partial(_one, request=request, shape=shape, embedders=call.services.embedders)
    return await read_with_lookups(call, lookup_names(request), work)


async def answer_batch(call: Call, requests: Sequence[QueryRequest], shape: Shape) -> Encoded:
    """The hits of several requests on one View, a JSON array."""
    services = call.services
    requests = [_narrowed(call, request) for request in requests]
    names = frozenset().union(*map(lookup_names, requests))
    threads = services.registry.threads.count
    work = partial(_batch, requests=requests, shape=shape, embedders=services.embedders, threads=threads)
    return await read_with_lookups(call, names, work)


async def answer_groups(call: Call, request: QueryGroupsRequest) -> Encoded:
    """The groups of one request, a JSON object."""
    request = _narrowed(call, request)
    names = lookup_names(request)
    if request.with_lookup is not None:
        names |= {request.with_lookup.collection}
    return await read_with_lookups(call, names, partial(_groups, request=request, embedders=call.services.embedders))


def _narrowed(call: Call, request: Narrowed) -> Narrowed:
    if call.only is None:
        return request
    return narrow_query(request, call.only, call.collection().view)


def _as_points(hits: str) -> str:
    return f'{{"points":{hits}}}'


def _one(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    request: QueryRequest,
    shape: Shape,
    embedders: Embedders,
) -> str:
    (request,) = embedded([request], embedders)
    return shape(execute.query_points(view, connection, request, deadline, lookups))


def _batch(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    requests: Sequence[QueryRequest],
    shape: Shape,
    embedders: Embedders,
    threads: int,
) -> str:
    requests = embedded(requests, embedders)
    answers = query_batch(view, connection, requests, deadline, lookups, threads)
    return "[" + ",".join(map(shape, answers)) + "]"


def _groups(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    request: QueryGroupsRequest,
    embedders: Embedders,
) -> str:
    if request.with_lookup is not None and request.with_lookup.collection not in lookups:
        raise CollectionNotFound(request.with_lookup.collection)
    (request,) = embedded([request], embedders)
    return execute.query_groups(view, connection, request, deadline, lookups)
