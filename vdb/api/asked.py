"""What a request asks for, whatever its kind: the filters, limits and amounts that strict mode judges.

Requests are told apart by the type of their decoded body, as the table of routes names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vdb.model.conditions import Condition, Conditions, Filter
from vdb.model.field_index import CreateFieldIndex
from vdb.model.groups import GROUP_SIZE_DEFAULT, GROUPS_DEFAULT, QueryGroupsRequest
from vdb.model.ids import PointId, parse_point_id
from vdb.model.matrix import NEIGHBOURS_DEFAULT, SAMPLE_DEFAULT, SearchMatrixRequest
from vdb.model.older_queries import (
    DiscoverRequestBatch,
    OlderGroups,
    OlderQuery,
    RecommendRequestBatch,
    SearchRequestBatch,
)
from vdb.model.point_batch import PointBatch
from vdb.model.points import (
    DeletePayloadRequest,
    DeleteVectorsRequest,
    PointInsertOperations,
    PointsSelector,
    SetPayloadRequest,
    UpdateOperation,
    UpdateOperations,
    UpdateVectorsRequest,
)
from vdb.model.queries import (
    LIMIT_DEFAULT,
    CountRequest,
    FacetRequest,
    PointRequest,
    QueryRequest,
    QueryRequestBatch,
    QueryStage,
    ScrollRequest,
    SearchParams,
)
from vdb.model.query_kinds import FormulaQuery
from vdb.model.vector_params import UNNAMED, DenseVectorNameConfig, SparseVectorNameConfig


@dataclass(slots=True)
class Reading:
    """``limit`` is the largest number of points that a part of the request asks for; ``searches`` those of a batch.

    ``cost`` is what it takes from the rate limit: 1 for every search of it, its prefetches among them.
    """

    filters: list[Filter] = field(default_factory=list)
    params: list[SearchParams] = field(default_factory=list)
    limit: int = 0
    searches: int = 0
    cost: int = 1


@dataclass(slots=True)
class Writing:
    """``points`` are the ids of each upsert or update of vectors, ``ids`` those that may come to be.

    ``consumes`` is False for what can only free memory and disk. ``vectors`` gives values as they were sent, with their
    names, to whoever asks for them.
    """

    filters: list[Filter] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    ids: list[PointId] = field(default_factory=list)
    vectors: list[Iterator[tuple[str, Any]]] = field(default_factory=list)
    consumes: bool = False
    cost: int = 1


def reading(body: Any) -> Reading:
    """What a request that reads asks for; ``body`` is None for the point in a path."""
    asked = Reading()
    match body:
        case QueryRequestBatch(searches=searches):
            _searches(asked, searches)
        case SearchRequestBatch(searches=older) | RecommendRequestBatch(searches=older):
            _searches(asked, older)
        case DiscoverRequestBatch(searches=older):
            _searches(asked, older)
        case PointRequest(ids=ids):
            asked.cost = max(1, len(ids))
        case SearchMatrixRequest(filter=filter, sample=sample, limit=limit):
            sampled = sample or SAMPLE_DEFAULT
            asked.limit = sampled * (limit or NEIGHBOURS_DEFAULT)
            asked.cost = 1 + sampled
            _add(asked.filters, filter)
        case ScrollRequest(filter=filter, limit=limit) | FacetRequest(filter=filter, limit=limit):
            asked.limit = limit or LIMIT_DEFAULT
            _add(asked.filters, filter)
        case CountRequest(filter=filter):
            _add(asked.filters, filter)
        case None:
            pass
        case _:
            asked.cost = _search(asked, body)
    return asked


def _searches(asked: Reading, searches: Sequence[QueryRequest] | Sequence[OlderQuery]) -> None:
    asked.searches = len(searches)
    asked.cost = sum(_search(asked, search) for search in searches)


def _search(asked: Reading, search: Any) -> int:
    """Adds one search and its prefetches; returns how many searches these are."""
    match search:
        case QueryStage():
            return _stages(asked, search)
        case OlderGroups(limit=limit, group_size=group_size):
            asked.limit = max(asked.limit, limit * group_size)
        case OlderQuery():
            asked.limit = max(asked.limit, search.limit or search.top or LIMIT_DEFAULT)
        case _:
            raise AssertionError(f"unknown request {type(search).__name__}")
    _add(asked.filters, search.filter)
    _add(asked.params, search.params)
    return 1


def _stages(asked: Reading, request: QueryStage) -> int:
    level: Sequence[QueryStage] = [request]
    count = 0
    while level:
        for stage in level:
            count += 1
            asked.limit = max(asked.limit, _limit_of(stage))
            _add(asked.filters, stage.filter)
            _add(asked.params, stage.params)
            if isinstance(stage.query, FormulaQuery):
                conditions = Conditions(_conditions_in(stage.query.formula))
                _add(asked.filters, Filter(must=conditions) if conditions else None)
        level = [prefetch for stage in level for prefetch in stage.prefetches]
    return count


def _limit_of(stage: QueryStage) -> int:
    if isinstance(stage, QueryGroupsRequest):
        return (stage.limit or GROUPS_DEFAULT) * (stage.group_size or GROUP_SIZE_DEFAULT)
    limit: int | None = getattr(stage, "limit", None)
    return limit or LIMIT_DEFAULT


def _conditions_in(expression: Any) -> Iterator[Condition]:
    """The conditions of a formula, whose depth is bounded."""
    match expression:
        case Condition():
            yield expression
        case list():
            for item in expression:
                yield from _conditions_in(item)
        case msgspec.Struct():
            for name in expression.__struct_fields__:
                yield from _conditions_in(getattr(expression, name))


def writing(body: Any) -> Writing:
    """What a request that writes asks for; ``body`` is None where the path says it all."""
    asked = Writing()
    if isinstance(body, UpdateOperations):
        asked.cost = max(1, len(body.operations))
        for operation in body.operations:
            _write(asked, _only(operation))
    else:
        _write(asked, body)
    return asked


def _only(operation: UpdateOperation) -> Any:
    """The one request that an operation of a batch holds."""
    return next(value for name in operation.__struct_fields__ if (value := getattr(operation, name)) is not None)


def _write(asked: Writing, body: Any) -> None:
    match body:
        case PointBatch():
            asked.batches.append(len(body.ids))
            asked.ids.extend(body.ids)
            asked.vectors.append(
                (name, value) for name, column in body.columns.items() for block in column.blocks for value in block
            )
            asked.consumes = True
            _add(asked.filters, body.update_filter)
        case PointInsertOperations():
            ids = [parse_point_id(point_id) for point_id in _inserted(body)]
            asked.batches.append(len(ids))
            asked.ids.extend(ids)
            asked.vectors.append(_inserted_vectors(body))
            asked.consumes = True
            _add(asked.filters, body.update_filter)
        case UpdateVectorsRequest(points=points, update_filter=filter):
            asked.batches.append(len(points))
            asked.vectors.append(entry for point in points for entry in _named(point.vector))
            asked.consumes = True
            _add(asked.filters, filter)
        case SetPayloadRequest(filter=filter):
            asked.consumes = True
            _add(asked.filters, filter)
        case PointsSelector(filter=filter) | DeleteVectorsRequest(filter=filter) | DeletePayloadRequest(filter=filter):
            _add(asked.filters, filter)
        case CreateFieldIndex() | DenseVectorNameConfig() | SparseVectorNameConfig() | None:
            pass  # about no points
        case _:
            raise AssertionError(f"unknown request {type(body).__name__}")


def _inserted(request: PointInsertOperations) -> Iterable[int | str]:
    if request.points is not None:
        return [point.id for point in request.points]
    return request.batch.ids if request.batch is not None else []


def _inserted_vectors(request: PointInsertOperations) -> Iterator[tuple[str, Any]]:
    for point in request.points or ():
        yield from _named(point.vector)
    if request.batch is not None:
        columns = request.batch.vectors
        for name, values in (columns if isinstance(columns, dict) else {UNNAMED: columns}).items():
            yield from ((name, value) for value in values)


def _named(vector: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(vector, dict):
        yield from vector.items()
    else:
        yield UNNAMED, vector


def _add(values: list[Any], value: Any) -> None:
    if value is not None:
        values.append(value)
