"""The nearest points to dense vectors, over all segments of a View, among all points or those that a filter selects.

For each segment one of four ways is taken:

=========  =========================================================================================================
graph      finds some times the limit by codes; dead rows and rows that the filter leaves out are dropped, and
           originals rescore what stays. The rarer matching rows are, the wider the search
gather     compares with every row that the filter selects, and with no other
scan       compares with every row
           Both compare the int8 codes of a graph first, where there are some, and originals of the best only
rank       where a matrix is on the disk and its quantised copy is not ignored: orders the rows of a gather or a
           scan by their codes, and reads the originals of the best only
=========  =========================================================================================================

Bits and product codes order only roughly. A graph of bits is searched twice as widely, and all that it passed is
ordered once more, by the query as it is against what the codes stand for, before originals decide.

A graph that comes back with fewer rows than asked for is given up for a gather or a scan: an answer is never shorter
than what there is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.config import HnswConfig
from vdb.model.queries import SearchParams
from vdb.model.vectors import Floats, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.side_by_side import side_by_side
from vdb.query.view import VectorView, View
from vdb.query.widths import (
    COARSE_FACTOR,
    COARSE_OVERSAMPLING,
    FILTER_WIDENING,
    RESCORE_FACTOR,
    is_worth_a_graph,
    oversampled,
    standing_in,
    width_of,
)
from vdb.segment.coded import compare_codes
from vdb.segment.distance import goodness_many, goodness_of_pairs, goodness_of_rows, top
from vdb.segment.fields.bitmaps import membership
from vdb.segment.quantised import QuantisedRows
from vdb.segment.recipe import indexing_bytes, recipe_for
from vdb.segment.rows import RowNumbers, RowsView

_GRAPH_COUNT_MAX: Final = 4_096  # beyond this many neighbours comparing with every row is no slower
_COMPARED_MAX: Final = 1 << 22  # numbers that comparisons hold at once, 16 MiB
# Rows are chosen by their codes from so many on, and where so many times as many are compared as are chosen.
_CODED_ROWS_MIN: Final = 512
_CODED_FACTOR_MIN: Final = 4
_CODED_ROWS: Final = 2_048  # codes compared at once: they stay in the second-level cache
_LIVING_SHARE_MIN: Final = 0.05  # a segment with more dead rows is about to be rebuilt
# Searching a segment of so many bytes of float32 takes longer than waking another thread for it.
_LARGE_BYTES: Final = 4 << 20
_TOGETHER_BYTES: Final = 16 << 20  # segments of up to so many are scanned together: those in memory have half of it
# One more neighbour in the width of a graph search costs as much as comparing with so many gathered rows (measured at
# 384 dimensions).
_GRAPH_STEP_COST: Final = 12.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Points with their goodness, best first: ``(k,)`` uint32 and ``(k,)`` float32. Equal ones stand by num."""

    nums: NDArray[np.uint32]
    goodness: Floats

    @classmethod
    def none(cls) -> Scored:
        return cls(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.float32))

    @classmethod
    def best(cls, parts: list[Scored], count: int) -> Scored:
        """The ``count`` best of several."""
        parts = [part for part in parts if len(part.nums)]
        if not parts:
            return cls.none()
        if len(parts) == 1 and (parts[0].goodness[1:] < parts[0].goodness[:-1]).all():
            return cls(parts[0].nums[:count], parts[0].goodness[:count])
        nums = np.concatenate([part.nums for part in parts])
        values = np.concatenate([part.goodness for part in parts])
        order = np.lexsort((nums, -values))[:count]
        return cls(nums[order], values[order])

    def without(self, num: int) -> Scored:
        kept = self.nums != num
        return Scored(self.nums[kept], self.goodness[kept])

    def above(self, threshold: float) -> Scored:
        """Those with a goodness larger than ``threshold``."""
        kept = self.goodness > threshold
        return Scored(self.nums[kept], self.goodness[kept])


def search(
    view: View,
    vector: VectorView,
    query: Floats,
    count: int,
    params: SearchParams | None,
    deadline: Deadline,
    allowed: BitMap | None = None,
) -> Scored:
    """The ``count`` points nearest to ``query``, ``(dim,)`` float32, prepared as the space stores vectors.

    Only points of ``allowed``, where it is given. Raises DeadlineExceeded.
    """
    return search_many(view, vector, query[None], count, params, deadline, allowed)[0]


def search_many(
    view: View,
    vector: VectorView,
    queries: Floats,
    count: int,
    params: SearchParams | None,
    deadline: Deadline,
    allowed: BitMap | None = None,
    threads: int = 1,
) -> list[Scored]:
    """``search`` for each of ``(q, dim)`` float32, which share everything else.

    Together they cost less: a graph searches them on up to ``threads`` threads in one call, and rows that all of them
    are compared with are read once. The segments of a single one are searched on as many threads.
    """
    if allowed is not None and len(allowed) == view.points_count:
        allowed = None
    hnsw = view.config.hnsw_for(vector.space.name)
    searcher = _Searcher(vector.space, queries, count, params or SearchParams(), hnsw, allowed, threads)
    segments = indexed_only_segments(view, vector) if searcher.params.indexed_only else vector.segments

    def search_some(some: list[RowsView]) -> list[Scored]:
        deadline.check()
        return searcher.segment(some[0]) if len(some) == 1 else searcher.scan(some)

    large = sum(segment.length * vector.space.dim * 4 >= _LARGE_BYTES for segment in segments)
    at_once = max(1, min(threads, large) if len(queries) == 1 else 1)
    found = side_by_side(search_some, searcher.parts(segments, at_once), at_once)
    return [Scored.best(list(parts), count) for parts in zip(*found, strict=True)] if found else searcher.nothing()


def indexed_only_segments(view: View, vector: VectorView) -> list[RowsView]:
    """The segments that ``indexed_only`` searches: those with a graph, and of the others the smallest, as long as
    all of these together are below the size at which a graph is built. All of them where no graph will ever come.
    """
    if recipe_for(view.config, vector.space.name, sys.maxsize).m == 0:
        return list(vector.segments)
    chosen = [segment for segment in vector.segments if segment.rows.graph is not None]
    left = indexing_bytes(view.config) or 0
    waiting = (segment for segment in vector.segments if segment.rows.graph is None)
    for segment in sorted(waiting, key=lambda segment: segment.alive_count):
        left -= segment.alive_count * vector.space.dim * 4
        if left < 0:
            break
        chosen.append(segment)
    return chosen


@dataclass(frozen=True, slots=True)
class _Searcher:
    """Searches that differ in their query alone, the same for every segment. Results stand in the order of queries."""

    space: VectorSpace
    queries: Floats
    count: int
    params: SearchParams
    hnsw: HnswConfig
    allowed: BitMap | None
    threads: int

    def parts(self, segments: Sequence[RowsView], count: int) -> list[list[RowsView]]:
        """What is searched in one go: each segment alone, and small ones that are scanned together in ``count`` parts.

        To rank the rows of several segments once takes the interpreter lock less often than to rank each, and beside
        writes every time may be a wait.
        """
        scanned = [segment for segment in segments if self._is_scanned(segment)]
        alone = [[segment] for segment in segments if not self._is_scanned(segment)]
        return alone + [part for number in range(count) if (part := scanned[number::count])]

    def _is_scanned(self, segment: RowsView) -> bool:
        """True for what is compared row by row and soon done: between two parts the deadline is looked at."""
        small = segment.length * self.space.dim * 4 <= _TOGETHER_BYTES
        return small and self.allowed is None and segment.rows.graph is None and not segment.rows.cold

    def segment(self, segment: RowsView) -> list[Scored]:
        if self.allowed is None:
            return self._unfiltered(segment)
        rows = segment.rows_among(self.allowed)
        if not len(rows):
            return self.nothing()
        count = min(self.count, len(rows))
        if self._may_use_graph(segment, count):
            share = len(rows) / segment.length
            width = int(FILTER_WIDENING * self._width() / share)
            if width * _GRAPH_STEP_COST < len(rows):
                return self._graph(segment, count, width, share, rows)
        return self._compared(segment, count, rows)

    def _unfiltered(self, segment: RowsView) -> list[Scored]:
        count = min(self.count, segment.alive_count)
        if not count:
            return self.nothing()
        if self._may_use_graph(segment, count):
            share = max(1.0 - segment.dead_share, _LIVING_SHARE_MIN)
            return self._graph(segment, count, self._width(), share, None)
        return self._compared(segment, count, None)

    def nothing(self) -> list[Scored]:
        return [Scored.none()] * len(self.queries)

    def _width(self) -> int:
        return width_of(self.params, self.hnsw)

    def _may_use_graph(self, segment: RowsView, count: int) -> bool:
        if segment.rows.graph is None or self.params.exact or count > _GRAPH_COUNT_MAX:
            return False
        # Bits alone cannot do what an unquantised graph does: without the quantised copy, originals are compared.
        if segment.rows.graph.coarse and self._quantised(segment) is None:
            return False
        return is_worth_a_graph(segment, self.hnsw)

    def _quantised(self, segment: RowsView) -> QuantisedRows | None:
        quantization = self.params.quantization
        ignored = self.params.exact or (quantization is not None and quantization.ignore)
        return None if ignored else segment.rows.quantised

    def _rescores(self) -> bool:
        quantization = self.params.quantization
        return quantization is None or quantization.rescore is not False

    def _candidates(self, segment: RowsView, count: int) -> int:
        """How many rows codes choose, for originals to choose ``count`` of. A wider search has more to choose from."""
        quantised = self._quantised(segment)
        if quantised is None:
            return standing_in(segment, count)
        quantization = self.params.quantization
        if not self._rescores():
            return count
        if quantization is not None and quantization.oversampling is not None:
            return oversampled(count, quantization.oversampling)
        return max(COARSE_OVERSAMPLING * count, self._width() // 2) if quantised.coarse else RESCORE_FACTOR * count

    def _graph(
        self, segment: RowsView, count: int, width: int, share: float, matching: RowNumbers | None
    ) -> list[Scored]:
        """``share`` of all rows count: ``matching``, or those that live. Queries for which the graph finds fewer than
        ``count`` of them are compared with all of them."""
        graph, quantised = segment.rows.graph, self._quantised(segment)
        assert graph is not None, "a search without a graph is a scan"
        candidates = min(self._candidates(segment, count), segment.length)
        wanted = int(candidates / share) + 1
        if graph.coarse:
            width = wanted = COARSE_FACTOR * max(width, wanted)
        elif self.allowed is not None:
            width = wanted = max(width, wanted)  # matching rows are thin: all that the search passes is looked at
        found = graph.search(self.queries, min(segment.length, wanted), min(segment.length, width), self.threads)
        found = self._counting(segment, found)
        short = [number for number, rows in enumerate(found) if len(rows) < count]
        if len(short) == len(found):
            return self._compared(segment, count, matching)
        if short:
            again = replace(self, queries=self.queries[short])._compared(segment, count, matching)
            instead = dict(zip(short, again, strict=True))
        else:
            instead = {}
        if quantised is None:
            scored = self._gather_each(segment, [rows[:candidates] for rows in found], count)
        else:
            ordered = not graph.coarse
            scored = [
                self._rescored(segment, quantised, query, rows, candidates, count, ordered=ordered)
                for query, rows in zip(self.queries, found, strict=True)
            ]
        return [instead.get(number, each) for number, each in enumerate(scored)] if instead else scored

    def _counting(self, segment: RowsView, found: list[RowNumbers]) -> list[RowNumbers]:
        """The rows among ``found`` that live and match."""
        if segment.alive is not None:
            found = [rows[segment.alive[rows]] for rows in found]
        if self.allowed is None:
            return found
        matches = membership(self.allowed, segment.rows.nums[np.concatenate(found)])
        parts = np.split(matches, np.cumsum([len(rows) for rows in found[:-1]]))
        return [rows[part] for rows, part in zip(found, parts, strict=True)]

    def _compared(self, segment: RowsView, count: int, rows: RowNumbers | None) -> list[Scored]:
        """The best of all living rows, or of ``rows``."""
        if segment.rows.cold:
            return [self._ranked(segment, query, rows, count) for query in self.queries]
        chosen = self._chosen_by_codes(segment, count, rows)
        if chosen is not None:
            return self._gather_each(segment, chosen, count)
        return self.scan([segment]) if rows is None else self._gather(segment, rows, count)

    def _chosen_by_codes(self, segment: RowsView, count: int, rows: RowNumbers | None) -> list[RowNumbers] | None:
        """The best of some or all living rows for each query by the codes of the graph, some times ``count``: a quarter
        of the bytes is read. None where the codes do not tell enough, and where nothing would be gained."""
        graph = segment.rows.graph
        candidates = standing_in(segment, count)
        compared = segment.alive_count if rows is None else len(rows)
        if graph is None or self.params.exact or compared < max(_CODED_ROWS_MIN, _CODED_FACTOR_MIN * candidates):
            return None
        compare = compare_codes(self.space, graph, segment.length, self.queries)
        if compare is None:
            return None
        if rows is None:
            rows = segment.alive_rows()
        best: list[list[RowNumbers]] = [[] for _ in self.queries]
        step = max(1, _COMPARED_MAX // len(self.queries))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            values = np.empty((len(self.queries), len(part)), dtype=np.float32)
            for place in range(0, len(part), _CODED_ROWS):
                values[:, place : place + _CODED_ROWS] = compare(part[place : place + _CODED_ROWS])
            for found, each in zip(best, values, strict=True):
                found.append(part[segment.best(each, candidates, part)])
        return [np.concatenate(found) for found in best]

    def _rescored(
        self,
        segment: RowsView,
        quantised: QuantisedRows,
        query: Floats,
        rows: RowNumbers,
        candidates: int,
        count: int,
        *,
        ordered: bool,
    ) -> Scored:
        """The best of some rows by their originals, or as far as codes tell. ``ordered`` rows stand best first."""
        if ordered:
            rows = rows[:candidates]
        if self._rescores():
            if len(rows) > candidates:
                rows = rows[segment.best(quantised.estimate(query, rows), candidates, rows)]
            return self._gather_one(segment, query, rows, count)
        values = quantised.estimate(query, rows)
        best = segment.best(values, count, rows)
        return Scored(segment.rows.nums[rows[best]], values[best])

    def _ranked(self, segment: RowsView, query: Floats, rows: RowNumbers | None, count: int) -> Scored:
        """All living rows, or some, of a matrix on the disk: by their codes first, where there are any."""
        quantised = self._quantised(segment)
        compared = segment.alive_count if rows is None else len(rows)
        if quantised is not None:
            candidates = self._candidates(segment, count)
            looked_at = candidates * COARSE_FACTOR if quantised.binary else candidates
            if looked_at < compared:
                values = quantised.rank(query, rows)
                if rows is not None:
                    chosen = rows[segment.best(values, looked_at, rows)]
                else:
                    living = values if segment.alive is None else np.where(segment.alive, values, -np.inf)
                    chosen = segment.best(living, looked_at)
                return self._rescored(
                    segment, quantised, query, chosen, candidates, count, ordered=not quantised.binary
                )
        return (
            replace(self, queries=query[None], count=count).scan([segment])[0]
            if rows is None
            else self._gather_one(segment, query, rows, count)
        )

    def scan(self, segments: Sequence[RowsView]) -> list[Scored]:
        """The best of all living rows of some segments."""
        count = min(self.count, sum(segment.alive_count for segment in segments))
        if not count:
            return self.nothing()
        ends = [*accumulate(segment.length for segment in segments)]
        nums = np.concatenate([segment.rows.nums[: segment.length] for segment in segments])
        matrices = [segment.rows.matrix[: segment.length] for segment in segments]
        at_once = max(1, _COMPARED_MAX // len(nums))
        scored = []
        for start in range(0, len(self.queries), at_once):
            queries = self.queries[start : start + at_once]
            values = goodness_many(self.space, queries, *matrices)
            for segment, end in zip(segments, ends, strict=True):
                if segment.alive is not None:
                    values[:, end - segment.length : end][:, ~segment.alive[: segment.length]] = -np.inf
            for each in values:
                rows = top(each, count, nums)
                scored.append(Scored(nums[rows], each[rows]))
        return scored

    def _gather(self, segment: RowsView, rows: RowNumbers, count: int) -> list[Scored]:
        """The best of some living rows by their stored vectors, the same rows for all queries."""
        at_once = max(1, _COMPARED_MAX // len(rows))
        scored = []
        for start in range(0, len(self.queries), at_once):
            queries = self.queries[start : start + at_once]
            for values in goodness_of_rows(self.space, queries, segment.rows.gathered, rows):
                best = segment.best(values, count, rows)
                scored.append(Scored(segment.rows.nums[rows[best]], values[best]))
        return scored

    def _gather_one(self, segment: RowsView, query: Floats, rows: RowNumbers, count: int) -> Scored:
        values = goodness_of_rows(self.space, query[None], segment.rows.gathered, rows)[0]
        best = segment.best(values, count, rows)
        return Scored(segment.rows.nums[rows[best]], values[best])

    def _gather_each(self, segment: RowsView, found: list[RowNumbers], count: int) -> list[Scored]:
        """``_gather_one`` for each query and the rows that were found for it."""
        if len(found) == 1 or len({len(rows) for rows in found}) > 1:
            return [
                self._gather_one(segment, query, rows, count) for query, rows in zip(self.queries, found, strict=True)
            ]
        rows = np.stack(found)
        values = goodness_of_pairs(self.space, self.queries, segment.rows.gathered[rows])
        nums = segment.rows.nums[rows]
        best = np.lexsort((nums, -values), axis=1)[:, :count]
        pairs = zip(np.take_along_axis(nums, best, axis=1), np.take_along_axis(values, best, axis=1), strict=True)
        return [Scored(*pair) for pair in pairs]
