"""A query with its prefetches, run from the inside out.

A stage without prefetches ranks the points of the collection; one with prefetches ranks what they found, and only that.
A stage's filter holds for its prefetches too, whatever is in theirs: every filter is a set of points, and sets are
intersected on the way down. Points that a query names by id are left out there as well. So the limit of a prefetch
counts points that can still be in the answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.errors import BadRequest, CollectionNotFound
from vdb.model.queries import LIMIT_DEFAULT, IdfCorpusParams, Prefetch, QueryStage, SearchParams
from vdb.model.query_kinds import (
    FormulaQuery,
    FusionQuery,
    Mmr,
    NearestQuery,
    OrderByQuery,
    RecommendInput,
    RecommendQuery,
    RrfQuery,
    SampleQuery,
    VectorQuery,
)
from vdb.model.vector_input import VectorInput
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Distance
from vdb.query.deadline import Deadline
from vdb.query.dense import DenseVectors
from vdb.query.examples import Lookup, Source, ids_of
from vdb.query.fusion import fuse
from vdb.query.hits import Hits
from vdb.query.mmr import DIVERSITY_DEFAULT, diversify
from vdb.query.multi import MultiVectors
from vdb.query.nearest import Scored
from vdb.query.rescore import score_by_formula
from vdb.query.scoring import scoring
from vdb.query.scroll import ROWS_MAX, ordered_nums, page_of
from vdb.query.searchable import Searchable
from vdb.query.selection import select
from vdb.query.sparse import SparseVectors
from vdb.query.view import SparseView, View
from vdb.segment.distance import to_goodness, to_score
from vdb.segment.fields.bitmaps import bitmap_of, nums_of, union
from vdb.storage import points

_EXACT = SearchParams(exact=True)

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs queries on one View. ``lookups`` are the other collections that they name, of those that exist."""

    source: Source
    deadline: Deadline
    lookups: Mapping[str, Source] = field(default_factory=dict)

    @property
    def view(self) -> View:
        return self.source.view

    def rank(self, stage: QueryStage, limit: int, offset: int = 0, inherited: BitMap | None = None) -> Hits:
        """The hits of a stage from ``offset`` on, up to ``limit`` of them, among the points of ``inherited``.

        Raises DeadlineExceeded, PointNotFound and BadRequest.
        """
        limit, offset = min(limit, ROWS_MAX), min(offset, ROWS_MAX)
        end = min(limit + offset, ROWS_MAX)
        allowed = self._allowed(stage, inherited)
        query = stage.query
        match query:
            case NearestQuery(mmr=None):
                hits = self._nearest_to(stage, query.nearest, end, allowed)
            case NearestQuery(mmr=Mmr() as mmr):
                hits = self._diverse(stage, query.nearest, mmr, limit, end, allowed)
            case None:
                if stage.prefetches:
                    raise BadRequest(
                        "A query is needed to merge the prefetches: `prefetch` is given and `query` is missing"
                    )
                hits = self._by_id(end, allowed)
            case FusionQuery() | RrfQuery():
                hits = fuse(query, self._required_prefetches(stage, "fusion", allowed))
                hits = hits.from_score(stage.score_threshold)
            case FormulaQuery():
                found = self._required_prefetches(stage, "formula", allowed)
                hits = score_by_formula(self.source, query, found, self.deadline).from_score(stage.score_threshold)
            case OrderByQuery(order_by=order_by):
                pairs = list(islice(ordered_nums(self.view, order_by, self._candidates(stage, allowed)), end))
                nums = np.array([num for _, num in pairs], dtype=np.uint32)
                hits = Hits.unscored(nums, [value for value, _ in pairs])
            case SampleQuery():
                hits = self._sample(stage, end, allowed)
            case RecommendQuery(recommend=examples) if examples.strategy in (None, "average_vector"):
                hits = self._average(stage, examples, end, allowed)
            case _:
                hits = self._by_examples(stage, query, end, allowed)
        return hits.part(offset, end)

    def _allowed(self, stage: QueryStage, inherited: BitMap | None) -> BitMap | None:
        """The points that the filters down to this stage let through; None for all."""
        if stage.filter is None:
            return inherited
        selected = select(self.view, self.source.connection, stage.filter, self.deadline)
        return selected if inherited is None else selected & inherited

    # Prefetches

    def _found(self, prefetches: Sequence[Prefetch], allowed: BitMap | None) -> list[Hits]:
        return [
            self.rank(prefetch, LIMIT_DEFAULT if prefetch.limit is None else prefetch.limit, inherited=allowed)
            for prefetch in prefetches
        ]

    def _required_prefetches(self, stage: QueryStage, kind: str, allowed: BitMap | None) -> list[Hits]:
        if not stage.prefetches:
            raise BadRequest(f"A {kind} query needs at least one `prefetch`")
        return self._found(stage.prefetches, allowed)

    def _candidates(self, stage: QueryStage, allowed: BitMap | None) -> BitMap | None:
        """The points that a stage may rank: what its prefetches found, or all that are allowed."""
        if not stage.prefetches:
            return allowed
        return union(bitmap_of(hits.nums) for hits in self._found(stage.prefetches, allowed))

    # Queries that compare nothing

    def _by_id(self, count: int, allowed: BitMap | None) -> Hits:
        page = page_of(self.view, self.source.connection, None, count, False, allowed)
        if any(point.num not in self.view.all_points for point in page):  # written after the View was taken
            page = page_of(self.view, self.source.connection, None, count, False, allowed or self.view.all_points)
        return Hits.unscored(np.array([point.num for point in page], dtype=np.uint32))

    def _sample(self, stage: QueryStage, count: int, allowed: BitMap | None) -> Hits:
        candidates = self._candidates(stage, allowed)
        return Hits.unscored(sample(self.view.all_points if candidates is None else candidates, count))

    # Queries that compare vectors

    def searchable(self, name: str, params: SearchParams | None = None) -> Searchable[Any]:
        """The vectors of a name; raises UnknownVectorName, and BadRequest for an idf corpus where idf is not used."""
        vector = self.view.vector(name)
        corpus = params.idf if params is not None and isinstance(params.idf, IdfCorpusParams) else None
        if isinstance(vector, SparseView):
            return SparseVectors(self.source, vector, self.deadline, self._corpus(vector, corpus))
        if corpus is not None:
            raise BadRequest(f"`params.idf` needs a sparse vector with the modifier `idf`, and `{name}` is not sparse")
        if vector.space.multi:
            return MultiVectors(self.view, vector, self.deadline)
        return DenseVectors(self.view, vector, self.deadline)

    def _searchable(self, stage: QueryStage) -> Searchable[Any]:
        return self.searchable(stage.using or UNNAMED, stage.params)

    def _corpus(self, sparse: SparseView, params: IdfCorpusParams | None) -> BitMap | None:
        """The points that document frequencies are counted in; None for all."""
        if params is None:
            return None
        if not sparse.space.idf:
            raise BadRequest(f"`params.idf` needs the modifier `idf`, which vector `{sparse.space.name}` does not have")
        return select(self.view, self.source.connection, params.corpus, self.deadline)

    def _nearest_to(self, stage: QueryStage, nearest: VectorInput, count: int, allowed: BitMap | None) -> Hits:
        vectors = self._searchable(stage)
        query = vectors.read([nearest], self._lookup(stage, [nearest]))[0]
        return self._nearest(stage, vectors, query, [nearest], count, allowed)

    def _nearest(
        self,
        stage: QueryStage,
        vectors: Searchable[E],
        query: E,
        inputs: Sequence[VectorInput],
        count: int,
        allowed: BitMap | None,
    ) -> Hits:
        """The points nearest to ``query``, which was made of ``inputs``."""
        params = _EXACT if stage.prefetches else stage.params
        found = self._ranked(
            stage, inputs, count, allowed, lambda count, among: vectors.nearest(query, count, params, among)
        )
        return with_threshold(vectors.distance, found, stage.score_threshold)

    def _ranked(
        self,
        stage: QueryStage,
        inputs: Sequence[VectorInput],
        count: int,
        allowed: BitMap | None,
        search: Callable[[int, BitMap | None], Scored],
    ) -> Scored:
        """The ``count`` best points of a search, less those that ``inputs`` name, among those that a stage may rank."""
        excluded = self._excluded(stage, inputs)
        if excluded is not None and allowed is None and not stage.prefetches:
            # Searching for some more is faster than searching among all but a few.
            found = search(count + len(excluded), None)
            for num in excluded:
                found = found.without(num)
            return Scored(found.nums[:count], found.goodness[:count])
        return search(count, self._candidates(stage, self._less(allowed, excluded)))

    def _average(self, stage: QueryStage, examples: RecommendInput, count: int, allowed: BitMap | None) -> Hits:
        """The points nearest to avg(positive) + avg(positive) − avg(negative)."""
        positive, negative = examples.positive or [], examples.negative or []
        if not positive:
            raise BadRequest("`recommend.positive` needs at least one example with the strategy `average_vector`")
        vectors = self._searchable(stage)
        query = vectors.average(positive, negative, self._lookup(stage, [*positive, *negative]))
        return self._nearest(stage, vectors, query, [*positive, *negative], count, allowed)

    def _diverse(
        self, stage: QueryStage, nearest: VectorInput, mmr: Mmr, limit: int, count: int, allowed: BitMap | None
    ) -> Hits:
        vectors = self._searchable(stage)
        query = vectors.read([nearest], self._lookup(stage, [nearest]))[0]
        candidates_limit = limit if mmr.candidates_limit is None else mmr.candidates_limit
        hits = self._nearest(stage, vectors, query, [nearest], candidates_limit, allowed)
        candidates = vectors.gather(hits.nums)
        diversity = DIVERSITY_DEFAULT if mmr.diversity is None else mmr.diversity
        chosen = candidates.positions[diversify(candidates, query, diversity, count, self.deadline)]
        return Hits(hits.nums[chosen], hits.scores[chosen])

    def _by_examples(self, stage: QueryStage, query: VectorQuery, count: int, allowed: BitMap | None) -> Hits:
        assert not isinstance(query, NearestQuery)
        vectors = self._searchable(stage)
        asked = scoring(query)
        examples = vectors.read(asked.examples, self._lookup(stage, asked.examples))
        exact = stage.params is not None and stage.params.exact
        found = self._ranked(
            stage,
            asked.examples,
            count,
            allowed,
            lambda count, among: vectors.best(examples, asked.combine, count, exact, among),
        )
        return with_threshold(None, found, stage.score_threshold)

    def _lookup(self, stage: QueryStage, inputs: Sequence[VectorInput]) -> Lookup:
        """Where the ids among ``inputs`` are looked up; raises CollectionNotFound where there are any."""
        lookup = stage.lookup_from
        if lookup is not None and lookup.collection not in self.lookups and ids_of(inputs):
            raise CollectionNotFound(lookup.collection)
        if lookup is None or lookup.collection not in self.lookups:
            return Lookup(self.source, stage.using or UNNAMED)
        return Lookup(self.lookups[lookup.collection], lookup.vector or UNNAMED)

    def _excluded(self, stage: QueryStage, inputs: Sequence[VectorInput]) -> BitMap | None:
        """The points that a query names by id, where they are points of this collection; None for none."""
        ids = ids_of(inputs)
        lookup = stage.lookup_from
        if not ids or (lookup is not None and self.lookups[lookup.collection].view is not self.view):
            return None
        return BitMap(points.find(self.source.connection, ids).values())

    def _less(self, allowed: BitMap | None, excluded: BitMap | None) -> BitMap | None:
        if excluded is None:
            return allowed
        return (self.view.all_points if allowed is None else allowed) - excluded


def sample(among: BitMap, count: int) -> NDArray[np.uint32]:
    """Up to ``count`` of the points, each as likely as any other, in random order."""
    nums = nums_of(among)
    chosen = random.sample(range(len(nums)), min(count, len(nums)))
    return nums[np.array(chosen, dtype=np.int64)]


def with_threshold(distance: Distance | None, found: Scored, threshold: float | None) -> Hits:
    """Scores in the sense of the distance; without one, larger ones are better."""
    if threshold is not None:
        with np.errstate(over="ignore"):
            bound = float(np.float32(threshold)) if distance is None else to_goodness(distance, threshold)
        found = found.above(bound)
    return Hits(found.nums, found.goodness if distance is None else to_score(distance, found.goodness))
