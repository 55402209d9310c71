"""What older clients send to ``/points/search``, ``/recommend`` and ``/discover``: queries in an older shape."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from vdb.errors import BadRequest, MalformedBody, OutOfBounds
from vdb.model.conditions import Filter
from vdb.model.decode import AnotherNameOf
from vdb.model.groups import GroupBy, QueryGroupsRequest, WithLookupInterface
from vdb.model.points import ShardKey
from vdb.model.queries import (
    CountFromOne,
    CountFromZero,
    LookupLocation,
    QueryRequest,
    SearchParams,
    WithPayload,
    WithVector,
)
from vdb.model.query_kinds import (
    ContextInput,
    ContextQuery,
    DiscoverInput,
    DiscoverQuery,
    NearestQuery,
    RecommendInput,
    RecommendQuery,
    RecommendStrategy,
)
from vdb.model.vector_input import VectorInput, read_vector_input

# What stands for a vector in a search: numbers are checked here, the rest by ``read_vector_input``.
SearchVector = list[float | list[float]]


class NamedVector(msgspec.Struct, frozen=True, kw_only=True):
    """``vector`` is dense, sparse or multi."""

    name: str
    vector: SearchVector | dict[str, Any]


class OlderQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``top`` is the oldest name of ``limit``."""

    filter: Filter | None = None
    params: SearchParams | None = None
    limit: CountFromOne | None = None
    top: CountFromOne | None = None
    offset: CountFromZero | None = None
    with_payload: WithPayload | None = None
    with_vector: WithVector | None = None
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    score_threshold: float | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        if self.limit is None and self.top is None:
            raise ValueError("missing field `limit`")


class OlderGroups(msgspec.Struct, frozen=True, kw_only=True):
    """``limit`` counts groups."""

    group_by: GroupBy
    group_size: CountFromOne
    limit: CountFromOne
    filter: Filter | None = None
    params: SearchParams | None = None
    with_payload: WithPayload | None = None
    with_vector: WithVector | None = None
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    score_threshold: float | None = None
    with_lookup: WithLookupInterface | None = None
    shard_key: ShardKey | None = None


class SearchRequest(OlderQuery, frozen=True, kw_only=True):
    vector: SearchVector | NamedVector


class SearchGroupsRequest(OlderGroups, frozen=True, kw_only=True):
    vector: SearchVector | NamedVector


class RecommendRequest(OlderQuery, frozen=True, kw_only=True):
    positive: list[VectorInput] = []
    negative: list[VectorInput] = []
    strategy: RecommendStrategy | None = None
    using: str | None = None
    lookup_from: LookupLocation | None = None


class RecommendGroupsRequest(OlderGroups, frozen=True, kw_only=True):
    positive: list[VectorInput] = []
    negative: list[VectorInput] = []
    strategy: RecommendStrategy | None = None
    using: str | None = None
    lookup_from: LookupLocation | None = None


class DiscoverRequest(OlderQuery, frozen=True, kw_only=True):
    """Without ``target`` it is a context search."""

    target: VectorInput | None = None
    context: ContextInput | None = None
    using: str | None = None
    lookup_from: LookupLocation | None = None


class SearchRequestBatch(msgspec.Struct, frozen=True, kw_only=True):
    searches: list[SearchRequest]


class RecommendRequestBatch(msgspec.Struct, frozen=True, kw_only=True):
    searches: list[RecommendRequest]


class DiscoverRequestBatch(msgspec.Struct, frozen=True, kw_only=True):
    searches: list[DiscoverRequest]


def as_query(request: SearchRequest | RecommendRequest | DiscoverRequest) -> QueryRequest:
    """The same request in its newer shape; raises OutOfBounds and BadRequest for examples that are missing."""
    return QueryRequest(
        **_examples(request),
        filter=request.filter,
        params=request.params,
        limit=request.limit or request.top,
        offset=request.offset,
        with_payload=request.with_payload,
        with_vector=request.with_vector,
        score_threshold=request.score_threshold,
        shard_key=request.shard_key,
    )


def as_groups(request: SearchGroupsRequest | RecommendGroupsRequest) -> QueryGroupsRequest:
    """The same request in its newer shape; raises OutOfBounds for examples that are missing."""
    common = {name: getattr(request, name) for name in OlderGroups.__struct_fields__}
    return QueryGroupsRequest(**_examples(request), **common)


def _examples(
    request: SearchRequest | SearchGroupsRequest | RecommendRequest | RecommendGroupsRequest | DiscoverRequest,
) -> dict[str, Any]:
    """``query``, ``using`` and ``lookup_from``."""
    match request:
        case SearchRequest(vector=vector) | SearchGroupsRequest(vector=vector):
            name, values = (vector.name, vector.vector) if isinstance(vector, NamedVector) else (None, vector)
            if not values:
                raise OutOfBounds("vector", "value [] invalid, a vector must not be empty")
            try:
                nearest = read_vector_input(values)
            except ValueError as error:
                raise MalformedBody(f"vector: {error}") from error
            return {"query": NearestQuery(nearest=nearest), "using": name}
        case RecommendRequest() | RecommendGroupsRequest():
            examples = RecommendInput(positive=request.positive, negative=request.negative, strategy=request.strategy)
            query: RecommendQuery | DiscoverQuery | ContextQuery = RecommendQuery(recommend=examples)
        case DiscoverRequest(target=None, context=context):
            if not context:
                raise BadRequest("`target` or `context` must be given to discover points")
            query = ContextQuery(context=context)
        case DiscoverRequest(target=target, context=context):
            assert target is not None
            query = DiscoverQuery(discover=DiscoverInput(target=target, context=context))
    return {"query": query, "using": request.using, "lookup_from": request.lookup_from}
