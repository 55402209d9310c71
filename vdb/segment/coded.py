"""Many rows compared with several examples at once by the int8 codes of a graph: roughly, and without the originals.

What it costs is reading the codes once, a quarter of the bytes of float32 rows, whatever the number of examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numkong
import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.segment.code import IntCodec
from vdb.segment.hnsw import Graph

# Rows by number → ``(k, n)`` float32, about their similarity to each example (see ``vdb.query.similarity``).
CompareCodes = Callable[[slice | NDArray[np.int64]], Floats]

_LEVELS: Final = 127.0


def compare_codes(space: VectorSpace, graph: Graph, rows: int, examples: Floats) -> CompareCodes | None:
    """Compares ``(k, dim)`` float32 with the codes of a graph of ``rows`` rows; None where these do not tell enough."""
    codec = graph.codec
    if not isinstance(codec, IntCodec) or not len(examples):
        return None
    codes, scale = graph.codes(rows), codec.code.scale
    match space.distance:
        case Distance.EUCLID:
            if np.abs((examples - np.float32(codec.code.shift)) * np.float32(scale)).max() > _LEVELS:
                return None  # a distance to what the codes cannot hold would be cut off
            return _distances(codes, codec.encode(examples), np.float32(-1.0 / scale**2))
        case Distance.DOT | Distance.COSINE if not codec.code.shift and (
            space.distance is Distance.DOT or space.normalised
        ):
            # Products grow with the example: each has a scale of its own, so that none is cut off or lost in rounding.
            largest = np.abs(examples).max(axis=1)
            scales = np.divide(_LEVELS, largest, out=np.ones_like(largest), where=largest > 0)
            factors = 1.0 / (scales * np.float32(scale))
            if np.isfinite(scales).all() and np.isfinite(factors).all():
                return _products(codes, np.rint(examples * scales[:, None]).astype(np.int8), factors[:, None])
    return None


def _products(codes: NDArray[Any], examples: NDArray[np.int8], factors: Floats) -> CompareCodes:
    packed = numkong.dots_pack(examples)

    def compare(chosen: slice | NDArray[np.int64]) -> Floats:
        products = np.asarray(numkong.dots_packed(np.ascontiguousarray(codes[chosen]), packed))
        values: Floats = np.multiply(products.T, factors, dtype=np.float32, order="C")
        return values

    return compare


def _distances(codes: NDArray[Any], examples: NDArray[Any], factor: np.float32) -> CompareCodes:
    def compare(chosen: slice | NDArray[np.int64]) -> Floats:
        squares = np.asarray(numkong.cdist(examples, np.ascontiguousarray(codes[chosen]), "sqeuclidean"))
        values: Floats = np.multiply(squares, factor, dtype=np.float32)
        return values

    return compare
