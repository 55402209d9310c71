"""Sparse vectors of one name in memory: an inverted index, searched exactly.

::

    base      entries sorted by dimension: for each dimension the points that have it, with their weights
    overlay   points written since the base was made; what the base says of them does not count any more

Guarantees
    A snapshot never changes. Taking one costs as much as the overlay has points, and nothing while no write came.
    Searching gives the same answer before and after a compaction.
Assumes
    One owner, the collection's actor, calls ``apply`` and ``adopt``; ``Compaction.run`` may run in any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.sparse import Dimensions, SparseVector
from vdb.model.vectors import Floats
from vdb.segment.fields.bitmaps import bitmap_of, membership

Nums = NDArray[np.uint32]

_OVERLAY_MIN: Final = 1_024  # points; an overlay is compared one by one, which costs some microseconds a point
_OVERLAY_SHARE: Final = 8  # compacting is worth it when the base is less than so many times the overlay


@dataclass(frozen=True, slots=True)
class SparseBase:
    """``dimensions`` are those that occur, ascending; entries of the i-th are ``starts[i]`` to ``starts[i + 1]``."""

    dimensions: Dimensions
    starts: NDArray[np.int64]
    nums: Nums
    weights: Floats
    points: BitMap

    @classmethod
    def build(cls, dimensions: Dimensions, nums: Nums, weights: Floats, points: BitMap) -> SparseBase:
        """From entries in any order, one a dimension of a point."""
        order = np.lexsort((nums, dimensions))
        dimensions, nums, weights = dimensions[order], nums[order], weights[order]
        occurring, starts = np.unique(dimensions, return_index=True)
        return cls(occurring, np.append(starts, len(dimensions)), nums, weights, points)

    @classmethod
    def empty(cls) -> SparseBase:
        return cls.build(np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.float32), BitMap())

    def entries(self, dimension: int) -> slice:
        place = int(np.searchsorted(self.dimensions, dimension))
        if place == len(self.dimensions) or self.dimensions[place] != dimension:
            return slice(0, 0)
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def all_dimensions(self) -> Dimensions:
        """The dimension of every entry."""
        return np.repeat(self.dimensions, np.diff(self.starts))


@dataclass(frozen=True, slots=True)
class SparseSnapshot:
    """The index as it stood once; safe in any number of threads. ``overlay`` has None for points that went."""

    base: SparseBase
    overlay: Mapping[int, SparseVector | None]
    points: BitMap

    def scores(self, query: SparseVector, allowed: BitMap | None) -> tuple[Nums, Floats]:
        """Dot products with all points that share a dimension with the query: ``(n,)`` uint32 and ``(n,)`` float32.

        Only points of ``allowed``, where it is given.
        """
        size = (max(self.points.max(), self.base.points.max() if self.base.points else 0) + 1) if self.points else 0
        sums = np.zeros(size, dtype=np.float32)
        touched = np.zeros(size, dtype=np.bool_)
        for dimension, weight in zip(query.indices.tolist(), query.values, strict=True):
            entries = self.base.entries(dimension)
            nums = self.base.nums[entries]
            sums[nums] += self.base.weights[entries] * weight
            touched[nums] = True
        for num, vector in self.overlay.items():
            if num < size:
                shared = None if vector is None else _dot(query, vector)
                touched[num] = shared is not None
                sums[num] = 0.0 if shared is None else shared
        found = np.flatnonzero(touched).astype(np.uint32)
        if allowed is not None:
            found = found[membership(allowed, found)]
        return found, sums[found]

    def document_frequencies(self, dimensions: Dimensions, corpus: BitMap | None) -> NDArray[np.int64]:
        """How many points, of ``corpus`` where it is given, have each of the dimensions."""
        counts = np.zeros(len(dimensions), dtype=np.int64)
        gone = bitmap_of(np.array(list(self.overlay), dtype=np.uint32)) if self.overlay else BitMap()
        for place, dimension in enumerate(dimensions.tolist()):
            nums = self.base.nums[self.base.entries(dimension)]
            kept = ~membership(gone, nums) if gone else np.ones(len(nums), dtype=np.bool_)
            if corpus is not None:
                kept &= membership(corpus, nums)
            counts[place] = np.count_nonzero(kept)
        for num, vector in self.overlay.items():
            if vector is not None and (corpus is None or num in corpus):
                counts += np.isin(dimensions, vector.indices)
        return counts


def _dot(query: SparseVector, vector: SparseVector) -> np.float32 | None:
    """None where no dimension is shared."""
    _, ours, theirs = np.intersect1d(query.indices, vector.indices, assume_unique=True, return_indices=True)
    if not len(ours):
        return None
    return np.float32(np.dot(query.values[ours], vector.values[theirs]))


@dataclass(slots=True)
class SparseCompaction:
    """A new base to be computed from a snapshot, off the owner's thread."""

    snapshot: SparseSnapshot
    result: SparseBase | None = None

    def run(self) -> None:
        base, overlay = self.snapshot.base, self.snapshot.overlay
        replaced = BitMap(overlay)
        kept = ~membership(replaced, base.nums)
        written = [(num, vector) for num, vector in overlay.items() if vector is not None]
        self.result = SparseBase.build(
            np.concatenate([base.all_dimensions()[kept], *(vector.indices for _, vector in written)]),
            np.concatenate(
                [base.nums[kept], *(np.full(len(vector.indices), num, np.uint32) for num, vector in written)]
            ),
            np.concatenate([base.weights[kept], *(vector.values for _, vector in written)]),
            self.snapshot.points,
        )


class SparseIndex:
    """The writable index; owned by one task."""

    def __init__(self) -> None:
        self._base = SparseBase.empty()
        self._overlay: dict[int, SparseVector | None] = {}
        self._points = BitMap()
        self._snapshot: SparseSnapshot | None = None

    def __contains__(self, num: int) -> bool:
        return num in self._points

    def apply(self, changes: Mapping[int, SparseVector | None]) -> None:
        """Replaces the vectors of points; None removes one."""
        if not changes:
            return
        self._snapshot = None
        self._points = self._points.copy()
        for num, vector in changes.items():
            self._overlay[num] = vector
            if vector is None:
                self._points.discard(num)
            else:
                self._points.add(num)

    def snapshot(self) -> SparseSnapshot:
        if self._snapshot is None:
            self._snapshot = SparseSnapshot(self._base, dict(self._overlay), self._points)
        return self._snapshot

    def compaction(self, force: bool = False) -> SparseCompaction | None:
        """Work that would make searches faster, where there is enough of it."""
        size = len(self._overlay)
        if not size or (not force and size < max(_OVERLAY_MIN, len(self._base.points) // _OVERLAY_SHARE)):
            return None
        return SparseCompaction(self.snapshot())

    def compact(self) -> None:
        """All of it at once, for those that need not care for a loop."""
        job = self.compaction(force=True)
        if job is not None:
            job.run()
            self.adopt(job)

    def adopt(self, compaction: SparseCompaction) -> None:
        """Takes over a finished compaction; what was written since stays in the overlay."""
        assert compaction.result is not None, "run() comes first"
        known = compaction.snapshot.overlay
        self._base = compaction.result
        self._overlay = {
            num: vector for num, vector in self._overlay.items() if num not in known or known[num] is not vector
        }
        self._snapshot = None
