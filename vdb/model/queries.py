"""Requests that read points."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from vdb.errors import BadRequest
from vdb.model.conditions import Filter
from vdb.model.decode import AnotherNameOf, convert_part
from vdb.model.ids import RequestId
from vdb.model.order_by import OrderByInterface
from vdb.model.points import ShardKey, refuse_shard_key
from vdb.model.query_kinds import QueryInterface

CountFromOne = Annotated[int, msgspec.Meta(ge=1)]
CountFromZero = Annotated[int, msgspec.Meta(ge=0)]

LIMIT_DEFAULT: Final = 10
# Qdrant's parser refuses JSON deeper than 128; a prefetch in the list of another is two levels of it.
PREFETCH_DEPTH_MAX: Final = 64


class PayloadSelectorInclude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``include`` names JSON paths."""

    include: list[str]


class PayloadSelectorExclude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``exclude`` names JSON paths."""

    exclude: list[str]


if TYPE_CHECKING:
    WithPayload: TypeAlias = bool | list[str] | PayloadSelectorInclude | PayloadSelectorExclude
else:

    class WithPayload(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """Whether to answer payloads, and which parts of them."""

        alternatives: ClassVar[tuple[Any, ...]] = (bool, list[str], PayloadSelectorInclude, PayloadSelectorExclude)

        @classmethod
        def decode(cls, value: Any) -> bool | list[str] | PayloadSelectorInclude | PayloadSelectorExclude:
            match value:
                case bool():
                    return value
                case list() if all(isinstance(path, str) for path in value):
                    return value
                case {"include": list() as paths} if len(value) == 1 and all(isinstance(path, str) for path in paths):
                    return PayloadSelectorInclude(paths)
                case {"exclude": list() as paths} if len(value) == 1 and all(isinstance(path, str) for path in paths):
                    return PayloadSelectorExclude(paths)
            raise ValueError("Expected a bool, an array of keys, or an object with `include` or `exclude`")

    for _kind in (bool, list, PayloadSelectorInclude, PayloadSelectorExclude):
        WithPayload.register(_kind)

WithVector = bool | list[str]


class QuantizationSearchParams(msgspec.Struct, frozen=True, kw_only=True):
    ignore: bool = False
    rescore: bool | None = None
    oversampling: Annotated[float, msgspec.Meta(ge=1)] | None = None


class AcornSearchParams(msgspec.Struct, frozen=True, kw_only=True):
    """A hint for graphs under filters: filtered searches here find everything that matches with it and without."""

    enable: bool = False
    max_selectivity: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class IdfCorpusParams(msgspec.Struct, frozen=True, kw_only=True):
    """Document frequencies are counted in the points that match ``corpus``."""

    corpus: Filter


IdfScope = Literal["global"]

if TYPE_CHECKING:
    IdfParams: TypeAlias = IdfScope | IdfCorpusParams
else:

    class IdfParams(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """In which points the dimensions of sparse vectors are counted: ``global`` is in all of them."""

        alternatives: ClassVar[tuple[Any, ...]] = (IdfScope, IdfCorpusParams)

        @classmethod
        def decode(cls, value: Any) -> str | IdfCorpusParams:
            if isinstance(value, dict):
                return convert_part(value, IdfCorpusParams)
            if value == "global":
                return value
            raise ValueError('Expected "global", or an object with `corpus`')

    for _kind in (str, IdfCorpusParams):
        IdfParams.register(_kind)


class SearchParams(msgspec.Struct, frozen=True, kw_only=True):
    """``hnsw_ef`` is the width of the search in a graph; ``exact`` compares with every vector."""

    hnsw_ef: CountFromOne | None = None
    exact: bool = False
    quantization: QuantizationSearchParams | None = None
    indexed_only: bool = False
    acorn: AcornSearchParams | None = None
    idf: IdfParams | None = None


class LookupLocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the vectors of ids are looked up: another collection, and the name of a vector there."""

    collection: str
    vector: str | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)


class QueryStage(msgspec.Struct, frozen=True, kw_only=True):
    """What a query and its prefetches have in common; without ``query`` the points in the order of their ids."""

    prefetch: Prefetch | list[Prefetch] | None = None
    query: QueryInterface | None = None
    using: str | None = None
    filter: Filter | None = None
    params: SearchParams | None = None
    score_threshold: float | None = None
    lookup_from: LookupLocation | None = None

    @property
    def prefetches(self) -> Sequence[Prefetch]:
        """The prefetches, none, one or several."""
        if self.prefetch is None:
            return ()
        return self.prefetch if isinstance(self.prefetch, list) else (self.prefetch,)


class Prefetch(QueryStage, frozen=True, kw_only=True):
    """A query whose hits another one ranks anew."""

    limit: CountFromOne | None = None


class QueryRequest(QueryStage, frozen=True, kw_only=True):
    limit: CountFromOne | None = None
    offset: CountFromZero | None = None
    with_vector: WithVector | None = None
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    with_payload: WithPayload | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        if self.prefetch is not None:
            check_depth(self)


class QueryRequestBatch(msgspec.Struct, frozen=True, kw_only=True):
    searches: list[QueryRequest]


def check_depth(request: QueryStage) -> None:
    """Raises BadRequest for prefetches nested deeper than ``PREFETCH_DEPTH_MAX``, so that recursion is safe."""
    level: Sequence[QueryStage] = [request]
    for _ in range(PREFETCH_DEPTH_MAX + 1):
        level = [prefetch for stage in level for prefetch in stage.prefetches]
        if not level:
            return
    raise BadRequest(f"prefetch is nested too deep, at most {PREFETCH_DEPTH_MAX} levels are allowed")


def lookup_names(request: QueryStage) -> frozenset[str]:
    """The collections that a query and its prefetches look vectors up in."""
    if request.prefetch is None:
        return frozenset() if request.lookup_from is None else frozenset((request.lookup_from.collection,))
    names: set[str] = set()
    level: Sequence[QueryStage] = [request]
    while level:
        names.update(stage.lookup_from.collection for stage in level if stage.lookup_from is not None)
        level = [prefetch for stage in level for prefetch in stage.prefetches]
    return frozenset(names)


class PointRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Points by id. Payloads are answered unless told otherwise."""

    ids: list[RequestId]
    with_payload: WithPayload | None = None
    with_vector: WithVector = False
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)


class ScrollRequest(msgspec.Struct, frozen=True, kw_only=True):
    offset: RequestId | None = None
    limit: CountFromOne | None = None
    filter: Filter | None = None
    with_payload: WithPayload | None = None
    with_vector: WithVector = False
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    order_by: OrderByInterface | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)


class CountRequest(msgspec.Struct, frozen=True, kw_only=True):
    filter: Filter | None = None
    exact: bool = True
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)


class FacetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are exact, with ``exact`` and without."""

    key: str
    limit: CountFromOne | None = None
    filter: Filter | None = None
    exact: bool | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
