"""Which points of a segment are worth comparing by MaxSim, as a graph over their tokens tells.

Every token of the query searches the graph. The points of the rows that are found are ranked by the MaxSim of these
rows alone, by the graph's codes where they can: it leaves out tokens that no search came to, and is at most what the
whole point scores. The best of them, many times the limit, go on to be compared whole.

That works where the best points stand out, and are found by many tokens each. Where tokens are so alike in all points
that each search comes back with others, the order means nothing, and all points are to be compared. It shows: the best
were found by few tokens. A quarter of the tokens is searched first, so that little is lost then. Adverse filters end
the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from vdb.config import HnswConfig
from vdb.model.queries import SearchParams
from vdb.model.vectors import Floats
from vdb.query.deadline import Deadline
from vdb.query.max_sim import Positions, finite, some_tokens, token_similarities
from vdb.query.multi_documents import Documents
from vdb.query.widths import (
    COARSE_FACTOR,
    COARSE_OVERSAMPLING,
    FILTER_WIDENING,
    is_worth_a_graph,
    oversampled,
    width_of,
)
from vdb.segment.coded import compare_codes
from vdb.segment.distance import top
from vdb.segment.hnsw import Graph
from vdb.segment.rows import RowNumbers, RowsView

# COARSE_OVERSAMPLING times the limit are compared whole, and at least so many times the width, a tenth of all the work.
_CANDIDATES_OF_WIDTH: Final = 2
# One more neighbour in the width of all tokens' searches costs as much as comparing so many rows with all tokens
# (measured at 128 dimensions, one thread).
_GRAPH_STEP_COST: Final = 400.0
# Median share of the query's tokens that found one of the best. Above it, 98 of 100 were among the candidates over made
# up documents of 1 to 500 topics; at 0.3 nine of ten; where all documents are alike it is 0.2 or less.
_FOUND_BY_MIN: Final = 0.35
_PROBE: Final = 4  # every fourth token is searched first
_PROBE_TOKENS_MIN: Final = 16  # fewer are searched at once
_TOKENS_AT_ONCE: Final = 256  # between two looks at the deadline


@dataclass(frozen=True, slots=True)
class TokenSearch:
    """How to search the graphs of all segments for one query. One call of a graph uses up to ``threads``."""

    params: SearchParams
    hnsw: HnswConfig
    deadline: Deadline
    threads: int

    def candidates(self, documents: Documents, query: Floats, count: int) -> Positions | None:
        """The numbers of those documents, ascending, that have the ``count`` best among them.

        None where all documents have to be compared, or where that is faster. ``query`` is ``(tokens, dim)`` float32.
        Raises DeadlineExceeded.
        """
        segment = documents.segment
        graph = segment.rows.graph
        count = min(count, len(documents.nums))
        if graph is None or not count or not self._may_use(graph, segment):
            return None
        width, wanted = self._width(documents, graph), self._wanted(segment, count)
        looked_at = min(len(query) * width, segment.length) + wanted * documents.length / len(documents.nums)
        if width * _GRAPH_STEP_COST + looked_at >= documents.length:
            return None
        found = _Found.none(documents, graph)
        for tokens in _in_two_steps(query):
            found = found.joined(self._search(graph, tokens, width), tokens)
            points, values = found.ranked()
            if found.found_by(points[top(values, count)]) < _FOUND_BY_MIN:
                return None
        return np.sort(points[top(values, wanted)]) if len(points) >= count else None

    def _may_use(self, graph: Graph, segment: RowsView) -> bool:
        """False also where bits lead a graph that are to be ignored."""
        quantization = self.params.quantization
        ignored = quantization is not None and quantization.ignore
        if self.params.exact or (graph.coarse and (ignored or segment.rows.quantised is None)):
            return False
        return is_worth_a_graph(segment, self.hnsw)

    def _width(self, documents: Documents, graph: Graph) -> int:
        """Rows for each token to find, so that as many count as without a filter and dead rows."""
        segment = documents.segment
        width = width_of(self.params, self.hnsw) * segment.length / documents.length
        if documents.length < segment.alive_count:
            width *= FILTER_WIDENING
        if graph.coarse:
            width *= COARSE_FACTOR
        return math.ceil(min(width, segment.length))

    def _wanted(self, segment: RowsView, count: int) -> int:
        """How many points are compared whole."""
        quantization = self.params.quantization
        oversampling = None if quantization is None or quantization.ignore else quantization.oversampling
        if oversampling is not None and segment.rows.quantised is not None:
            return oversampled(count, oversampling)
        return max(COARSE_OVERSAMPLING * count, _CANDIDATES_OF_WIDTH * width_of(self.params, self.hnsw))

    def _search(self, graph: Graph, tokens: Floats, width: int) -> list[RowNumbers]:
        """The rows that each token finds."""
        found: list[RowNumbers] = []
        for start in range(0, len(tokens), _TOKENS_AT_ONCE):
            self.deadline.check()
            found += graph.search(tokens[start : start + _TOKENS_AT_ONCE], width, width, self.threads)
        self.deadline.check()
        return found


def _in_two_steps(query: Floats) -> list[Floats]:
    """The tokens of a query: some, spread over it, and then the others."""
    if len(query) < _PROBE_TOKENS_MIN:
        return [query]
    first = np.arange(len(query)) % _PROBE == 0
    return [query[first], query[~first]]


@dataclass(frozen=True, slots=True)
class _Found:
    """What some tokens found: ``rows`` of ``points``, numbers of documents, and which token each row is of."""

    documents: Documents
    graph: Graph
    query: Floats
    tokens: Positions
    rows: RowNumbers
    points: Positions

    @classmethod
    def none(cls, documents: Documents, graph: Graph) -> _Found:
        nothing = np.empty(0, dtype=np.int64)
        query = np.empty((0, documents.segment.rows.space.dim), dtype=np.float32)
        return cls(documents, graph, query, nothing, nothing, nothing)

    def joined(self, found: list[RowNumbers], tokens: Floats) -> _Found:
        """With what more tokens found; rows that do not count are left out."""
        rows = np.concatenate(found)
        numbers = np.repeat(np.arange(len(self.query), len(self.query) + len(found)), [len(each) for each in found])
        points = self.documents.points_at(rows)
        counting = points >= 0
        return _Found(
            self.documents,
            self.graph,
            np.concatenate([self.query, tokens]),
            np.concatenate([self.tokens, numbers[counting]]),
            np.concatenate([self.rows, rows[counting]]),
            np.concatenate([self.points, points[counting]]),
        )

    def ranked(self) -> tuple[Positions, Floats]:
        """All points that were found, ascending, and the MaxSim of their rows that were found."""
        rows, places = np.unique(self.rows, return_index=True)
        points = self.points[places]
        starts = np.flatnonzero(np.diff(points, prepend=-1))
        sums = np.zeros(len(starts), dtype=np.float64)
        if len(rows):
            for tokens in some_tokens(self.query, rows):
                sums += np.maximum.reduceat(self._similar(tokens, rows), starts, axis=1).sum(axis=0)
        return points[starts], finite(sums)

    def _similar(self, tokens: Floats, rows: RowNumbers) -> Floats:
        """``(tokens, rows)``: by codes, which are small and lie beside each other, or else by originals."""
        segment = self.documents.segment
        by_codes = compare_codes(segment.rows.space, self.graph, segment.length, tokens)
        if by_codes is not None:
            return by_codes(rows)
        values: Floats = token_similarities(segment.rows.space, tokens, segment.rows.gathered[rows]).T
        return values

    def found_by(self, points: Positions) -> float:
        """The median share of the tokens that found one of ``points``; 0 for no points."""
        if not len(points):
            return 0.0
        count = len(self.documents.nums)
        pairs = np.unique(self.tokens * count + self.points)
        found = np.bincount(pairs % count, minlength=count)[points]
        return float(np.median(found)) / len(self.query)
