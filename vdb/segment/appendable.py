"""Vectors of one name in memory, in the order in which they were written. Searched exactly, never by a graph.

Guarantees
    A published view never changes: rows below its length are written once, and its mask is copied before the next row
    dies. Growing copies into a larger matrix and leaves the old one to those who hold it.
Assumes
    One owner (the collection's actor) calls ``append`` and ``kill``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Floats, VectorSpace
from vdb.segment.rows import Mask, RowNumbers, RowsView

_CAPACITY_MIN: Final = 64
# A matrix beyond this is being filled, and gets the size at once that segments in memory reach before they are frozen:
# copying megabytes at every growth held the event loop for 24 ms. Pages that nothing was written to take no memory.
_SMALL_BYTES: Final = 512 * 2**10
_FULL_BYTES: Final = 10 * 2**20
_DOUBLING_BYTES_MAX: Final = 16 * 2**20  # beyond this a matrix grows by so much, not by half its size for nothing


class AppendableRows:
    """A growing float32 matrix with a mask of living rows."""

    def __init__(self, space: VectorSpace) -> None:
        self._space = space
        self._matrix: Floats = np.empty((0, space.dim), dtype=np.float32)
        self._nums: NDArray[np.uint32] = np.empty(0, dtype=np.uint32)
        self._mask = Mask()
        self._length = 0

    @property
    def space(self) -> VectorSpace:
        return self._space

    @property
    def length(self) -> int:
        return self._length

    @property
    def size_bytes(self) -> int:
        """Bytes of the rows written so far."""
        return self._length * self._space.dim * 4

    def append(self, nums: NDArray[np.uint32], data: Floats) -> int:
        """Adds ``(k, dim)`` float32 rows for the points ``nums`` and returns the first new row's number."""
        first, end = self._length, self._length + len(nums)
        if end > len(self._nums):
            self._grow(end)
        self._matrix[first:end] = data
        self._nums[first:end] = nums
        self._length = end
        return first

    def kill(self, rows: RowNumbers) -> None:
        """Marks rows as dead, each once; views that are out keep the mask they were given."""
        self._mask.kill(rows, len(self._nums))

    def view(self) -> RowsView:
        return self._mask.publish(PinnedRows(self._space, self._matrix, self._nums), self._length)

    def _grow(self, needed: int) -> None:
        row_bytes = max(1, self._space.dim * 4)
        extra = min(len(self._nums), _DOUBLING_BYTES_MAX // row_bytes)
        capacity = max(_CAPACITY_MIN, needed, len(self._nums) + extra)
        if needed * row_bytes > _SMALL_BYTES:
            capacity = max(capacity, _FULL_BYTES // row_bytes)
        matrix = np.empty((capacity, self._space.dim), dtype=np.float32)
        matrix[: self._length] = self._matrix[: self._length]
        nums = np.zeros(capacity, dtype=np.uint32)
        nums[: self._length] = self._nums[: self._length]
        self._matrix, self._nums = matrix, nums


class PinnedRows:
    """The arrays that a view was made from: growing replaces the owner's, never these."""

    __slots__ = ("matrix", "nums", "space")
    nums_ascend = False  # a point that is written again has two rows
    by_num = None
    cold = False
    graph = None
    quantised = None

    def __init__(self, space: VectorSpace, matrix: NDArray[Any], nums: NDArray[np.uint32]) -> None:
        self.space = space
        self.matrix = matrix
        self.nums = nums

    @property
    def gathered(self) -> NDArray[Any]:
        return self.matrix
