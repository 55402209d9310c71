"""The kinds of queries: one struct each, told by its key.

A query that was decoded is complete: its bounds hold and its formula compiles. What it names (points, vectors, other
collections) is looked up when it is run.
"""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from vdb.errors import OutOfBounds
from vdb.model.decode import convert_part
from vdb.model.formula import Expression, check_defaults
from vdb.model.order_by import OrderByInterface
from vdb.model.vector_input import VectorInput, read_vector_input, stands_for_vector

MMR_CANDIDATES_MAX: Final = 16_384
FEEDBACK_MAX: Final = 4_096  # every two items are a pair: twice as many take four times as long

# Bounds inside a query are checked here and not by msgspec, which cannot tell their place behind a custom type.
_Share = Annotated[float, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": 1})]
_Candidates = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": MMR_CANDIDATES_MAX})]
_FromOne = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]
_FromZero = Annotated[float, msgspec.Meta(extra_json_schema={"minimum": 0})]

RecommendStrategy = Literal["average_vector", "best_score", "sum_scores"]
Fusion = Literal["rrf", "dbsf"]
Sample = Literal["random"]


class Mmr(msgspec.Struct, frozen=True, kw_only=True):
    """Maximal marginal relevance: nearest points that are also unlike each other.

    ``diversity`` is 0.5 unless given; 0 is relevance alone. ``candidates_limit`` is the query's limit unless given.
    """

    diversity: _Share | None = None
    candidates_limit: _Candidates | None = None

    def __post_init__(self) -> None:
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise OutOfBounds("query.mmr.diversity", f"value {self.diversity} invalid, must be from 0 to 1")
        if self.candidates_limit is not None and not 0 <= self.candidates_limit <= MMR_CANDIDATES_MAX:
            raise OutOfBounds(
                "query.mmr.candidates_limit",
                f"value {self.candidates_limit} invalid, must be from 0 to {MMR_CANDIDATES_MAX}",
            )


class NearestQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The points nearest to a vector, or to the vector of a point."""

    nearest: VectorInput
    mmr: Mmr | None = None


class RecommendInput(msgspec.Struct, frozen=True, kw_only=True):
    """Examples to be near to, and examples to be far from."""

    positive: list[VectorInput] | None = None
    negative: list[VectorInput] | None = None
    strategy: RecommendStrategy | None = None

    def __post_init__(self) -> None:
        if not self.positive and not self.negative:
            raise OutOfBounds("query.recommend", "at least one positive or negative example must be provided")


class RecommendQuery(msgspec.Struct, frozen=True, kw_only=True):
    recommend: RecommendInput


class ContextPair(msgspec.Struct, frozen=True, kw_only=True):
    """Parts the space into what is nearer to one example and what is nearer to the other."""

    positive: VectorInput
    negative: VectorInput


if TYPE_CHECKING:
    ContextInput: TypeAlias = tuple[ContextPair, ...]
else:

    class ContextInput(metaclass=ABCMeta):  # noqa: B024
        """Pairs of examples; a single one may stand without its list."""

        alternatives: ClassVar[tuple[Any, ...]] = (ContextPair, list[ContextPair])

        @classmethod
        def decode(cls, value: Any) -> tuple[ContextPair, ...]:
            return convert_part(value if isinstance(value, list) else [value], tuple[ContextPair, ...])

    ContextInput.register(tuple)


class DiscoverInput(msgspec.Struct, frozen=True, kw_only=True):
    """The points nearest to ``target`` among those on the positive side of most pairs."""

    target: VectorInput
    context: ContextInput | None


class DiscoverQuery(msgspec.Struct, frozen=True, kw_only=True):
    discover: DiscoverInput


class ContextQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Points on the positive side of pairs of examples; 0 is the best score."""

    context: ContextInput | None


class OrderByQuery(msgspec.Struct, frozen=True, kw_only=True):
    order_by: OrderByInterface


class FusionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``rrf`` is reciprocal rank fusion, ``dbsf`` distribution-based score fusion."""

    fusion: Fusion


class Rrf(msgspec.Struct, frozen=True, kw_only=True):
    """``k`` is 2 unless given; ``weights`` has one entry for each prefetch."""

    k: _FromOne | None = None
    weights: list[float] | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise OutOfBounds("query.rrf.k", f"value {self.k} invalid, must be 1 or larger")


class RrfQuery(msgspec.Struct, frozen=True, kw_only=True):
    rrf: Rrf


class FormulaQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Scores computed from the scores of prefetches and from payloads.

    ``defaults`` maps variables to what counts where a point has none.
    """

    formula: Expression
    defaults: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_defaults(self.defaults)


class SampleQuery(msgspec.Struct, frozen=True, kw_only=True):
    sample: Sample


class FeedbackItem(msgspec.Struct, frozen=True, kw_only=True):
    """``score`` says how relevant a feedback model finds the example; larger is more relevant."""

    example: VectorInput
    score: float


class NaiveFeedbackStrategyParams(msgspec.Struct, frozen=True, kw_only=True):
    """score = a · similarity + Σ over pairs of confidence^b · c · delta."""

    a: float
    b: _FromZero
    c: float

    def __post_init__(self) -> None:
        if self.b < 0:
            raise OutOfBounds(
                "query.relevance_feedback.strategy.naive.b", f"value {self.b} invalid, must be 0 or larger"
            )


class NaiveFeedbackStrategy(msgspec.Struct, frozen=True, kw_only=True):
    naive: NaiveFeedbackStrategyParams


FeedbackStrategy = NaiveFeedbackStrategy


class RelevanceFeedbackInput(msgspec.Struct, frozen=True, kw_only=True):
    target: VectorInput
    feedback: list[FeedbackItem]
    strategy: FeedbackStrategy

    def __post_init__(self) -> None:
        if len(self.feedback) > FEEDBACK_MAX:
            raise OutOfBounds(
                "query.relevance_feedback.feedback", f"{len(self.feedback)} items, at most {FEEDBACK_MAX} are allowed"
            )


class RelevanceFeedbackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The points nearest to ``target``, drawn towards examples of high score and away from those of low score."""

    relevance_feedback: RelevanceFeedbackInput


VectorQuery = (
    NearestQuery | RecommendQuery | DiscoverQuery | ContextQuery | RelevanceFeedbackQuery
)  # those that compare vectors

_KINDS: Final[dict[str, type[msgspec.Struct]]] = {
    "nearest": NearestQuery,
    "recommend": RecommendQuery,
    "discover": DiscoverQuery,
    "context": ContextQuery,
    "order_by": OrderByQuery,
    "fusion": FusionQuery,
    "rrf": RrfQuery,
    "formula": FormulaQuery,
    "sample": SampleQuery,
    "relevance_feedback": RelevanceFeedbackQuery,
}

if TYPE_CHECKING:
    Query: TypeAlias = VectorQuery | OrderByQuery | FusionQuery | RrfQuery | FormulaQuery | SampleQuery
    QueryInterface: TypeAlias = Query
else:

    class Query:
        """A query by its one key."""

        alternatives: ClassVar[tuple[Any, ...]] = tuple(_KINDS.values())

    class QueryInterface(metaclass=ABCMeta):  # noqa: B024
        """A query, told by its shape: a vector, an id, or an object with one key."""

        alternatives: ClassVar[tuple[Any, ...]] = (VectorInput, Query)

        @classmethod
        def decode(cls, value: Any) -> msgspec.Struct:
            if not isinstance(value, dict):
                return NearestQuery(nearest=read_vector_input(value))
            for key, kind in _KINDS.items():
                if key in value:
                    return convert_part(value, kind)
            if stands_for_vector(value):
                return NearestQuery(nearest=read_vector_input(value))
            raise ValueError(f"Expected a vector, a point id or an object with one of {', '.join(_KINDS)}")

    for _kind in _KINDS.values():
        QueryInterface.register(_kind)
