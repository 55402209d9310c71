"""Small codes of vectors: what a graph compares, and what a quantised search ranks by before originals rescore.

=====  ============================  ===================================================================================
code   bytes for each component      what it is
=====  ============================  ===================================================================================
bf16   2                             the values themselves, cast by usearch
i8     1                             (value − shift) × scale, rounded, within ±127
b1     1/8                           on which side of the segment's mean the value lies (``binary.py``)
pq     1/4 … 1/64 of float32         the nearest of 256 centroids for each group of components (``product.py``)
=====  ============================  ===================================================================================

Without quantisation the builder takes int8 for the graph, or bfloat16 where a sample shows that int8 would lose
neighbours (a few dimensions much larger than the rest).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec
import numkong
import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.segment.distance import goodness

CodeDtype = Literal["i8", "bf16", "b1", "pq"]
Rank = Callable[[NDArray[Any]], Floats]  # (n, width) codes → (n,) numbers, larger for nearer

_LEVELS: Final = 127.0
SAMPLE_ROWS: Final = 8_192
_SAMPLE_QUERIES: Final = 128
_NEIGHBOURS: Final = 10
_QUANTILES: Final = (1.0, 0.9999, 0.999)  # of the largest magnitudes; what lies beyond is clipped
# Share of the ten nearest that must be among the twenty nearest by code, as rescoring looks at twice what is asked for.
_OVERLAP_MIN: Final = 0.995


class Code(msgspec.Struct, frozen=True):
    """What the manifest says about a code; what is larger than two numbers stands in files beside it."""

    dtype: CodeDtype
    scale: float = 1.0
    shift: float = 0.0

    @property
    def coarse(self) -> bool:
        """True where the order of codes is only a hint: many candidates are looked at once more."""
        return self.dtype in ("b1", "pq")


class Codec(Protocol):
    """Makes codes and reads them."""

    @property
    def code(self) -> Code: ...

    @property
    def width(self) -> int:
        """Numbers in the code of one vector."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """``(…, dim)`` stored values as codes, contiguous."""

    def estimate(self, query: Floats, codes: NDArray[Any], factors: Floats | None) -> Floats:
        """``goodness`` of ``(n, width)`` codes as far as they tell, compared with the query as it is.

        ``factors`` are those of the same rows, where the segment has any (``SignCodec.factors``).
        """

    def rank(self, query: Floats) -> Rank:
        """Compares ``(dim,)`` float32 with many codes, fast and roughly: only the order of the numbers counts."""


class CastCodec:
    """bf16: usearch casts, so that encoded values are float32. Only graphs hold such codes."""

    code: Final = Code("bf16")
    dtype: Final = np.dtype(np.float32)

    def __init__(self, space: VectorSpace) -> None:
        self._space = space
        self.width = space.dim

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values, dtype=np.float32)

    def estimate(self, query: Floats, codes: NDArray[Any], factors: Floats | None) -> Floats:
        return goodness(self._space, query, codes)

    def rank(self, query: Floats) -> Rank:
        return lambda codes: goodness(self._space, query, codes)


class IntCodec:
    """i8."""

    dtype: Final = np.dtype(np.int8)

    def __init__(self, space: VectorSpace, code: Code) -> None:
        self._space = space
        self.code = code
        self.width = space.dim
        self._scale, self._shift = np.float32(code.scale), np.float32(code.shift)

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._shift:
            values = np.subtract(values, self._shift, dtype=np.float32)
        scaled = np.multiply(values, self._scale, dtype=np.float32)
        np.rint(scaled, out=scaled)
        codes: NDArray[np.int8] = np.clip(scaled, -_LEVELS, _LEVELS, out=scaled).astype(np.int8)
        return codes

    def estimate(self, query: Floats, codes: NDArray[Any], factors: Floats | None) -> Floats:
        values = np.divide(codes, self._scale, dtype=np.float32)
        values += self._shift
        return goodness(self._space, query, values)

    def rank(self, query: Floats) -> Rank:
        metric: Literal["dot", "angular", "sqeuclidean"]
        match self._space.distance:
            case Distance.DOT:
                metric, sign = "dot", 1.0
            case Distance.COSINE:
                metric, sign = ("dot", 1.0) if self._space.normalised else ("angular", -1.0)
            case Distance.EUCLID:
                metric, sign = "sqeuclidean", -1.0
            case Distance.MANHATTAN:
                return lambda codes: self.estimate(query, codes, None)
        coded = self.encode(query)[None, :]
        return lambda codes: np.multiply(np.asarray(numkong.cdist(coded, codes, metric))[0], sign, dtype=np.float32)


def sample_of(matrix: NDArray[Any]) -> Floats:
    """Rows spread over ``(n, dim)`` stored values, at most ``SAMPLE_ROWS`` of them, as float32."""
    rows = np.linspace(0, len(matrix) - 1, min(len(matrix), SAMPLE_ROWS)).astype(np.int64)
    return matrix[rows].astype(np.float32)


def scalar_code(space: VectorSpace, sample: Floats, quantile: float | None) -> Code:
    """int8 over the range in which the share ``quantile`` of the sample's values lies: all of them where None."""
    flat = sample.ravel()
    outside = 0.0 if quantile is None else (1.0 - quantile) / 2
    low, high = (float(value) for value in np.quantile(flat, (outside, 1.0 - outside)))
    # Differences do not change when all values are shifted; products do.
    shift = (low + high) / 2 if space.distance in (Distance.EUCLID, Distance.MANHATTAN) else 0.0
    limit = max(high - shift, shift - low)
    return Code("i8", _LEVELS / limit if limit > 0 else 1.0, shift)


def choose_code(space: VectorSpace, matrix: NDArray[Any]) -> Code:
    """The cheapest code that keeps neighbours in order, judged on a sample of ``(n, dim)`` rows."""
    if not len(matrix):
        return Code("bf16")
    sample = sample_of(matrix)
    magnitudes = np.abs(sample)
    best = Code("bf16")
    best_overlap = _OVERLAP_MIN
    for quantile in _QUANTILES:
        limit = float(np.quantile(magnitudes, quantile)) if quantile < 1 else float(magnitudes.max())
        if limit <= 0:
            continue
        code = Code("i8", _LEVELS / limit)
        overlap = overlap_of(space, sample, IntCodec(space, code), 2)
        if overlap > best_overlap or (overlap >= _OVERLAP_MIN and best.dtype == "bf16"):
            best, best_overlap = code, overlap
    return best


def overlap_of(space: VectorSpace, sample: Floats, codec: Codec, factor: int) -> float:
    """How many of the ten nearest rows by value are among ``factor`` times as many by code: a mean, 0 … 1."""
    count = min(_NEIGHBOURS, len(sample))
    looked_at = min(factor * count, len(sample))
    codes = codec.encode(sample)
    queries = np.linspace(0, len(sample) - 1, min(len(sample), _SAMPLE_QUERIES)).astype(np.int64)
    kept = 0
    for query in queries:
        exact = goodness(space, sample[query], sample)
        coded = codec.rank(sample[query])(codes)
        nearest = np.argpartition(-exact, count - 1)[:count]
        candidates = np.argpartition(-coded, looked_at - 1)[:looked_at]
        kept += len(np.intersect1d(nearest, candidates))
    return kept / (count * len(queries))
