"""Product quantisation: components in groups, each group as the number of the nearest of its 256 centroids.

``codebook`` is ``(groups, 256, group_dim)`` float32. The last group may be filled up with zeros, in its centroids and
in the queries alike, which changes no comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.segment.code import Code, Rank

CENTROIDS: Final = 256
_SAMPLE_PER_CENTROID: Final = 16
_ROUNDS: Final = 8  # of k-means: later ones move recall by less than a thousandth
_SEED: Final = 7  # the same rows give the same codebook
_LENGTH_MIN: Final = 1e-30  # of a query that is all zeros, so that its scores are zeros too
_COLUMN_ROWS_MIN: Final = 1_024  # fewer rows are summed faster row by row than column by column
# Rows compared with all centroids at once: in the cache, and too few for the linear algebra library to start threads,
# which made it twenty times slower beside other work.
_ASSIGN_ROWS: Final = 512


def group_dim_of(compression: int) -> int:
    """Components in one byte of code: ×4 is one float32."""
    return compression // 4


def codebook_shape(dim: int, compression: int) -> tuple[int, int, int]:
    group_dim = group_dim_of(compression)
    return -(-dim // group_dim), CENTROIDS, group_dim


def train(rows: Floats, compression: int, proceed: Callable[[], None]) -> Floats:
    """The codebook of ``(n, dim)`` rows by k-means over a sample of them. Slow: for the builder."""
    groups, _, group_dim = codebook_shape(rows.shape[1], compression)
    random = np.random.default_rng(_SEED)
    count = min(len(rows), CENTROIDS * _SAMPLE_PER_CENTROID)
    sample = _padded(rows[random.permutation(len(rows))[:count]], groups * group_dim)
    codebook = np.zeros((groups, CENTROIDS, group_dim), dtype=np.float32)
    for group in range(groups):
        proceed()
        codebook[group] = _k_means(np.ascontiguousarray(sample[:, group * group_dim : (group + 1) * group_dim]))
    return codebook


def _k_means(values: Floats) -> Floats:
    centroids = np.resize(values, (CENTROIDS, values.shape[1]))  # a shuffled sample; too few rows are repeated
    for _ in range(_ROUNDS):
        nearest = _nearest(values, centroids)
        counts = np.bincount(nearest, minlength=CENTROIDS)
        sums = np.stack([np.bincount(nearest, column, CENTROIDS) for column in values.T], axis=1)
        used = counts > 0
        centroids[used] = (sums[used] / counts[used, None]).astype(np.float32)
    return centroids


def _nearest(values: Floats, centroids: Floats) -> NDArray[np.intp]:
    """The nearest of ``(256, d)`` centroids for each of ``(n, d)`` values."""
    if centroids.shape[1] == 1:  # on a line, the nearest is on one side or the other of the gap's middle
        order = np.argsort(centroids[:, 0], kind="stable")
        ascending = centroids[order, 0]
        return order[np.searchsorted((ascending[1:] + ascending[:-1]) / 2, values[:, 0])]
    # |x − c|² is least where x·c − |c|²/2 is largest: one product, with a column of ones for the second term.
    halves = 0.5 * np.einsum("ij,ij->i", centroids, centroids)
    right = np.concatenate([centroids.T, -halves[None, :]])
    left = np.concatenate([values, np.ones((len(values), 1), dtype=np.float32)], axis=1)
    answer = np.empty(len(values), dtype=np.intp)
    closeness = np.empty((_ASSIGN_ROWS, CENTROIDS), dtype=np.float32)
    for start in range(0, len(values), _ASSIGN_ROWS):
        block = left[start : start + _ASSIGN_ROWS]
        np.matmul(block, right, out=closeness[: len(block)])
        closeness[: len(block)].argmax(axis=1, out=answer[start : start + len(block)])
    return answer


def _padded(rows: Floats, width: int) -> Floats:
    values = rows.astype(np.float32, copy=False)
    if values.shape[1] == width:
        return values
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


class ProductCodec:
    """pq: one byte a group."""

    code: Final = Code("pq")
    dtype: Final = np.dtype(np.uint8)

    def __init__(self, space: VectorSpace, codebook: Floats) -> None:
        self._space = space
        self.codebook = codebook
        self.width, _, self._group_dim = codebook.shape

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        rows = _padded(np.atleast_2d(values), self.width * self._group_dim)
        codes = np.empty((len(rows), self.width), dtype=np.uint8)
        for group in range(self.width):
            part = np.ascontiguousarray(rows[:, group * self._group_dim : (group + 1) * self._group_dim])
            codes[:, group] = _nearest(part, self.codebook[group])
        return codes

    def estimate(self, query: Floats, codes: NDArray[Any], factors: Floats | None) -> Floats:
        values = self.rank(query)(codes)
        if self._space.distance is Distance.EUCLID:
            return np.negative(np.sqrt(np.maximum(-values, 0)), dtype=np.float32)
        if self._space.distance is Distance.COSINE and not self._space.normalised:
            values /= max(np.sqrt(np.dot(query, query)), np.float32(_LENGTH_MIN))
        return values

    def rank(self, query: Floats) -> Rank:
        """Sums of a table's entries, as the comparison of groups is computed once for each centroid."""
        groups = _padded(query[None, :], self.width * self._group_dim).reshape(self.width, self._group_dim, 1)
        table: Floats
        match self._space.distance:
            case Distance.DOT | Distance.COSINE:
                table = np.matmul(self.codebook, groups)[:, :, 0]
            case Distance.EUCLID:
                difference = self.codebook - groups.transpose(0, 2, 1)
                table = -np.einsum("gcd,gcd->gc", difference, difference)
            case Distance.MANHATTAN:
                table = -np.abs(self.codebook - groups.transpose(0, 2, 1)).sum(axis=2)
        if self._space.distance is not Distance.COSINE or self._space.normalised:
            return lambda codes: _sums(table, codes)
        squares = np.einsum("gcd,gcd->gc", self.codebook, self.codebook)

        def by_lengths(codes: NDArray[Any]) -> Floats:
            lengths = np.sqrt(_sums(squares, codes))
            lengths[lengths == 0] = 1.0
            return np.divide(_sums(table, codes), lengths, dtype=np.float32)

        return by_lengths


def _sums(table: Floats, codes: NDArray[Any]) -> Floats:
    """Σ over groups of ``table[group, code]``: ``(n,)`` float32 for ``(n, groups)`` codes."""
    if len(codes) < _COLUMN_ROWS_MIN:
        places = codes + np.arange(len(table)) * CENTROIDS
        few: Floats = table.ravel().take(places).sum(axis=1)
        return few
    columns = np.ascontiguousarray(codes.T)
    total: Floats = table[0].take(columns[0])
    for row, column in zip(table[1:], columns[1:], strict=True):
        total += row.take(column)
    return total
