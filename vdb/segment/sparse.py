"""Sparse vectors of one name in memory: an inverted index, searched exactly.

::

    base      entries sorted by dimension: for each dimension the points that have it, with their weights
    parts     what was written since the base was made, oldest first; a point in a part counts no more in older ones

Parts that are about as large as the one before are joined with it, so that there are few, and a part is sorted by the
first search that meets it: writes cost next to nothing, and a search after a write sorts a small part anew.

Guarantees
    A snapshot never changes, and taking one costs nothing.
    Searching gives the same answer before and after a compaction.
Assumes
    One owner, the collection's actor, calls ``apply`` and ``adopt``; ``Compaction.run`` may run in any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.sparse import Dimensions, SparseVector
from vdb.model.vectors import Floats
from vdb.segment.distance import top
from vdb.segment.fields.bitmaps import membership, nums_of

Nums = NDArray[np.uint32]
Flags = NDArray[np.bool_]

_OVERLAY_MIN: Final = 1_024  # points in parts, below which compacting is not worth a thread
_OVERLAY_SHARE: Final = 8  # compacting is worth it when the base is less than so many times the parts
_JOINED_SHARE: Final = 2  # a part is joined with the one before it when that is less than so many times as large
# The best of a table are at least as good as the best columns' largest values: so many rows has the table then.
_ROWS: Final = 64
_LARGEST: Final = float(np.finfo(np.float32).max)
_SMALLEST: Final = float(np.finfo(np.float32).tiny)  # products below lose digits, and become zero


@dataclass(frozen=True, slots=True)
class SparseBase:
    """``dimensions`` are those that occur, ascending; entries of the i-th are ``starts[i]`` to ``starts[i + 1]``.

    ``least`` is the smallest weight, ``most`` the largest without its sign.
    """

    dimensions: Dimensions
    starts: NDArray[np.int64]
    nums: Nums
    weights: Floats
    points: BitMap
    least: float
    most: float

    @classmethod
    def build(cls, dimensions: Dimensions, nums: Nums, weights: Floats, points: BitMap) -> SparseBase:
        """From entries in any order, one a dimension of a point."""
        order = np.argsort(dimensions.astype(np.uint64) << np.uint64(32) | nums)
        dimensions, nums, weights = dimensions[order], nums[order], weights[order]
        occurring, starts = np.unique(dimensions, return_index=True)
        least = float(weights.min(initial=np.inf))
        most = max(float(weights.max(initial=0)), -least)
        return cls(occurring, np.append(starts, len(dimensions)), nums, weights, points, least, most)

    @classmethod
    def of_vectors(cls, vectors: Mapping[int, SparseVector | None], points: BitMap) -> SparseBase:
        """The entries of those that are vectors, by num."""
        written = [(num, vector) for num, vector in vectors.items() if vector is not None]
        if not written:
            return cls.empty()
        lengths = [len(vector.indices) for _, vector in written]
        return cls.build(
            np.concatenate([vector.indices for _, vector in written]),
            np.repeat(np.array([num for num, _ in written], dtype=np.uint32), lengths),
            np.concatenate([vector.values for _, vector in written]),
            points,
        )

    @classmethod
    def empty(cls) -> SparseBase:
        return cls.build(np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.float32), BitMap())

    def entries(self, dimensions: Dimensions) -> list[tuple[int, slice]]:
        """Those of some ascending dimensions that occur, as positions in ``dimensions``, with their entries."""
        if not len(self.dimensions):
            return []
        places = np.searchsorted(self.dimensions, dimensions)
        places[places == len(self.dimensions)] = 0
        found = np.flatnonzero(self.dimensions[places] == dimensions)
        places = places[found]
        starts, ends = self.starts[places].tolist(), self.starts[places + 1].tolist()
        return list(zip(found.tolist(), map(slice, starts, ends), strict=True))

    def add_products(self, query: SparseVector, sums: Floats, shared: Flags | None) -> None:
        """Adds the products with a query to ``sums``, by num, and marks in ``shared`` who has any of its dimensions."""
        for position, entries in self.entries(query.indices):
            nums = self.nums[entries].astype(np.int64)  # four times as fast to add at as other integers
            np.add.at(sums, nums, self.weights[entries] * query.values[position])
            if shared is not None:
                shared[nums] = True

    def all_dimensions(self) -> Dimensions:
        """The dimension of every entry."""
        return np.repeat(self.dimensions, np.diff(self.starts))


class SparsePart:
    """Vectors written after the base, None for points that lost theirs. Immutable; sorted when it is first asked for.

    ``replaces`` says whether any of the points had a vector before.
    """

    __slots__ = ("_nums", "_postings", "replaces", "vectors")

    def __init__(self, vectors: Mapping[int, SparseVector | None], replaces: bool) -> None:
        self.vectors = vectors
        self.replaces = replaces
        # Two threads that find nothing here compute the same.
        self._nums: Nums | None = None
        self._postings: SparseBase | None = None

    @property
    def nums(self) -> Nums:
        if self._nums is None:
            self._nums = np.fromiter(self.vectors, dtype=np.uint32, count=len(self.vectors))
        return self._nums

    @property
    def postings(self) -> SparseBase:
        if self._postings is None:
            self._postings = SparseBase.of_vectors(self.vectors, BitMap())
        return self._postings


@dataclass(frozen=True, slots=True)
class SparseSnapshot:
    """The index as it stood once; safe in any number of threads."""

    base: SparseBase
    parts: Sequence[SparsePart]
    points: BitMap

    def nearest(self, query: SparseVector, count: int, allowed: BitMap | None = None) -> tuple[Nums, Floats]:
        """The ``count`` largest dot products of points that share a dimension with the query, best first.

        ``(n,)`` uint32 and ``(n,)`` float32; only points of ``allowed``, where it is given.
        """
        sums, shared = self._products(query, distinguish=True)
        if allowed is not None:
            nums = nums_of(allowed)
            nums = nums[nums < len(sums)]
            nums = nums[sums[nums] > 0 if shared is None else shared[nums]]
        elif shared is None:
            nums = np.flatnonzero(sums >= max(_bar(sums, count), _SMALLEST)).astype(np.uint32)
        else:
            masked = np.where(shared, sums, np.float32(-np.inf))
            nums = np.flatnonzero(masked >= max(_bar(masked, count), -_LARGEST)).astype(np.uint32)
        best = nums[top(sums[nums], count)]
        return best, sums[best]

    def similarities(self, query: SparseVector, nums: Nums) -> Floats:
        """Dot products with some points, 0 for those that share no dimension: ``(n,)`` float32."""
        sums, _ = self._products(query, distinguish=False)
        return sums[nums]

    def document_frequencies(self, dimensions: Dimensions, corpus: BitMap | None) -> NDArray[np.int64]:
        """How many points, of ``corpus`` where it is given, have each of some ascending dimensions."""
        counts = np.zeros(len(dimensions), dtype=np.int64)
        counted = None if corpus is None else membership(corpus, np.arange(self._size, dtype=np.uint32))
        for part in reversed(self.parts):
            _count(part.postings, dimensions, counted, counts)
            if part.replaces:
                counted = np.ones(self._size, dtype=np.bool_) if counted is None else counted
                counted[part.nums] = False
        _count(self.base, dimensions, counted, counts)
        return counts

    @property
    def _size(self) -> int:
        """Above all nums that occur in the index, living or not."""
        largest = [points.max() for points in (self.points, self.base.points) if points]
        largest += [int(part.nums.max()) for part in self.parts]
        return max(largest, default=-1) + 1

    def _products(self, query: SparseVector, *, distinguish: bool) -> tuple[Floats, Flags | None]:
        """Dot products by num, and who shares a dimension: None where that is who has a product above zero."""
        layers = [self.base, *(part.postings for part in self.parts)]
        sums = np.zeros(self._size, dtype=np.float32)
        shared = None
        if distinguish:
            least = min((float(query.values.min(initial=np.inf)) * layer.least for layer in layers), default=0)
            positive = bool((query.values > 0).all()) and all(layer.least > 0 for layer in layers)
            if not (positive and least > _SMALLEST):
                shared = np.zeros(len(sums), dtype=np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):
            self.base.add_products(query, sums, shared)
            for part in self.parts:
                sums[part.nums] = 0
                if shared is not None:
                    shared[part.nums] = False
                part.postings.add_products(query, sums, shared)
        weight = float(np.abs(query.values, dtype=np.float64).sum())
        if weight * max(layer.most for layer in layers) > _LARGEST:  # JSON has no infinity
            sums = np.nan_to_num(sums, nan=0, posinf=_LARGEST, neginf=-_LARGEST)
        return sums, shared


def _bar(values: Floats, count: int) -> float:
    """A value that at least ``count`` of ``(n,)`` reach, found without looking at all of them one by one; or −∞."""
    columns = len(values) // _ROWS
    if not 0 < count <= columns:
        return -np.inf
    largest = values[: columns * _ROWS].reshape(_ROWS, columns).max(axis=0)
    return float(np.partition(largest, columns - count)[columns - count])


def _count(layer: SparseBase, dimensions: Dimensions, counted: Flags | None, counts: NDArray[np.int64]) -> None:
    """Adds to ``counts`` how many entries each of the dimensions has, of points for which ``counted`` is True."""
    for position, entries in layer.entries(dimensions):
        if counted is None:
            counts[position] += entries.stop - entries.start
        else:
            counts[position] += np.count_nonzero(counted[layer.nums[entries]])


@dataclass(slots=True)
class SparseCompaction:
    """A new base to be computed from a snapshot, off the owner's thread."""

    snapshot: SparseSnapshot
    result: SparseBase | None = None

    def run(self) -> None:
        base = self.snapshot.base
        overlay = _joined(self.snapshot.parts).vectors
        kept = ~membership(BitMap(overlay), base.nums)
        written = SparseBase.of_vectors(overlay, BitMap())
        self.result = SparseBase.build(
            np.concatenate([base.all_dimensions()[kept], written.all_dimensions()]),
            np.concatenate([base.nums[kept], written.nums]),
            np.concatenate([base.weights[kept], written.weights]),
            self.snapshot.points,
        )


class SparseIndex:
    """The writable index; owned by one task."""

    def __init__(self) -> None:
        self._base = SparseBase.empty()
        self._parts: list[SparsePart] = []
        self._points = BitMap()
        self._snapshot: SparseSnapshot | None = None

    def __contains__(self, num: int) -> bool:
        return num in self._points

    def apply(self, changes: Mapping[int, SparseVector | None]) -> None:
        """Replaces the vectors of points; None removes one."""
        if not changes:
            return
        self._snapshot = None
        given = BitMap(changes)
        part = SparsePart(dict(changes), replaces=given.intersect(self._points))
        while self._parts and len(self._parts[-1].vectors) < _JOINED_SHARE * len(part.vectors):
            part = _joined([self._parts.pop(), part])
        self._parts.append(part)
        written = BitMap([num for num, vector in changes.items() if vector is not None])
        self._points = (self._points - given) | written

    def snapshot(self) -> SparseSnapshot:
        if self._snapshot is None:
            self._snapshot = SparseSnapshot(self._base, tuple(self._parts), self._points)
        return self._snapshot

    def compaction(self, force: bool = False) -> SparseCompaction | None:
        """Work that would make searches faster, where there is enough of it."""
        size = sum(len(part.vectors) for part in self._parts)
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
        """Takes over a finished compaction; what was written since stays in a part."""
        assert compaction.result is not None, "run() comes first"
        known = _joined(compaction.snapshot.parts).vectors
        since = {
            num: vector
            for num, vector in _joined(self._parts).vectors.items()
            if num not in known or known[num] is not vector
        }
        self._base = compaction.result
        self._parts = [SparsePart(since, replaces=True)] if since else []
        self._snapshot = None


def _joined(parts: Sequence[SparsePart]) -> SparsePart:
    """Several parts, oldest first, as one."""
    if len(parts) == 1:
        return parts[0]
    vectors: dict[int, SparseVector | None] = {}
    for part in parts:
        vectors |= part.vectors
    return SparsePart(vectors, any(part.replaces for part in parts))
