"""Queries that ask for a model: everything in them that stands for a vector becomes one before they are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from vdb.inference import bm25
from vdb.inference.embedders import Embedders
from vdb.model.inference import Document, Image, InferenceInput, InferenceObject
from vdb.model.queries import QueryStage
from vdb.model.query_kinds import (
    ContextPair,
    ContextQuery,
    DiscoverInput,
    DiscoverQuery,
    FeedbackItem,
    NearestQuery,
    RecommendInput,
    RecommendQuery,
    RelevanceFeedbackInput,
    RelevanceFeedbackQuery,
)
from vdb.model.sparse import SparseVector

Stage = TypeVar("Stage", bound=QueryStage)
SHORT_CHARS: Final = 512  # 0.1 ms of the event loop
Change = Callable[[InferenceInput], Any]

# Where inputs can stand, so that filters and formulas are not looked through.
_HOLDERS: Final = (
    *(QueryStage, NearestQuery, RecommendQuery, RecommendInput, DiscoverQuery, DiscoverInput),
    *(ContextQuery, ContextPair, RelevanceFeedbackQuery, RelevanceFeedbackInput, FeedbackItem),
)
_FIELDS: Final = frozenset(
    {"prefetch", "query", "nearest", "recommend", "discover", "context", "relevance_feedback"}
    | {"positive", "negative", "target", "feedback", "example"}
)


def embedded(requests: Sequence[Stage], embedders: Embedders) -> Sequence[Stage]:
    """The requests with a vector in place of every text; raises BadRequest for models that the server does not have.

    All texts of a model are embedded together.
    """
    inputs: list[InferenceInput] = []

    def collect(given: InferenceInput) -> InferenceInput:
        inputs.append(given)
        return given

    for request in requests:
        _changed(request, collect)
    if not inputs:
        return requests
    vectors = iter([_as_input(vector) for vector in embedders.embed(inputs, "query")])
    return [_changed(request, lambda _: next(vectors)) for request in requests]


def embedded_if_short(request: Stage, embedders: Embedders) -> Stage:
    """``request`` with a vector in place of a few words for bm25, which takes less than a hop to a thread does."""
    query = request.query
    if not isinstance(query, NearestQuery) or not isinstance(query.nearest, Document):
        return request
    if query.nearest.model.lower() != bm25.NAME.lower() or len(query.nearest.text) > SHORT_CHARS:
        return request
    return embedded([request], embedders)[0]


def _as_input(vector: Any) -> Any:
    """A vector as it would have been decoded from a request."""
    return vector if isinstance(vector, SparseVector) else vector.tolist()


def _changed(value: Any, change: Change) -> Any:
    """``value`` with ``change`` applied to each input in it, always in the same order; itself where there is none."""
    if isinstance(value, (Document, Image, InferenceObject)):
        return change(value)
    if isinstance(value, _HOLDERS):
        changes: dict[str, Any] = {}
        for name in type(value).__struct_fields__:
            if name in _FIELDS and (held := getattr(value, name)) is not None:
                new = _changed(held, change)
                if new is not held:
                    changes[name] = new
        return msgspec.structs.replace(value, **changes) if changes else value
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], float):
        parts = type(value)(_changed(part, change) for part in value)
        return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    return value
