"""Sparse vectors as queries compare them: dot products, exact, over an inverted index.

With ``modifier: idf`` each weight of an example is multiplied by ``ln((N − df + 0.5) / (df + 0.5) + 1)``, where N is
the number of points that have such a vector, and df the number of those that have the dimension. Both are counted in
all points, or in the corpus that the request names.

A search for the nearest points finds only those that share a dimension with the query. Where examples are combined, a
point that shares none with an example has a similarity of 0 to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.errors import BadRequest
from vdb.model.queries import SearchParams
from vdb.model.sparse import SparseVector
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Distance, Floats
from vdb.query.deadline import Deadline
from vdb.query.examples import ExampleValue, Lookup, Source
from vdb.query.nearest import Scored
from vdb.query.searchable import Combine, Searchable, wrong_kind
from vdb.query.similarity import rows_at_once
from vdb.query.view import SparseView
from vdb.segment.distance import top
from vdb.segment.fields.bitmaps import nums_of
from vdb.segment.sparse import SparseBase, SparseSnapshot
from vdb.storage import points


class SparseVectors(Searchable[SparseVector]):
    """``corpus`` is what document frequencies are counted in, all points by default."""

    def __init__(self, source: Source, sparse: SparseView, deadline: Deadline, corpus: BitMap | None = None) -> None:
        self._source = source
        self._sparse = sparse
        self._deadline = deadline
        self._corpus = corpus

    @property
    def distance(self) -> Distance:
        return Distance.DOT

    def read(self, inputs: Sequence[VectorInput], lookup: Lookup) -> Sequence[SparseVector]:
        return [self._checked(value) for value in lookup.resolve(inputs)]

    def average(self, positive: Sequence[VectorInput], negative: Sequence[VectorInput], lookup: Lookup) -> SparseVector:
        vectors = self.read([*positive, *negative], lookup)
        shares = [(2 if negative else 1) / len(positive)] * len(positive) + [-1 / max(len(negative), 1)] * len(negative)
        average = _sum(vectors, shares)
        if not np.isfinite(average.values).all():
            raise BadRequest(f"The average for vector `{self._sparse.space.name}` is not finite as float32")
        return average

    def nearest(self, query: SparseVector, count: int, params: SearchParams | None, allowed: BitMap | None) -> Scored:
        self._deadline.check()
        return Scored(*self._sparse.index.nearest(self._weighted(query), count, allowed))

    def best(
        self, examples: Sequence[SparseVector], combine: Combine, count: int, exact: bool, allowed: BitMap | None
    ) -> Scored:
        index = self._sparse.index
        nums = nums_of(index.points if allowed is None else index.points & allowed)
        queries = [self._weighted(example) for example in examples]
        values = np.empty(len(nums), dtype=np.float32)
        # One table an example, from which all points are read at once: many are too many only beside many examples.
        step = rows_at_once(len(queries), max(1, len(nums)))
        for start in range(0, len(nums), step):
            block = nums[start : start + step]
            similar = np.empty((len(queries), len(block)), dtype=np.float32)
            for place, query in enumerate(queries):
                self._deadline.check()
                similar[place] = index.similarities(query, block)
            values[start : start + step] = combine(similar)
        best = top(values, count)
        return Scored(nums[best], values[best])

    def gather(self, nums: NDArray[np.uint32]) -> GatheredSparse:
        there = self._sparse.index.points
        stored = points.read_sparse_vectors(self._source.connection, self._sparse.vector_id, nums)
        positions = [position for position, num in enumerate(nums.tolist()) if num in stored and num in there]
        return GatheredSparse(
            np.array(positions, dtype=np.int64), [stored[int(nums[position])] for position in positions], self._weighted
        )

    def _checked(self, value: ExampleValue) -> SparseVector:
        if isinstance(value, SparseVector):
            return value
        nested = value.ndim > 1 if isinstance(value, np.ndarray) else isinstance(value[0], list)
        raise wrong_kind(self._sparse.space.name, "sparse", "multi" if nested else "dense")

    def _weighted(self, query: SparseVector) -> SparseVector:
        """The query with its weights multiplied by the idf, where the space asks for it."""
        if not self._sparse.space.idf:
            return query
        index = self._sparse.index
        total = len(index.points) if self._corpus is None else index.points.intersection_cardinality(self._corpus)
        frequencies = index.document_frequencies(query.indices, self._corpus)
        idf = np.log((total - frequencies + 0.5) / (frequencies + 0.5) + 1.0).astype(np.float32)
        with np.errstate(over="ignore"):
            weights = np.nan_to_num(query.values * idf)
        return SparseVector(query.indices, weights)


class GatheredSparse:
    """The sparse vectors of the points at ``positions``; ``weighted`` makes a query of one of them."""

    def __init__(
        self,
        positions: NDArray[np.int64],
        vectors: Sequence[SparseVector],
        weighted: Callable[[SparseVector], SparseVector],
    ) -> None:
        self.positions = positions
        self._vectors = vectors
        self._weighted = weighted
        everyone = BitMap(range(len(vectors)))
        self._index = SparseSnapshot(SparseBase.of_vectors(dict(enumerate(vectors)), everyone), (), everyone)
        self._places = np.arange(len(vectors), dtype=np.uint32)

    def similarities(self, example: SparseVector) -> Floats:
        """Without idf: how alike points are does not depend on how rare their dimensions are."""
        return self._index.similarities(example, self._places)

    def likeness(self, member: int) -> Floats:
        return self.similarities(self._vectors[member])

    def neighbours(self, member: int) -> Floats:
        nums, found = self._index.nearest(self._weighted(self._vectors[member]), len(self._vectors))
        values = np.full(len(self._vectors), -np.inf, dtype=np.float32)
        values[nums] = found
        return values


def _sum(vectors: Sequence[SparseVector], factors: Sequence[float]) -> SparseVector:
    """Σ factor · vector, with every dimension that any of them has."""
    indices = np.concatenate([vector.indices for vector in vectors])
    values = np.concatenate(
        [vector.values.astype(np.float64) * factor for vector, factor in zip(vectors, factors, strict=True)]
    )
    dimensions, places = np.unique(indices, return_inverse=True)
    sums = np.bincount(places, weights=values, minlength=len(dimensions))
    with np.errstate(over="ignore"):
        return SparseVector(dimensions, sums.astype(np.float32))
