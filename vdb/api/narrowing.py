"""Requests of clients that may see some points of a collection only: rewritten so that they are about those.

A token may carry a filter for a collection (``Call.only``). Routes that are ``filtered`` put it into whatever selects
points; what cannot be filtered is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec

from vdb.errors import Forbidden, PointNotFound
from vdb.model.conditions import Conditions, Filter, HasIdCondition
from vdb.model.ids import PointId
from vdb.model.matrix import SearchMatrixRequest
from vdb.model.points import DeleteVectorsRequest, PointsSelector
from vdb.model.queries import CountRequest, FacetRequest, IdfCorpusParams, QueryStage, ScrollRequest, SearchParams
from vdb.model.query_kinds import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    NearestQuery,
    RecommendQuery,
    RelevanceFeedbackQuery,
)
from vdb.model.vector_params import UNNAMED
from vdb.query.deadline import Deadline
from vdb.query.selection import select
from vdb.query.view import View
from vdb.storage import points

Filtered = TypeVar("Filtered", ScrollRequest, CountRequest, FacetRequest, SearchMatrixRequest)
Stage = TypeVar("Stage", bound=QueryStage)
Selector = TypeVar("Selector", PointsSelector, DeleteVectorsRequest)


def narrow(request: Filtered, only: Filter | None) -> Filtered:
    """``request`` about those of its points that match ``only``."""
    return request if only is None else msgspec.structs.replace(request, filter=_both(request.filter, only))


def narrow_query(stage: Stage, only: Filter | None, view: View) -> Stage:
    """A query and its prefetches; raises Forbidden for the id of a point, whose vector the answer would tell about.

    Weights by document frequency are counted in the visible points too: scores would tell of the others.
    """
    if only is None:
        return stage
    if stage.lookup_from is None and _names_points(stage.query):
        raise Forbidden("Access to all points of the collection is required to query by the id of a point")
    prefetches = [narrow_query(prefetch, only, view) for prefetch in stage.prefetches]
    params = stage.params
    sparse = view.sparse.get(stage.using or UNNAMED)
    if sparse is not None and sparse.space.idf:
        params = params or SearchParams()
        given = params.idf.corpus if isinstance(params.idf, IdfCorpusParams) else None
        params = msgspec.structs.replace(params, idf=IdfCorpusParams(corpus=_both(given, only)))
    return msgspec.structs.replace(stage, filter=_both(stage.filter, only), prefetch=prefetches or None, params=params)


def narrow_selector(request: Selector, only: Filter | None) -> Selector:
    """A selection of points by ids or by filter; where it gives both, the ids decide."""
    if only is None:
        return request
    chosen = request.filter
    if request.points is not None:
        chosen = Filter(must=Conditions((HasIdCondition(has_id=tuple(request.points)),)))
    return msgspec.structs.replace(request, points=None, filter=_both(chosen, only))


def narrow_ids(
    view: View, connection: sqlite3.Connection, ids: Sequence[PointId], only: Filter | None, deadline: Deadline
) -> Sequence[PointId]:
    """Those of ``ids`` whose points match ``only``."""
    if only is None:
        return ids
    visible = select(view, connection, only, deadline)
    nums = points.find(connection, ids)
    return [point_id for point_id in ids if point_id in nums and nums[point_id] in visible]


def require_visible(
    view: View, connection: sqlite3.Connection, point_id: PointId, only: Filter | None, deadline: Deadline
) -> None:
    """Raises PointNotFound for a point that does not match ``only``."""
    if not narrow_ids(view, connection, [point_id], only, deadline):
        raise PointNotFound(point_id)


def _both(filter: Filter | None, only: Filter) -> Filter:
    return only if filter is None else Filter(must=Conditions((only, filter)))


def _names_points(query: object) -> bool:
    """Whether one of the examples of a query is the id of a point."""
    match query:
        case NearestQuery(nearest=nearest):
            return _is_id(nearest)
        case RecommendQuery(recommend=examples):
            return _any_id([*(examples.positive or ()), *(examples.negative or ())])
        case DiscoverQuery(discover=discover):
            return _is_id(discover.target) or _any_pair(discover.context)
        case ContextQuery(context=context):
            return _any_pair(context)
        case RelevanceFeedbackQuery(relevance_feedback=feedback):
            return _any_id([feedback.target, *(item.example for item in feedback.feedback)])
        case _:
            return False


def _any_pair(context: Collection[ContextPair] | None) -> bool:
    return any(_any_id([pair.positive, pair.negative]) for pair in context or ())


def _any_id(inputs: Collection[object]) -> bool:
    return any(map(_is_id, inputs))


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str))
