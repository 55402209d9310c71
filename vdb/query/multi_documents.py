"""The points of a segment whose vectors are multivectors, and where the rows of each lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.query.max_sim import Positions
from vdb.segment.rows import RowNumbers, RowsView


@dataclass(frozen=True, slots=True)
class Documents:
    """The living points of a segment: those at ``rows``, or at all rows, where the i-th begins at ``firsts[i]``."""

    segment: RowsView
    rows: RowNumbers | None
    nums: NDArray[np.uint32]
    firsts: Positions
    length: int

    @classmethod
    def of_segment(cls, segment: RowsView, allowed: BitMap | None) -> Documents:
        """Of ``allowed``, where it is given. The rows of a point follow each other."""
        rows = None
        nums = segment.rows.nums[: segment.length]
        if allowed is not None or segment.alive is not None:
            rows = segment.alive_rows() if allowed is None else segment.rows_among(allowed)
            nums = nums[rows]
        firsts = np.flatnonzero(nums[1:] != nums[:-1]) + 1
        firsts = np.concatenate([np.zeros(min(len(nums), 1), dtype=np.int64), firsts])
        return cls(segment, rows, nums[firsts], firsts, len(nums))

    @property
    def ends(self) -> Positions:
        """Where each point ends; as long as ``firsts``, also where that is empty."""
        return np.append(self.firsts[1:], self.length)[: len(self.firsts)]

    def chosen(self, points: Positions) -> Documents:
        """Some of the points, ascending."""
        lengths = self.ends[points] - self.firsts[points]
        firsts = np.concatenate([np.zeros(min(len(points), 1), dtype=np.int64), np.cumsum(lengths)[:-1]])
        places = np.repeat(self.firsts[points] - firsts, lengths) + np.arange(lengths.sum())
        rows = places if self.rows is None else self.rows[places]
        return Documents(self.segment, rows, self.nums[points], firsts, len(rows))

    def points_at(self, rows: RowNumbers) -> Positions:
        """Which of these points each of some rows of the segment belongs to, −1 for a row that does not count."""
        if self.rows is None:
            return np.searchsorted(self.firsts, rows, side="right") - 1
        places = np.minimum(np.searchsorted(self.rows, rows), self.length - 1)
        points = np.searchsorted(self.firsts, places, side="right") - 1
        return np.where(self.rows[places] == rows, points, -1)

    def blocks(self, size: int) -> Iterator[tuple[int, int, NDArray[Any], Positions]]:
        """The points from the first number to the second, with their rows, and where in these each begins.

        A block has up to ``size`` rows, or one point.
        """
        ends = self.ends
        start = 0
        while start < len(self.firsts):
            first = self.firsts[start]
            end = max(start + 1, int(np.searchsorted(ends, first + size, side="right")))
            yield start, end, self.block(int(first), int(ends[end - 1])), self.firsts[start:end] - first
            start = end

    def block(self, first: int, end: int) -> NDArray[Any]:
        """Rows ``first`` to ``end`` of those that are meant: ``(rows, dim)`` in the space's datatype."""
        if self.rows is None:
            return self.segment.rows.matrix[first:end]
        return self.segment.rows.gathered[self.rows[first:end]]
