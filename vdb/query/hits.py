"""What a query finds: points in the order of the answer, with the scores that clients see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Floats


@dataclass(frozen=True, slots=True)
class Hits:
    """``nums`` is ``(n,)`` uint32, ``scores`` ``(n,)`` float32; hits that a field orders have ``order_values``."""

    nums: NDArray[np.uint32]
    scores: Floats
    order_values: Sequence[int | float] | None = None

    @classmethod
    def unscored(cls, nums: NDArray[np.uint32], order_values: Sequence[int | float] | None = None) -> Hits:
        """Points that nothing was compared with: each scores 1."""
        return cls(nums, np.ones(len(nums), dtype=np.float32), order_values)

    def __len__(self) -> int:
        return len(self.nums)

    def part(self, start: int, end: int) -> Hits:
        values = None if self.order_values is None else self.order_values[start:end]
        return Hits(self.nums[start:end], self.scores[start:end], values)

    def from_score(self, threshold: float | None) -> Hits:
        """Those that score ``threshold`` or more; for scores of which larger ones are better."""
        if threshold is None:
            return self
        with np.errstate(over="ignore"):
            kept = self.scores >= np.float32(threshold)
        return Hits(self.nums[kept], self.scores[kept])
