"""The routes that older clients search by. Each is a query in an older shape, answered in an older shape too."""

from __future__ import annotations

from typing import Any

from vdb.api.routing import Call, Encoded, Routes
from vdb.api.search import POINTS, answer, answer_batch, answer_groups
from vdb.model.older_queries import (
    DiscoverRequest,
    DiscoverRequestBatch,
    RecommendGroupsRequest,
    RecommendRequest,
    RecommendRequestBatch,
    SearchGroupsRequest,
    SearchRequest,
    SearchRequestBatch,
    as_groups,
    as_query,
)
from vdb.model.params import ReadParams
from vdb.model.points_results import GroupsResult, ScoredPoint

routes = Routes("Search")

_READS: dict[str, Any] = {"access": "read", "filtered": True, "params": ReadParams, "documented": False}
_HITS = {**_READS, "result": list[ScoredPoint]}
_BATCHES = {**_READS, "result": list[list[ScoredPoint]]}
_GROUPS = {**_READS, "result": GroupsResult}


@routes.add("POST", POINTS + "/search", summary="The nearest points", body=SearchRequest, **_HITS)
async def search_points(call: Call) -> Encoded:
    return await answer(call, as_query(call.body), str)


@routes.add("POST", POINTS + "/search/batch", summary="Several searches at once", body=SearchRequestBatch, **_BATCHES)
async def search_batch_points(call: Call) -> Encoded:
    return await answer_batch(call, [as_query(search) for search in call.body.searches], str)


@routes.add(
    "POST", POINTS + "/search/groups", summary="The nearest points in groups", body=SearchGroupsRequest, **_GROUPS
)
async def search_point_groups(call: Call) -> Encoded:
    return await answer_groups(call, as_groups(call.body))


@routes.add("POST", POINTS + "/recommend", summary="Points like examples", body=RecommendRequest, **_HITS)
async def recommend_points(call: Call) -> Encoded:
    return await answer(call, as_query(call.body), str)


@routes.add(
    "POST",
    POINTS + "/recommend/batch",
    summary="Several recommendations at once",
    body=RecommendRequestBatch,
    **_BATCHES,
)
async def recommend_batch_points(call: Call) -> Encoded:
    return await answer_batch(call, [as_query(search) for search in call.body.searches], str)


@routes.add(
    "POST",
    POINTS + "/recommend/groups",
    summary="Points like examples in groups",
    body=RecommendGroupsRequest,
    **_GROUPS,
)
async def recommend_point_groups(call: Call) -> Encoded:
    return await answer_groups(call, as_groups(call.body))


@routes.add(
    "POST", POINTS + "/discover", summary="Points near a target, among pairs of examples", body=DiscoverRequest, **_HITS
)
async def discover_points(call: Call) -> Encoded:
    return await answer(call, as_query(call.body), str)


@routes.add(
    "POST", POINTS + "/discover/batch", summary="Several discoveries at once", body=DiscoverRequestBatch, **_BATCHES
)
async def discover_batch_points(call: Call) -> Encoded:
    return await answer_batch(call, [as_query(search) for search in call.body.searches], str)
