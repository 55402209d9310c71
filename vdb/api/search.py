"""Queries, alone, in batches and in groups, and the matrix of distances."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vdb.api.reads import read, read_with_lookups
from vdb.api.routing import Call, Encoded, Routes
from vdb.model.groups import QueryGroupsRequest
from vdb.model.matrix import SearchMatrixRequest
from vdb.model.params import ReadParams
from vdb.model.points_results import (
    GroupsResult,
    QueryResponse,
    SearchMatrixOffsetsResponse,
    SearchMatrixPairsResponse,
)
from vdb.model.queries import QueryRequest, QueryRequestBatch, lookup_names
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.execute import Lookups
from vdb.query.matrix import matrix_offsets, matrix_pairs
from vdb.query.view import View

routes = Routes("Search")

POINTS = "/collections/{collection_name}/points"
_READS: dict[str, Any] = {"params": ReadParams}

Answer = Callable[[View, sqlite3.Connection, QueryRequest, Deadline, Lookups], str]


@routes.add(
    "POST",
    POINTS + "/query",
    summary="The points that answer a query",
    body=QueryRequest,
    result=QueryResponse,
    **_READS,
)
async def query_points(call: Call) -> Encoded:
    return await answer(call, call.body, _query)


@routes.add(
    "POST",
    POINTS + "/query/batch",
    summary="Several queries at once",
    body=QueryRequestBatch,
    result=list[QueryResponse],
    **_READS,
)
async def query_batch_points(call: Call) -> Encoded:
    return await answer_batch(call, call.body.searches, _query)


@routes.add(
    "POST",
    POINTS + "/query/groups",
    summary="The points that answer a query, grouped by a field",
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
    body=SearchMatrixRequest,
    result=SearchMatrixPairsResponse,
    **_READS,
)
async def search_matrix_pairs(call: Call) -> Encoded:
    return await read(
        call, lambda view, connection, deadline: matrix_pairs(Source(view, connection), call.body, deadline)
    )


@routes.add(
    "POST",
    POINTS + "/search/matrix/offsets",
    summary="Distances between sampled points, as positions in a list of ids",
    body=SearchMatrixRequest,
    result=SearchMatrixOffsetsResponse,
    **_READS,
)
async def search_matrix_offsets(call: Call) -> Encoded:
    return await read(
        call, lambda view, connection, deadline: matrix_offsets(Source(view, connection), call.body, deadline)
    )


async def answer(call: Call, request: QueryRequest, write: Answer) -> Encoded:
    """What ``write`` makes of one request, in a search thread."""
    return await read_with_lookups(call, lookup_names(request), partial(_one, request=request, write=write))


async def answer_batch(call: Call, requests: Sequence[QueryRequest], write: Answer) -> Encoded:
    """What ``write`` makes of several requests on one View, a JSON array."""
    names = frozenset().union(*map(lookup_names, requests))
    return await read_with_lookups(call, names, partial(_batch, requests=requests, write=write))


async def answer_groups(call: Call, request: QueryGroupsRequest) -> Encoded:
    """The groups of one request, a JSON object."""
    names = lookup_names(request)
    if request.with_lookup is not None:
        names |= {request.with_lookup.collection}
    return await read_with_lookups(call, names, partial(_groups, request=request))


def _query(
    view: View, connection: sqlite3.Connection, request: QueryRequest, deadline: Deadline, lookups: Lookups
) -> str:
    return f'{{"points":{execute.query_points(view, connection, request, deadline, lookups)}}}'


def _one(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    request: QueryRequest,
    write: Answer,
) -> str:
    return write(view, connection, request, deadline, lookups)


def _batch(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    requests: Sequence[QueryRequest],
    write: Answer,
) -> str:
    return "[" + ",".join(write(view, connection, request, deadline, lookups) for request in requests) + "]"


def _groups(
    view: View,
    connection: sqlite3.Connection,
    deadline: Deadline,
    *,
    lookups: Lookups,
    request: QueryGroupsRequest,
) -> str:
    return execute.query_groups(view, connection, request, deadline, lookups)
