"""A query with its prefetches, run from the inside out.

A stage without prefetches ranks the points of the collection; one with prefetches ranks what they found, and only that.
A stage's filter holds for its prefetches too, whatever is in theirs: every filter is a set of points, and sets are
intersected on the way down. Points that a query names by id are left out there as well. So the limit of a prefetch
counts points that can still be in the answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.errors import BadRequest
from vdb.model.ids import PointId
from vdb.model.queries import LIMIT_DEFAULT, Prefetch, QueryStage, SearchParams
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
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Floats, prepare_block
from vdb.query.deadline import Deadline
from vdb.query.examples import ExampleReader, Source
from vdb.query.fusion import fuse
from vdb.query.hits import Hits
from vdb.query.mmr import DIVERSITY_DEFAULT, diversify
from vdb.query.nearest import Scored, search
from vdb.query.rescore import score_by_formula
from vdb.query.scoring import scoring
from vdb.query.scroll import ROWS_MAX, ordered_nums, page_of
from vdb.query.selection import select
from vdb.query.similarity import Comparison, gather
from vdb.query.view import VectorView, View
from vdb.segment.distance import to_goodness, to_score
from vdb.segment.fields.bitmaps import bitmap_of, nums_of, union
from vdb.storage import points

_EXACT = SearchParams(exact=True)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs queries on one View. ``lookups`` are the other collections that they name."""

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
                hits = self._nearest(stage, [query.nearest], None, end, allowed)
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

    def _nearest(
        self,
        stage: QueryStage,
        inputs: Sequence[list[float] | PointId],
        query: Floats | None,
        count: int,
        allowed: BitMap | None,
    ) -> Hits:
        """The points nearest to ``query``, which ``inputs`` were made into, or else to the one input."""
        vector = self.view.vector(stage.using or UNNAMED)
        if query is None:
            query = self._reader(stage, vector).read(inputs)[0]
        excluded = self._excluded(stage, inputs)
        found = self._search(stage, vector, query, count, allowed, excluded)
        return _with_threshold(vector, found, stage.score_threshold)

    def _search(
        self,
        stage: QueryStage,
        vector: VectorView,
        query: Floats,
        count: int,
        allowed: BitMap | None,
        excluded: BitMap | None,
    ) -> Scored:
        params = stage.params
        if stage.prefetches:
            allowed, params = self._candidates(stage, self._less(allowed, excluded)), _EXACT
        elif allowed is not None and excluded is not None:
            allowed = allowed - excluded
        elif excluded is not None:
            found = search(self.view, vector, query, count + len(excluded), params, self.deadline)
            return _without(found, excluded)
        return search(self.view, vector, query, count, params, self.deadline, allowed)

    def _average(self, stage: QueryStage, examples: RecommendInput, count: int, allowed: BitMap | None) -> Hits:
        """avg(positive) + avg(positive) − avg(negative), and then the points nearest to that."""
        positive, negative = examples.positive or [], examples.negative or []
        if not positive:
            raise BadRequest("`recommend.positive` needs at least one example with the strategy `average_vector`")
        vector = self.view.vector(stage.using or UNNAMED)
        # Averaged as they are given: normalising first would weigh them anew.
        vectors = self._reader(stage, vector).read([*positive, *negative], as_given=True)
        average = vectors[: len(positive)].mean(axis=0, dtype=np.float32)
        if negative:
            average = average + average - vectors[len(positive) :].mean(axis=0, dtype=np.float32)
        query = prepare_block(vector.space, average[None])[0]
        return self._nearest(stage, [*positive, *negative], query, count, allowed)

    def _diverse(
        self,
        stage: QueryStage,
        nearest: list[float] | PointId,
        mmr: Mmr,
        limit: int,
        count: int,
        allowed: BitMap | None,
    ) -> Hits:
        vector = self.view.vector(stage.using or UNNAMED)
        query = self._reader(stage, vector).read([nearest])[0]
        candidates_limit = limit if mmr.candidates_limit is None else mmr.candidates_limit
        hits = self._nearest(stage, [nearest], query, candidates_limit, allowed)
        positions, vectors = gather(vector, hits.nums)
        order = np.argsort(positions)
        diversity = DIVERSITY_DEFAULT if mmr.diversity is None else mmr.diversity
        taken = diversify(vector.space, query, vectors[order], diversity, count, self.deadline)
        chosen = positions[order][taken]
        return Hits(hits.nums[chosen], hits.scores[chosen])

    def _by_examples(self, stage: QueryStage, query: VectorQuery, count: int, allowed: BitMap | None) -> Hits:
        assert not isinstance(query, NearestQuery)
        vector = self.view.vector(stage.using or UNNAMED)
        asked = scoring(query)
        examples = self._reader(stage, vector).read(asked.examples)
        excluded = self._excluded(stage, asked.examples)
        comparison = Comparison(
            vector.space, examples, asked.combine, exact=stage.params is not None and stage.params.exact
        )
        if excluded is not None and allowed is None and not stage.prefetches:
            # Rows in a row are compared faster than all but a few of them.
            found = comparison.best(vector.segments, count + len(excluded), self.deadline)
            found = _without(found, excluded)
        else:
            candidates = self._candidates(stage, self._less(allowed, excluded))
            found = comparison.best(vector.segments, count, self.deadline, candidates)
        return _with_threshold(None, found, stage.score_threshold)

    def _reader(self, stage: QueryStage, vector: VectorView) -> ExampleReader:
        lookup = stage.lookup_from
        if lookup is None:
            return ExampleReader(self.source, vector.space.name, vector.space)
        return ExampleReader(self.lookups[lookup.collection], lookup.vector or UNNAMED, vector.space)

    def _excluded(self, stage: QueryStage, inputs: Sequence[list[float] | PointId]) -> BitMap | None:
        """The points that a query names by id, where they are points of this collection; None for none."""
        ids = [value for value in inputs if not isinstance(value, list)]
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


def _without(found: Scored, excluded: BitMap) -> Scored:
    for num in excluded:
        found = found.without(num)
    return found


def _with_threshold(vector: VectorView | None, found: Scored, threshold: float | None) -> Hits:
    """Scores in the sense of the vector's distance; without one, larger ones are better."""
    if threshold is not None:
        with np.errstate(over="ignore"):
            bound = float(np.float32(threshold)) if vector is None else to_goodness(vector.space.distance, threshold)
        found = found.above(bound)
    return Hits(found.nums, found.goodness if vector is None else to_score(vector.space.distance, found.goodness))
