"""Exact comparison of queries with many vectors.

Inside vdb a comparison is a **goodness**, float32, larger is better, whatever the distance: the cosine or dot product
itself, the negated Euclidean or Manhattan distance. ``to_score`` turns it into the number that Qdrant answers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace

_BLOCK_BYTES: Final = 1 << 20  # differences are taken block by block, so that they stay in the second-level cache

_GATHER_BYTES: Final = 1 << 19  # rows gathered at once
_LARGEST: Final = float(np.finfo(np.float32).max)


def goodness(space: VectorSpace, query: Floats, block: NDArray[Any]) -> Floats:
    """Compares ``(dim,)`` float32 with ``(n, dim)`` rows in the space's datatype: ``(n,)`` float32, larger is better.

    cosine q·x / |x| (both of length one where the space is normalised), dot q·x, Euclid −√Σ(q−x)², Manhattan −Σ|q−x|.
    Always finite: sums that float32 cannot hold become its largest or smallest number, because JSON has no infinity.
    """
    values: Floats = goodness_many(space, query[None], block)[0]
    return values


def goodness_many(space: VectorSpace, queries: Floats, *blocks: NDArray[Any]) -> Floats:
    """``goodness`` of the ``(n, dim)`` rows of all blocks for each of ``(q, dim)`` queries: ``(q, n)`` float32.

    Each step gives the interpreter lock away and may have to wait for it: there is one a block, and few for all.
    """
    values = np.empty((len(queries), sum(map(len, blocks))), dtype=np.float32)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            part = values[:, start : start + len(block)]
            start += len(block)
            if len(queries) > 1 and _is_product(space) and block.dtype == np.float32:
                np.matmul(queries, block.T, out=part)
            else:
                for query, row in zip(queries, part, strict=True):
                    _compare(space, query, block, row)
        return _finite(values)


def goodness_of_pairs(space: VectorSpace, queries: Floats, blocks: NDArray[Any]) -> Floats:
    """``goodness`` of each query with rows of its own, ``(q, dim)`` and ``(q, n, dim)``: ``(q, n)`` float32."""
    if _is_product(space):
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(np.matmul(blocks.astype(np.float32, copy=False), queries[:, :, None])[:, :, 0])
    return np.stack([goodness(space, query, block) for query, block in zip(queries, blocks, strict=True)])


def goodness_of_rows(space: VectorSpace, queries: Floats, matrix: NDArray[Any], rows: NDArray[np.int64]) -> Floats:
    """``goodness_many`` for the rows ``(n,)`` of a matrix. Rows are gathered block by block into memory that is used
    again: touching fresh memory for all of them at once costs ten times as much.
    """
    step = max(1, _GATHER_BYTES // max(1, matrix.itemsize * space.dim))
    if len(rows) <= step:
        return goodness_many(space, queries, matrix[rows])
    block = np.empty((step, space.dim), dtype=matrix.dtype)
    values = np.empty((len(queries), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        np.take(matrix, chosen, axis=0, out=block[: len(chosen)], mode="clip")  # the default mode buffers the output
        values[:, start : start + step] = goodness_many(space, queries, block[: len(chosen)])
    return values


def _is_product(space: VectorSpace) -> bool:
    """True where goodness is the dot product itself."""
    return space.distance is Distance.DOT or (space.distance is Distance.COSINE and space.normalised)


def _finite(values: Floats) -> Floats:
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)


def _compare(space: VectorSpace, query: Floats, block: NDArray[Any], answer: Floats) -> None:
    """Writes ``(n,)`` numbers, not all of them finite."""
    if space.distance in (Distance.DOT, Distance.COSINE) and block.dtype == np.float32:
        np.matmul(block, query, out=answer)
        if not _is_product(space):
            answer[:] = _by_lengths(answer, query, block)
        return
    step = max(1, _BLOCK_BYTES // max(1, 4 * space.dim))
    for start in range(0, len(block), step):
        rows = block[start : start + step].astype(np.float32, copy=False)
        match space.distance:
            case Distance.DOT:
                part = rows @ query
            case Distance.COSINE:
                part = rows @ query if space.normalised else _by_lengths(rows @ query, query, rows)
            case Distance.EUCLID:
                difference = rows - query
                part = -np.sqrt(np.einsum("ij,ij->i", difference, difference))
            case Distance.MANHATTAN:
                part = -np.abs(rows - query).sum(axis=1)
        answer[start : start + step] = part


def _by_lengths(products: Floats, query: Floats, rows: NDArray[Any]) -> Floats:
    """Dot products divided by both lengths; a zero vector compares as 0."""
    values = rows.astype(np.float32, copy=False)
    lengths = np.sqrt(np.einsum("ij,ij->i", values, values)) * np.sqrt(np.dot(query, query))
    lengths[lengths == 0] = 1.0
    cosines: Floats = np.divide(products, lengths, dtype=np.float32)
    return cosines


def to_score(distance: Distance, values: Floats) -> Floats:
    """Goodness as the score that clients see: distances are positive again."""
    return values if distance.descending else -values


def to_goodness(distance: Distance, score: float) -> float:
    """A client's score (a threshold) as goodness."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(score))  # as a float32 score is compared: 0.19 is not above 0.19
    return rounded if distance.descending else -rounded


def top(values: Floats, count: int, ties: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """Indices of the ``count`` best of ``(n,)`` values, best first; equal values keep their order, or stand by
    ``ties``, ``(n,)`` numbers.
    """
    if count <= 0 or not len(values):
        return np.empty(0, dtype=np.int64)
    if count < len(values):
        threshold = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero(values >= threshold)
    else:
        chosen = np.arange(len(values))
    descending = -values[chosen]
    order = np.argsort(descending, kind="stable") if ties is None else np.lexsort((ties[chosen], descending))
    return chosen[order[:count]].astype(np.int64)
