"""Fusion: one ranking made of several.

reciprocal rank fusion
    Σ over rankings of 1 / (k + (r + 1) / w − 1), where r is the point's place in the ranking, from 0, and w the
    ranking's weight; 1 / (k + r) where nothing is weighted. A ranking of weight 0 counts nothing.
    (G. V. Cormack et al., Reciprocal Rank Fusion, SIGIR 2009, with places from 0 and k = 2; weights as in Qdrant's
    documentation, "Hybrid queries".)
distribution-based score fusion
    Σ over rankings of (s − (μ − 3σ)) / 6σ, with the mean μ and the sample standard deviation σ of the ranking's own
    scores; 0.5 where there is no deviation.
    (M. Mazzeschi, Distribution-Based Score Fusion, 2023.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdb.errors import BadRequest
from vdb.model.query_kinds import FusionQuery, RrfQuery
from vdb.query.hits import Hits

K_DEFAULT: Final = 2

Doubles = NDArray[np.float64]


def fuse(query: FusionQuery | RrfQuery, rankings: Sequence[Hits]) -> Hits:
    """All points of ``rankings``, best first; equal ones as they stand in the rankings. Raises BadRequest."""
    match query:
        case RrfQuery(rrf=params):
            k = K_DEFAULT if params.k is None else params.k
            return rrf(rankings, k, params.weights)
        case FusionQuery(fusion="rrf"):
            return rrf(rankings)
        case FusionQuery():
            return dbsf(rankings)


def rrf(rankings: Sequence[Hits], k: int = K_DEFAULT, weights: Sequence[float] | None = None) -> Hits:
    """Reciprocal rank fusion; raises BadRequest where there is not one weight for each ranking."""
    if weights is not None and len(weights) != len(rankings):
        raise BadRequest(
            f"`rrf.weights` must have one entry for each prefetch: expected {len(rankings)}, got {len(weights)}"
        )
    parts = [
        _reciprocals(len(ranking), float(k), 1.0 if weights is None else weights[place])
        for place, ranking in enumerate(rankings)
    ]
    return _summed(rankings, parts)


def dbsf(rankings: Sequence[Hits]) -> Hits:
    """Distribution-based score fusion."""
    return _summed(rankings, [_normalised(ranking.scores.astype(np.float64)) for ranking in rankings])


def _reciprocals(count: int, k: float, weight: float) -> Doubles:
    if weight <= 0:
        return np.zeros(count)
    places = np.arange(1, count + 1, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        below = k + places / weight - 1
        # A weight so large that k cannot hold it off: the limit is a large score, and JSON has no infinity.
        return np.where(below > 0, 1 / np.where(below > 0, below, 1), np.float64(np.finfo(np.float32).max))


def _normalised(scores: Doubles) -> Doubles:
    deviation = scores.std(ddof=1) if len(scores) > 1 else 0.0
    if deviation == 0:
        return np.full(len(scores), 0.5)
    shifted: Doubles = (scores - scores.mean()) / (6 * deviation) + 0.5
    return shifted


def _summed(rankings: Sequence[Hits], parts: Sequence[Doubles]) -> Hits:
    """A point that stands twice in one ranking, once for each value of the field that orders it, counts once there."""
    nums_of, values_of = [], []
    for ranking, values in zip(rankings, parts, strict=True):
        _, first = np.unique(ranking.nums, return_index=True)
        first.sort()
        nums_of.append(ranking.nums[first])
        values_of.append(values[first])
    nums, first, inverse = np.unique(np.concatenate(nums_of), return_index=True, return_inverse=True)
    sums = np.bincount(inverse, weights=np.concatenate(values_of), minlength=len(nums))
    scores = np.minimum(sums, float(np.finfo(np.float32).max)).astype(np.float32)
    order = np.lexsort((first, -scores))
    return Hits(nums[order], scores[order])
