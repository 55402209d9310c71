"""What queries over several examples make of similarities: Qdrant's published formulas.

=====================  =================================================================================================
query                  score of a point, with s(e) its similarity to an example
=====================  =================================================================================================
recommend best_score   σ(max s(positive)) where that is larger than max s(negative), −σ(max s(negative)) otherwise
recommend sum_scores   Σ s(positive) − Σ s(negative)
discover               σ(s(target)) + Σ over pairs of sign(s(positive) − s(negative))
context                Σ over pairs of f(min(s(positive) − s(negative) − ε, 0))
relevance_feedback     a · s(target) + Σ over pairs of confidence^b · c · (s(positive) − s(negative)); any two items of
                       unequal score are a pair, and the difference of their scores is its confidence
=====================  =================================================================================================

f(x) = x / (1 + |x|) and σ(x) = (f(x) + 1) / 2 keep the order of scores and their signs, and bound them: a best_score
from a negative example is below every one from a positive example, and the place among the pairs of a context comes
before the nearness to the target. Sources: Qdrant's documentation, "Explore the data" and "Search relevance"; the
squashing of best_score and context was observed in answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vdb.model.query_kinds import (
    ContextPair,
    ContextQuery,
    DiscoverQuery,
    FeedbackItem,
    NaiveFeedbackStrategyParams,
    RecommendQuery,
    RelevanceFeedbackQuery,
)
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Floats

_MARGIN: Final = np.float32(1.1920929e-07)  # float32's epsilon: on the border is not on the positive side

Combine = Callable[[Floats], Floats]
ExampleQuery = RecommendQuery | DiscoverQuery | ContextQuery | RelevanceFeedbackQuery


@dataclass(frozen=True, slots=True)
class Scoring:
    """``combine`` makes ``(n,)`` float32 scores, larger is better, of ``(k, n)`` similarities to ``examples``."""

    examples: Sequence[VectorInput]
    combine: Combine


def scoring(query: ExampleQuery) -> Scoring:
    """The scoring of a query over several examples; ``average_vector`` is none."""
    match query:
        case RecommendQuery(recommend=given):
            positive, negative = given.positive or [], given.negative or []
            if given.strategy == "sum_scores":
                return _weighted([*positive, *negative], [1.0] * len(positive) + [-1.0] * len(negative))
            return Scoring([*positive, *negative], _best_score(len(positive)))
        case DiscoverQuery(discover=asked):
            return Scoring([asked.target, *_examples(asked.context or ())], _discover)
        case ContextQuery(context=context):
            return Scoring(_examples(context or ()), _context)
        case RelevanceFeedbackQuery(relevance_feedback=feedback):
            items = feedback.feedback
            weights = _feedback_weights(items, feedback.strategy.naive)
            return _weighted([feedback.target, *(item.example for item in items)], weights)


def squash(values: Floats) -> Floats:
    """x / (1 + |x|): −1 … 1, in the order of the values."""
    squashed: Floats = values / (1 + np.abs(values))
    return squashed


def sigmoid(values: Floats) -> Floats:
    """``squash`` moved to 0 … 1."""
    moved: Floats = (squash(values) + np.float32(1)) * np.float32(0.5)
    return moved


def _examples(pairs: Sequence[ContextPair]) -> list[VectorInput]:
    return [example for pair in pairs for example in (pair.positive, pair.negative)]


def _weighted(examples: Sequence[VectorInput], weights: Sequence[float]) -> Scoring:
    with np.errstate(over="ignore"):
        factors = np.nan_to_num(np.array(weights, dtype=np.float32))
    return Scoring(examples, lambda similar: _finite_product(factors, similar))


def _finite_product(weights: Floats, similar: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        scores: Floats = np.nan_to_num(weights @ similar)
    return scores


def _best_score(positives: int) -> Combine:
    def combine(similar: Floats) -> Floats:
        positive = similar[:positives].max(axis=0, initial=-np.inf)
        negative = similar[positives:].max(axis=0, initial=-np.inf)
        good = positive > negative
        scores = sigmoid(np.where(good, positive, negative))
        return np.where(good, scores, -scores)

    return combine


def _discover(similar: Floats) -> Floats:
    ranks = np.sign(similar[1::2] - similar[2::2]).sum(axis=0)
    scores: Floats = ranks + sigmoid(similar[0])
    return scores


def _context(similar: Floats) -> Floats:
    losses = np.minimum(similar[0::2] - similar[1::2] - _MARGIN, np.float32(0))
    scores: Floats = squash(losses).sum(axis=0)
    return scores


def _feedback_weights(items: Sequence[FeedbackItem], params: NaiveFeedbackStrategyParams) -> list[float]:
    """What each similarity counts, the target's first: the sum over pairs is linear in them."""
    scores = np.array([item.score for item in items], dtype=np.float64)
    weights = [params.a]
    with np.errstate(over="ignore", invalid="ignore"):
        for score in scores:
            confidences = score - scores
            pairs = np.sign(confidences) * np.minimum(np.abs(confidences) ** params.b, np.finfo(np.float32).max)
            weights.append(float((pairs * params.c).sum()))
    return weights
