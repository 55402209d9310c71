"""Maximal marginal relevance: points that are near the query and unlike each other.

Each step takes the candidate of the largest λ · s(query) − (1 − λ) · max s(taken), λ = 1 − diversity; the first one is
the nearest. Of sparse vectors s is the dot product, without idf; of multivectors it is the candidate's MaxSim with what
is taken. (J. Carbonell and J. Goldstein, The Use of MMR, SIGIR 1998.)
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vdb.query.deadline import Deadline
from vdb.query.searchable import Gathered

DIVERSITY_DEFAULT: Final = 0.5

E = TypeVar("E")


def diversify(candidates: Gathered[E], query: E, diversity: float, count: int, deadline: Deadline) -> NDArray[np.int64]:
    """Which of the candidates, up to ``count`` of them, in the order in which they are taken.

    Candidates stand with the nearest first. Raises DeadlineExceeded.
    """
    similar = candidates.similarities(query).astype(np.float64)
    relevance = (1 - diversity) * similar
    nearest_taken = np.full(len(similar), -np.inf)
    left = np.ones(len(similar), dtype=np.bool_)
    taken: list[int] = []
    for step in range(min(count, len(similar))):
        deadline.check()
        # The first one is the nearest whatever the diversity: there is nothing yet to be unlike.
        worth = relevance - diversity * nearest_taken if step else similar
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        taken.append(best)
        left[best] = False
        np.maximum(nearest_taken, candidates.likeness(best), out=nearest_taken)
    return np.array(taken, dtype=np.int64)
