"""Multivectors as queries compare them, by MaxSim (``max_sim.py``).

For the nearest points one of three ways is taken for each segment, over the points that live and that a filter selects:

=========  =========================================================================================================
graph      each token of the query searches the graph over the rows of all points; of the points that are found, the
           best as far as these rows tell are compared whole, by their originals (``multi_candidates.py``)
codes      where a matrix is on the disk and has a scalar or product copy that is not ignored: orders all points by
           their codes, and reads the originals of the best only
all        compares all points
=========  =========================================================================================================

The graph is taken where it costs less than comparing all points: one more row in the width of the search costs as much
as comparing 400 rows, a filter or dead rows widen the search, and the points to be compared whole count too. At the
default width and 32 tokens a point that begins at some 2,000 points that count; a narrower search (``hnsw_ef``) begins
sooner. Below ``full_scan_threshold``, with ``exact``, and for Manhattan, which has no graph, it is not taken. It is
given up where it finds fewer points than asked for, and where what it finds does not tell which are the best: an answer
is never shorter than what there is.

Only the nearest points (and what is made of them: averages of examples, MMR) are found this way. The other queries over
examples compare all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.queries import SearchParams
from vdb.model.sparse import SparseVector
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Distance, Floats, VectorSpace, prepare
from vdb.query.deadline import Deadline
from vdb.query.examples import ExampleValue, Lookup
from vdb.query.max_sim import Positions, finite, goodness_of, max_sim, some_tokens, token_similarities
from vdb.query.multi_candidates import TokenSearch
from vdb.query.multi_documents import Documents
from vdb.query.nearest import Scored, indexed_only_segments
from vdb.query.searchable import Combine, Searchable, wrong_kind
from vdb.query.similarity import rows_at_once
from vdb.query.view import VectorView, View
from vdb.query.widths import COARSE_OVERSAMPLING, RESCORE_FACTOR, oversampled
from vdb.segment.distance import top
from vdb.segment.rows import RowsView

_BLOCK_ROWS: Final = 8_192  # rows compared at once: their products with 32 tokens take a megabyte


class MultiVectors(Searchable[Floats]):
    """Examples are ``(tokens, dim)`` float32; a dense vector is one of a single token."""

    def __init__(self, view: View, vector: VectorView, deadline: Deadline) -> None:
        self._view = view
        self._vector = vector
        self._space = vector.space
        self._deadline = deadline

    @property
    def distance(self) -> Distance:
        return self._space.distance

    def read(self, inputs: Sequence[VectorInput], lookup: Lookup) -> Sequence[Floats]:
        return [self._prepared(value, lookup) for value in lookup.resolve(inputs)]

    def average(self, positive: Sequence[VectorInput], negative: Sequence[VectorInput], lookup: Lookup) -> Floats:
        """All tokens of the positive examples, and those of the negative ones with their signs turned."""
        examples = self.read([*positive, *negative], lookup)
        return np.concatenate([*examples[: len(positive)], *(-tokens for tokens in examples[len(positive) :])])

    def nearest(self, query: Floats, count: int, params: SearchParams | None, allowed: BitMap | None) -> Scored:
        return self._nearest(query, count, params, allowed, threads=1)

    def nearest_to_each(
        self, queries: Sequence[Floats], count: int, params: SearchParams | None, allowed: BitMap | None, threads: int
    ) -> list[Scored]:
        return [self._nearest(query, count, params, allowed, threads) for query in queries]

    def _nearest(
        self, query: Floats, count: int, params: SearchParams | None, allowed: BitMap | None, threads: int
    ) -> Scored:
        def goodness(similar: Floats) -> Floats:
            return goodness_of(self.distance, similar[0])

        hnsw = self._view.config.hnsw_for(self._space.name)
        search = TokenSearch(params or SearchParams(), hnsw, self._deadline, threads)
        if allowed is not None and len(allowed) == self._view.points_count:
            allowed = None
        segments: Sequence[RowsView] = self._vector.segments
        if search.params.indexed_only:
            segments = indexed_only_segments(self._view, self._vector)
        parts = []
        for segment in segments:
            documents = Documents.of_segment(segment, allowed)
            candidates = search.candidates(documents, query, count)
            if candidates is None:
                candidates = self._by_codes(documents, query, count, params)
            compared = documents if candidates is None else documents.chosen(candidates)
            parts.append(self._best_of(compared, [query], goodness, count))
        return Scored.best(parts, count)

    def best(
        self, examples: Sequence[Floats], combine: Combine, count: int, exact: bool, allowed: BitMap | None
    ) -> Scored:
        documents = (Documents.of_segment(segment, allowed) for segment in self._vector.segments)
        return Scored.best([self._best_of(each, examples, combine, count) for each in documents], count)

    def gather(self, nums: NDArray[np.uint32]) -> GatheredMultivectors:
        wanted = BitMap(nums)
        found: dict[int, Floats] = {}
        for segment in self._vector.segments:
            documents = Documents.of_segment(segment, wanted)
            ends = documents.ends
            for num, first, end in zip(documents.nums.tolist(), documents.firsts.tolist(), ends.tolist(), strict=True):
                found[num] = documents.block(first, end).astype(np.float32, copy=False)
        positions = [position for position, num in enumerate(nums.tolist()) if num in found]
        return GatheredMultivectors(
            self._space, np.array(positions, dtype=np.int64), [found[int(nums[position])] for position in positions]
        )

    def _prepared(self, value: ExampleValue, lookup: Lookup) -> Floats:
        if isinstance(value, SparseVector):
            raise wrong_kind(self._space.name, "multi", "sparse")
        if isinstance(value, np.ndarray):
            tokens = value if value.ndim > 1 else value[None]
            return tokens if lookup.space == self._space else prepare(self._space, tokens)
        return prepare(self._space, value if isinstance(value[0], list) else [value])

    def _best_of(self, documents: Documents, examples: Sequence[Floats], score: Combine, count: int) -> Scored:
        values = np.empty(len(documents.nums), dtype=np.float32)
        for start, end, block, firsts in documents.blocks(rows_at_once(len(examples), _BLOCK_ROWS)):
            self._deadline.check()
            similar = np.empty((len(examples), end - start), dtype=np.float32)
            for place, example in enumerate(examples):
                similar[place] = max_sim(self._space, example, block, firsts)
            values[start:end] = score(similar)
        best = top(values, count)
        return Scored(documents.nums[best], values[best])

    def _by_codes(
        self, documents: Documents, query: Floats, count: int, params: SearchParams | None
    ) -> Positions | None:
        """Which points of a matrix on the disk are the best as far as the quantised copy tells, ascending.

        None where all are compared. In memory comparing the originals is as fast. Bits are too rough: what is lost at
        each token adds up.
        """
        rows = documents.segment.rows
        quantised = rows.quantised if rows.cold else None
        asked = None if params is None else params.quantization
        ignored = (params is not None and params.exact) or (asked is not None and asked.ignore)
        if quantised is None or quantised.binary or ignored:
            return None
        usual = COARSE_OVERSAMPLING if quantised.coarse else RESCORE_FACTOR
        oversampling = usual if asked is None or asked.oversampling is None else asked.oversampling
        wanted = oversampled(count, oversampling)
        if wanted >= len(documents.nums):
            return None
        values = np.zeros(len(documents.nums), dtype=np.float32)
        for token in query:
            self._deadline.check()
            values += np.maximum.reduceat(quantised.rank(token, documents.rows), documents.firsts)
        return np.sort(top(values, wanted))


class GatheredMultivectors:
    """The multivectors of the points at ``positions``: each ``(tokens, dim)`` float32."""

    def __init__(self, space: VectorSpace, positions: Positions, vectors: Sequence[Floats]) -> None:
        self.positions = positions
        self._space = space
        self._vectors = vectors
        self._tokens = np.concatenate(vectors) if vectors else np.empty((0, space.dim), dtype=np.float32)
        self._firsts = np.cumsum([0, *(len(tokens) for tokens in vectors)])[:-1]

    def similarities(self, example: Floats) -> Floats:
        return max_sim(self._space, example, self._tokens, self._firsts)

    def likeness(self, member: int) -> Floats:
        if not self._vectors:
            return np.empty(0, dtype=np.float32)
        nearest = np.full(len(self._tokens), -np.inf)
        for tokens in some_tokens(self._vectors[member], self._tokens):
            np.maximum(nearest, token_similarities(self._space, tokens, self._tokens).max(axis=1), out=nearest)
        return finite(np.add.reduceat(nearest, self._firsts))

    def neighbours(self, member: int) -> Floats:
        return goodness_of(self._space.distance, self.similarities(self._vectors[member]))
