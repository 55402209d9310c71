"""Exact comparison of many vectors with several examples at once.

A **similarity** is what Qdrant's formulas over several examples are made of: the cosine or dot product, the negated
*square* of the Euclidean distance, the negated Manhattan distance. Larger is more alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.nearest import Scored
from vdb.query.view import VectorView
from vdb.segment.coded import CompareCodes, compare_codes
from vdb.segment.fields.bitmaps import bitmap_of
from vdb.segment.rows import RowNumbers, RowsView

Combine = Callable[[Floats], Floats]

_BLOCK_ROWS: Final = 8_192  # rows compared between two looks at the deadline
VALUES_MAX: Final = 1 << 22  # similarities held at once: a request may have as many examples as its body has room for
_CACHED_BYTES: Final = 1 << 20  # rows that are looked at once for each example: they stay in the second-level cache
# Codes are rough, and squared distances from products lose digits where vectors are near: so many of the best are
# compared again exactly, unless these are a large share of all.
_REFINED_FACTOR: Final = 4
_REFINED_MIN: Final = 64
_REFINED_SHARE: Final = 4
_LARGEST: Final = float(np.finfo(np.float32).max)


def similarities(space: VectorSpace, examples: Floats, block: NDArray[Any]) -> Floats:
    """``(k, dim)`` float32 with ``(n, dim)`` rows in the space's datatype: ``(k, n)`` float32, finite."""
    values = np.empty((len(examples), len(block)), dtype=np.float32)
    step = max(1, _CACHED_BYTES // max(1, 4 * space.dim))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(block), step):
            rows = block[start : start + step].astype(np.float32, copy=False)
            _compare(space, examples, rows, values[:, start : start + step])
    return _finite(values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Points ranked by ``combine(similarities)``: ``(k, n)`` → ``(n,)`` float32, larger is better.

    ``exact`` compares originals only; without it the codes of a graph choose the candidates.
    """

    space: VectorSpace
    examples: Floats
    combine: Combine
    exact: bool

    def best(
        self, segments: Sequence[RowsView], count: int, deadline: Deadline, allowed: BitMap | None = None
    ) -> Scored:
        """The ``count`` best, of ``allowed`` where it is given; scores are exact. Raises DeadlineExceeded."""
        return Scored.best([self._segment(segment, count, deadline, allowed) for segment in segments], count)

    def _segment(self, segment: RowsView, count: int, deadline: Deadline, allowed: BitMap | None) -> Scored:
        rows = None if allowed is None else segment.rows_among(allowed)
        length = segment.length if rows is None else len(rows)
        candidates = _REFINED_MIN + _REFINED_FACTOR * count
        rough = self._rough(segment) if candidates * _REFINED_SHARE < length else None
        compare = rough or self._exact(segment)
        values = np.empty(length, dtype=np.float32)
        step = rows_at_once(len(self.examples), _BLOCK_ROWS)
        for start in range(0, length, step):
            deadline.check()
            end = min(start + step, length)
            values[start:end] = self.combine(compare(slice(start, end) if rows is None else rows[start:end]))
        if rows is None and segment.alive is not None:
            values[~segment.alive[:length]] = -np.inf
            length = segment.alive_count
        best = segment.best(values, min(length, count if rough is None else candidates), rows)
        chosen = best if rows is None else rows[best]
        found = values[best]
        if rough is not None:
            found = self.combine(similarities(self.space, self.examples, segment.rows.gathered[chosen]))
            order = segment.best(found, count, chosen)
            chosen, found = chosen[order], found[order]
        return Scored(segment.rows.nums[chosen], found)

    def _exact(self, segment: RowsView) -> CompareCodes:
        def compare(chosen: slice | RowNumbers) -> Floats:
            block = segment.rows.matrix[chosen] if isinstance(chosen, slice) else segment.rows.gathered[chosen]
            return similarities(self.space, self.examples, block)

        return compare

    def _rough(self, segment: RowsView) -> CompareCodes | None:
        """What chooses candidates faster than originals are compared; None where nothing does."""
        graph = segment.rows.graph
        if graph is not None and not self.exact:
            by_codes = compare_codes(self.space, graph, segment.length, self.examples)
            if by_codes is not None:
                return by_codes
        if self.space.distance is not Distance.EUCLID:
            return None
        return lambda chosen: _squares_by_products(self.examples, segment.rows.matrix[chosen])


def rows_at_once(examples: int, most: int) -> int:
    """How many rows to compare at once with so many examples, ``most`` at most and one at least."""
    return max(1, min(most, VALUES_MAX // max(1, examples)))


def gather(vector: VectorView, nums: NDArray[np.uint32]) -> tuple[NDArray[np.int64], Floats]:
    """The vectors of those of ``nums`` that have one: their positions in ``nums``, and ``(m, dim)`` float32."""
    wanted = bitmap_of(nums)
    order = np.argsort(nums, kind="stable")
    ascending = nums[order]
    positions: list[NDArray[np.int64]] = []
    blocks: list[Floats] = []
    for segment in vector.segments:
        rows = segment.rows_among(wanted)
        positions.append(order[np.searchsorted(ascending, segment.rows.nums[rows])])
        blocks.append(segment.rows.gathered[rows].astype(np.float32, copy=False))
    if not blocks:
        return np.empty(0, dtype=np.int64), np.empty((0, vector.space.dim), dtype=np.float32)
    return np.concatenate(positions), np.concatenate(blocks)


def _compare(space: VectorSpace, examples: Floats, rows: Floats, values: Floats) -> None:
    """Writes ``(k, n)`` similarities. One product an example beats one of matrices while the rows are in the cache."""
    for place, example in enumerate(examples):
        match space.distance:
            case Distance.DOT | Distance.COSINE:
                np.dot(rows, example, out=values[place])
            case Distance.EUCLID:
                difference = rows - example
                values[place] = -np.einsum("ij,ij->i", difference, difference)
            case Distance.MANHATTAN:
                values[place] = -np.abs(rows - example).sum(axis=1)
    if space.distance is Distance.COSINE and not space.normalised:
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        products = np.sqrt(np.einsum("ij,ij->i", examples, examples))[:, None] * lengths
        products[products == 0] = 1.0
        values /= products


def _squares_by_products(examples: Floats, block: NDArray[Any]) -> Floats:
    """−|x − e|² as 2x·e − |x|² − |e|²: good enough to choose candidates, and no differences are written."""
    values = np.empty((len(examples), len(block)), dtype=np.float32)
    step = max(1, _CACHED_BYTES // max(1, 4 * examples.shape[1]))
    squares = np.einsum("ij,ij->i", examples, examples)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(block), step):
            rows = block[start : start + step].astype(np.float32, copy=False)
            part = values[:, start : start + step]
            for place, example in enumerate(examples):
                np.dot(rows, example, out=part[place])
            part *= 2
            part -= np.einsum("ij,ij->i", rows, rows)
            part -= squares
    return _finite(np.minimum(values, 0))


def _finite(values: Floats) -> Floats:
    """JSON has no infinity: what float32 cannot hold becomes its largest or smallest number."""
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
