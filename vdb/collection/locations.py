"""Where the newest vector of each point lies, for each vector name: a slot and its first row.

A slot is a segment's number within this process, never used twice. Owned by the collection's actor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdb.segment.rows import RowNumbers

NOWHERE: Final = -1
_CAPACITY_MIN: Final = 256


class Locations:
    """``slots``, first ``rows`` and their ``counts`` by point number; ``NOWHERE`` for a point without this vector."""

    def __init__(self, multi: bool = False) -> None:
        self._counts: NDArray[np.int32] | None = np.zeros(0, dtype=np.int32) if multi else None
        self._slots: NDArray[np.int32] = np.full(0, NOWHERE, dtype=np.int32)
        self._rows: NDArray[np.int32] = np.zeros(0, dtype=np.int32)

    def slots(self, nums: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The slot of each point, ``(n,)`` int32."""
        if not len(nums):
            return np.empty(0, dtype=np.int32)
        self._reserve(int(nums.max()) + 1)
        return self._slots[nums]

    def rows_by_slot(self, nums: NDArray[np.uint32]) -> Iterator[tuple[int, RowNumbers]]:
        """All rows of the points, slot by slot; each point once in ``nums``."""
        slots = self.slots(nums)
        for slot in np.unique(slots):
            if slot != NOWHERE:
                chosen = nums[slots == slot]
                rows = self._rows[chosen].astype(np.int64)
                yield int(slot), rows if self._counts is None else _runs(rows, self._counts[chosen])

    def slot_of(self, num: int) -> int:
        return int(self._slots[num]) if num < len(self._slots) else NOWHERE

    def set(self, nums: NDArray[np.uint32], slot: int, rows: RowNumbers) -> None:
        """``rows`` hold the newest vectors of ``nums``, ``(n,)`` each; rows of one point follow each other."""
        if not len(nums):
            return
        self._reserve(int(nums.max()) + 1)
        if self._counts is None:
            self._slots[nums] = slot
            self._rows[nums] = rows
            return
        firsts = np.flatnonzero(np.append(True, nums[1:] != nums[:-1]))
        self._slots[nums[firsts]] = slot
        self._rows[nums[firsts]] = rows[firsts]
        self._counts[nums[firsts]] = np.diff(np.append(firsts, len(nums)))

    def clear(self, nums: NDArray[np.uint32]) -> None:
        if len(nums):
            self._reserve(int(nums.max()) + 1)
            self._slots[nums] = NOWHERE

    def _reserve(self, size: int) -> None:
        if size <= len(self._slots):
            return
        capacity = max(_CAPACITY_MIN, size, len(self._slots) * 2)
        slots = np.full(capacity, NOWHERE, dtype=np.int32)
        slots[: len(self._slots)] = self._slots
        rows = np.zeros(capacity, dtype=np.int32)
        rows[: len(self._rows)] = self._rows
        self._slots, self._rows = slots, rows
        if self._counts is not None:
            self._counts = np.append(self._counts, np.zeros(capacity - len(self._counts), dtype=np.int32))


def _runs(firsts: RowNumbers, counts: NDArray[np.int32]) -> RowNumbers:
    """first, first + 1, … for each, ``counts`` of them."""
    starts = np.cumsum(counts) - counts
    return np.repeat(firsts - starts, counts) + np.arange(int(counts.sum()))
