"""Maximal marginal relevance: points that are near the query and unlike each other.

Each step takes the candidate of the largest λ · s(query) − (1 − λ) · max s(taken), λ = 1 − diversity; the first one is
the nearest. (J. Carbonell and J. Goldstein, The Use of MMR, SIGIR 1998.)
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Floats, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.similarity import similarities

DIVERSITY_DEFAULT: Final = 0.5


def diversify(
    space: VectorSpace, query: Floats, candidates: Floats, diversity: float, count: int, deadline: Deadline
) -> NDArray[np.int64]:
    """Positions of up to ``count`` of the ``(n, dim)`` candidates, in the order in which they are taken.

    Candidates stand with the nearest first. Raises DeadlineExceeded.
    """
    relevance = (1 - diversity) * similarities(space, query[None], candidates)[0].astype(np.float64)
    nearest_taken = np.full(len(candidates), -np.inf)
    left = np.ones(len(candidates), dtype=np.bool_)
    taken: list[int] = []
    for step in range(min(count, len(candidates))):
        deadline.check()
        worth = relevance if not step else relevance - diversity * nearest_taken
        # The first one is the nearest whatever the diversity: with nothing to be unlike, relevance alone decides.
        best = 0 if not step else int(np.argmax(np.where(left, worth, -np.inf)))
        taken.append(best)
        left[best] = False
        np.maximum(nearest_taken, similarities(space, candidates[best][None], candidates)[0], out=nearest_taken)
    return np.array(taken, dtype=np.int64)
