"""What REST answers about points. Answers are written as JSON text directly; these structs describe them."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from vdb.model.bounds import Count
from vdb.model.ids import RequestId
from vdb.model.sparse import SparseVector

ShardKey = str | Count


class VectorOutput:
    """One vector of a point: dense, sparse or multi."""

    alternatives: ClassVar[tuple[Any, ...]] = (list[float], SparseVector, list[list[float]])


class VectorStructOutput:
    """The unnamed vector of a point, or its named ones."""

    alternatives: ClassVar[tuple[Any, ...]] = (list[float], list[list[float]], dict[str, VectorOutput])


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: RequestId
    payload: dict[str, Any] | None = None
    vector: VectorStructOutput | None = None
    shard_key: ShardKey | None = None
    order_value: int | float | None = None


class ScoredPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: RequestId
    version: Count
    score: float
    payload: dict[str, Any] | None = None
    vector: VectorStructOutput | None = None
    shard_key: ShardKey | None = None
    order_value: int | float | None = None


class QueryResponse(msgspec.Struct, frozen=True, kw_only=True):
    points: list[ScoredPoint]


class PointGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``lookup`` is the point of another collection whose id is the group's."""

    hits: list[ScoredPoint]
    id: str | int
    lookup: Record | None = None


class GroupsResult(msgspec.Struct, frozen=True, kw_only=True):
    groups: list[PointGroup]


class SearchMatrixPair(msgspec.Struct, frozen=True, kw_only=True):
    a: RequestId
    b: RequestId
    score: float


class SearchMatrixPairsResponse(msgspec.Struct, frozen=True, kw_only=True):
    pairs: list[SearchMatrixPair]


class SearchMatrixOffsetsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """``offsets_row`` and ``offsets_col`` are positions in ``ids``, one of each for every score."""

    offsets_row: list[Count]
    offsets_col: list[Count]
    scores: list[float]
    ids: list[RequestId]


class ScrollResult(msgspec.Struct, frozen=True, kw_only=True):
    points: list[Record]
    next_page_offset: RequestId | None


class FacetValueHit(msgspec.Struct, frozen=True, kw_only=True):
    value: str | int | bool
    count: Count


class FacetResponse(msgspec.Struct, frozen=True, kw_only=True):
    hits: list[FacetValueHit]


class CountResult(msgspec.Struct, frozen=True, kw_only=True):
    count: Count
