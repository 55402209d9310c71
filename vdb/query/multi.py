"""Multivectors as queries compare them: MaxSim, exact.

The similarity of a point is the sum, over the tokens of the example, of the best similarity that any of the point's
tokens has with it (Khattab and Zaharia, "ColBERT", 2020). A similarity of two tokens is the cosine, the dot product,
the negated *square* of the Euclidean distance, or the negated Manhattan distance. A Euclidean score is the root of the
whole sum, and not a sum of roots: so Qdrant has it (qdrant issue 6294).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.queries import SearchParams
from vdb.model.sparse import SparseVector
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Distance, Floats, VectorSpace, prepare
from vdb.query.deadline import Deadline
from vdb.query.examples import ExampleValue, Lookup
from vdb.query.nearest import COARSE_OVERSAMPLING, RESCORE_FACTOR, Scored
from vdb.query.searchable import Combine, Searchable, wrong_kind
from vdb.query.similarity import VALUES_MAX, rows_at_once
from vdb.query.view import VectorView
from vdb.segment.distance import top
from vdb.segment.rows import RowNumbers, RowsView

_BLOCK_ROWS: Final = 8_192  # rows compared at once: their products with 32 tokens take a megabyte
_CANDIDATES_MAX: Final = 2**31  # more points than there are; a client's oversampling has no bound
_LARGEST: Final = float(np.finfo(np.float32).max)

Positions = NDArray[np.int64]


class MultiVectors(Searchable[Floats]):
    """Examples are ``(tokens, dim)`` float32; a dense vector is one of a single token."""

    def __init__(self, vector: VectorView, deadline: Deadline) -> None:
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
        def goodness(similar: Floats) -> Floats:
            return _goodness(self.distance, similar[0])

        parts = []
        for segment in self._vector.segments:
            documents = _Documents.of_segment(segment, allowed)
            candidates = _candidates(segment, count, params)
            if candidates is not None and candidates < len(documents.nums):
                documents = documents.chosen(self._by_codes(documents, query, candidates))
            parts.append(self._best_of(documents, [query], goodness, count))
        return Scored.best(parts, count)

    def best(
        self, examples: Sequence[Floats], combine: Combine, count: int, exact: bool, allowed: BitMap | None
    ) -> Scored:
        documents = (_Documents.of_segment(segment, allowed) for segment in self._vector.segments)
        return Scored.best([self._best_of(each, examples, combine, count) for each in documents], count)

    def gather(self, nums: NDArray[np.uint32]) -> GatheredMultivectors:
        wanted = BitMap(nums)
        found: dict[int, Floats] = {}
        for segment in self._vector.segments:
            documents = _Documents.of_segment(segment, wanted)
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

    def _best_of(self, documents: _Documents, examples: Sequence[Floats], score: Combine, count: int) -> Scored:
        values = np.empty(len(documents.nums), dtype=np.float32)
        for start, end, block, firsts in documents.blocks(rows_at_once(len(examples), _BLOCK_ROWS)):
            self._deadline.check()
            similar = np.empty((len(examples), end - start), dtype=np.float32)
            for place, example in enumerate(examples):
                similar[place] = max_sim(self._space, example, block, firsts)
            values[start:end] = score(similar)
        best = top(values, count)
        return Scored(documents.nums[best], values[best])

    def _by_codes(self, documents: _Documents, query: Floats, count: int) -> Positions:
        """Which points are the ``count`` best as far as the quantised copy tells, ascending."""
        quantised = documents.segment.rows.quantised
        assert quantised is not None, "without a quantised copy all points are compared"
        values = np.zeros(len(documents.nums), dtype=np.float32)
        for token in query:
            self._deadline.check()
            values += np.maximum.reduceat(quantised.rank(token, documents.rows), documents.firsts)
        return np.sort(top(values, count))


def _candidates(segment: RowsView, count: int, params: SearchParams | None) -> int | None:
    """How many points codes choose of a matrix on the disk, for originals to decide; None where these are read.

    In memory comparing the originals is as fast. Bits are too rough: what is lost at each token adds up.
    """
    quantised = segment.rows.quantised if segment.rows.cold else None
    if quantised is None or quantised.binary or (params is not None and params.exact):
        return None
    asked = None if params is None else params.quantization
    if asked is not None and asked.ignore:
        return None
    usual = COARSE_OVERSAMPLING if quantised.coarse else RESCORE_FACTOR
    oversampling = usual if asked is None or asked.oversampling is None else asked.oversampling
    return math.ceil(min(oversampling * count, _CANDIDATES_MAX))


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
        for tokens in _some_tokens(self._vectors[member], self._tokens):
            np.maximum(nearest, token_similarities(self._space, tokens, self._tokens).max(axis=1), out=nearest)
        return _finite(np.add.reduceat(nearest, self._firsts))

    def neighbours(self, member: int) -> Floats:
        return _goodness(self._space.distance, self.similarities(self._vectors[member]))


def max_sim(space: VectorSpace, example: Floats, block: NDArray[Any], firsts: Positions) -> Floats:
    """Compares ``(tokens, dim)`` with points, whose rows begin at ``firsts`` of ``(rows, dim)``: ``(n,)`` float32."""
    if not len(firsts):
        return np.empty(0, dtype=np.float32)
    sums: NDArray[Any] = np.zeros(len(firsts), dtype=np.float64 if space.distance is Distance.EUCLID else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for tokens in _some_tokens(example, block):
            sums += np.maximum.reduceat(token_similarities(space, tokens, block), firsts, axis=0).sum(axis=1)
    return _finite(sums)


def _some_tokens(example: Floats, block: NDArray[Any]) -> Iterator[Floats]:
    """The tokens of an example, as many at once as there is memory to compare with a block: mostly all of them."""
    step = max(1, VALUES_MAX // max(1, len(block)))
    for start in range(0, len(example), step):
        yield example[start : start + step]


def token_similarities(space: VectorSpace, example: Floats, block: NDArray[Any]) -> NDArray[Any]:
    """Each row with each token of the example: ``(rows, tokens)``, Euclidean ones float64, others float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        match space.distance:
            case Distance.DOT | Distance.COSINE:
                rows = block.astype(np.float32, copy=False)
                products: Floats = rows @ example.T
                return (
                    products
                    if space.distance is Distance.DOT or space.normalised
                    else _by_lengths(products, rows, example)
                )
            case Distance.EUCLID:
                # The products of near vectors cancel each other: float64 has digits to spare.
                wide, tokens = block.astype(np.float64), example.astype(np.float64)
                squares = _squares(wide)[:, None] + _squares(tokens) - 2 * (wide @ tokens.T)
                negated: NDArray[np.float64] = -np.maximum(squares, 0)
                return negated
            case Distance.MANHATTAN:
                rows = block.astype(np.float32, copy=False)
                return np.stack([-np.abs(rows - token).sum(axis=1) for token in example], axis=1)


def _by_lengths(products: Floats, rows: Floats, tokens: Floats) -> Floats:
    """Dot products divided by both lengths; a zero vector compares as 0."""
    lengths = np.sqrt(_squares(rows))[:, None] * np.sqrt(_squares(tokens))
    lengths[lengths == 0] = 1.0
    cosines: Floats = products / lengths
    return cosines


def _squares(vectors: NDArray[Any]) -> NDArray[Any]:
    squares: NDArray[Any] = np.einsum("ij,ij->i", vectors, vectors)
    return squares


def _goodness(distance: Distance, similar: Floats) -> Floats:
    return -np.sqrt(-similar) if distance is Distance.EUCLID else similar


def _finite(values: NDArray[Any]) -> Floats:
    """As float32. JSON has no infinity: what float32 cannot hold becomes its largest or smallest number."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32, copy=False)
    if np.isfinite(narrow).all():
        return narrow
    return np.nan_to_num(narrow, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)


@dataclass(frozen=True, slots=True)
class _Documents:
    """The living points of a segment: those at ``rows``, or at all rows, where the i-th begins at ``firsts[i]``."""

    segment: RowsView
    rows: RowNumbers | None
    nums: NDArray[np.uint32]
    firsts: Positions
    length: int

    @classmethod
    def of_segment(cls, segment: RowsView, allowed: BitMap | None) -> _Documents:
        """Of ``allowed``, where it is given. The rows of a point follow each other."""
        rows = None
        nums = segment.rows.nums[: segment.length]
        if allowed is not None or segment.alive is not None:
            rows = segment.alive_rows() if allowed is None else segment.rows_among(allowed)
            nums = nums[rows]
        firsts = np.flatnonzero(nums[1:] != nums[:-1]) + 1
        firsts = np.concatenate([np.zeros(min(len(nums), 1), dtype=np.int64), firsts])
        return cls(segment, rows, nums[firsts], firsts, len(nums))

    @property
    def ends(self) -> Positions:
        """Where each point ends; as long as ``firsts``, also where that is empty."""
        return np.append(self.firsts[1:], self.length)[: len(self.firsts)]

    def chosen(self, points: Positions) -> _Documents:
        """Some of the points, ascending."""
        lengths = self.ends[points] - self.firsts[points]
        firsts = np.concatenate([np.zeros(min(len(points), 1), dtype=np.int64), np.cumsum(lengths)[:-1]])
        places = np.repeat(self.firsts[points] - firsts, lengths) + np.arange(lengths.sum())
        rows = places if self.rows is None else self.rows[places]
        return _Documents(self.segment, rows, self.nums[points], firsts, len(rows))

    def blocks(self, size: int) -> Iterator[tuple[int, int, NDArray[Any], Positions]]:
        """The points from the first number to the second, with their rows, and where in these each begins.

        A block has up to ``size`` rows, or one point.
        """
        ends = self.ends
        start = 0
        while start < len(self.firsts):
            first = self.firsts[start]
            end = max(start + 1, int(np.searchsorted(ends, first + size, side="right")))
            yield start, end, self.block(int(first), int(ends[end - 1])), self.firsts[start:end] - first
            start = end

    def block(self, first: int, end: int) -> NDArray[Any]:
        """Rows ``first`` to ``end`` of those that are meant: ``(rows, dim)`` in the space's datatype."""
        if self.rows is None:
            return self.segment.rows.matrix[first:end]
        return self.segment.rows.gathered[self.rows[first:end]]
