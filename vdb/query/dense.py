"""Dense vectors as queries compare them: one vector a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.queries import SearchParams
from vdb.model.sparse import SparseVector
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Distance, Floats, VectorSpace, prepare, prepare_block
from vdb.query.deadline import Deadline
from vdb.query.examples import ExampleValue, Lookup
from vdb.query.nearest import Scored, search, search_many
from vdb.query.searchable import Combine, Searchable, wrong_kind
from vdb.query.similarity import Comparison, gather, similarities
from vdb.query.view import VectorView, View


class DenseVectors(Searchable[Floats]):
    """Examples are ``(dim,)`` float32."""

    def __init__(self, view: View, vector: VectorView, deadline: Deadline) -> None:
        self._view = view
        self._vector = vector
        self._space = vector.space
        self._deadline = deadline

    @property
    def distance(self) -> Distance:
        return self._space.distance

    def read(self, inputs: Sequence[VectorInput], lookup: Lookup) -> Sequence[Floats]:
        given = lookup.resolve(inputs)
        if all(isinstance(value, list) and not isinstance(value[0], list) for value in given):
            return list(prepare(self._space, cast(Sequence[list[float]], given)))  # all at once is faster
        return [self._prepared(value, lookup) for value in given]

    def average(self, positive: Sequence[VectorInput], negative: Sequence[VectorInput], lookup: Lookup) -> Floats:
        # Averaged as they are given: normalising first would weigh them anew.
        vectors = np.stack([self._as_given(value, lookup) for value in lookup.resolve([*positive, *negative])])
        average = vectors[: len(positive)].mean(axis=0, dtype=np.float32)
        if negative:
            average = average + average - vectors[len(positive) :].mean(axis=0, dtype=np.float32)
        query: Floats = prepare_block(self._space, average[None])[0]
        return query

    def nearest(self, query: Floats, count: int, params: SearchParams | None, allowed: BitMap | None) -> Scored:
        return search(self._view, self._vector, query, count, params, self._deadline, allowed)

    def nearest_to_each(
        self, queries: Sequence[Floats], count: int, params: SearchParams | None, allowed: BitMap | None, threads: int
    ) -> list[Scored]:
        together = np.stack(queries)
        return search_many(self._view, self._vector, together, count, params, self._deadline, allowed, threads)

    def best(
        self, examples: Sequence[Floats], combine: Combine, count: int, exact: bool, allowed: BitMap | None
    ) -> Scored:
        block = np.stack(examples) if examples else np.empty((0, self._space.dim), dtype=np.float32)
        comparison = Comparison(self._space, block, combine, exact)
        return comparison.best(self._vector.segments, count, self._deadline, allowed)

    def gather(self, nums: NDArray[np.uint32]) -> GatheredVectors:
        positions, vectors = gather(self._vector, nums)
        order = np.argsort(positions)
        return GatheredVectors(self._space, positions[order], vectors[order])

    def _prepared(self, value: ExampleValue, lookup: Lookup) -> Floats:
        if isinstance(value, SparseVector):
            raise wrong_kind(self._space.name, "dense", "sparse")
        if isinstance(value, np.ndarray):
            if value.ndim > 1:
                raise wrong_kind(self._space.name, "dense", "multi")
            return value if lookup.space == self._space else prepare(self._space, value[None])[0]
        if isinstance(value[0], list):
            raise wrong_kind(self._space.name, "dense", "multi")
        prepared: Floats = prepare(self._space, [value])[0]
        return prepared

    def _as_given(self, value: ExampleValue, lookup: Lookup) -> Floats:
        self._prepared(value, lookup)  # refuses what cannot be compared
        return np.asarray(value, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class GatheredVectors:
    """``(n, dim)`` float32 vectors of the points at ``positions``."""

    space: VectorSpace
    positions: NDArray[np.int64]
    vectors: Floats

    def similarities(self, example: Floats) -> Floats:
        values: Floats = similarities(self.space, example[None], self.vectors)[0]
        return values

    def likeness(self, member: int) -> Floats:
        return self.similarities(self.vectors[member])

    def neighbours(self, member: int) -> Floats:
        values = self.similarities(self.vectors[member])
        return -np.sqrt(-values) if self.space.distance is Distance.EUCLID else values
