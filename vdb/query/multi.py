"""The points whose multivectors are nearest to a multivector: MaxSim, exact.

The goodness of a point is the sum, over the vectors of the query, of the best goodness that any of the point's vectors
has with it (Khattab and Zaharia, "ColBERT", 2020).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pyroaring import BitMap

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.nearest import Scored
from vdb.query.view import VectorView
from vdb.segment.distance import goodness, top
from vdb.segment.rows import RowsView

_BLOCK_ROWS: Final = 8_192  # rows compared at once: their products with 32 query vectors take a megabyte


def search_multi(
    vector: VectorView, query: Floats, count: int, deadline: Deadline, allowed: BitMap | None = None
) -> Scored:
    """The ``count`` best points for ``(tokens, dim)`` float32; of ``allowed`` where it is given."""
    parts = []
    for segment in vector.segments:
        scored = score_segment(segment, vector.space, query, deadline, allowed)
        best = top(scored.goodness, count)
        parts.append(Scored(scored.nums[best], scored.goodness[best]))
    return Scored.best(parts, count)


def score_segment(
    segment: RowsView, space: VectorSpace, query: Floats, deadline: Deadline, allowed: BitMap | None
) -> Scored:
    """All living points of a segment, of ``allowed`` where it is given, in the order of their rows."""
    rows = segment.alive_rows() if allowed is None else segment.rows_among(allowed)
    if not len(rows):
        return Scored.none()
    nums = segment.rows.nums[rows]
    firsts = np.flatnonzero(np.append(True, nums[1:] != nums[:-1]))
    ends = np.append(firsts[1:], len(rows))
    values = np.empty(len(firsts), dtype=np.float32)
    start = 0
    while start < len(firsts):
        deadline.check()
        end = max(start + 1, int(np.searchsorted(ends, firsts[start] + _BLOCK_ROWS, side="right")))
        block = segment.rows.matrix[rows[firsts[start] : ends[end - 1]]]
        similar = _compare(space, query, block)
        values[start:end] = np.maximum.reduceat(similar, firsts[start:end] - firsts[start], axis=0).sum(axis=1)
        start = end
    return Scored(nums[firsts], values)


def _compare(space: VectorSpace, query: Floats, block: Floats) -> Floats:
    """The goodness of each row with each query vector: ``(rows, tokens)`` float32."""
    if space.distance in (Distance.DOT, Distance.COSINE) and (space.distance is Distance.DOT or space.normalised):
        products: Floats = block.astype(np.float32, copy=False) @ query.T
        return products
    return np.stack([goodness(space, token, block) for token in query], axis=1)
