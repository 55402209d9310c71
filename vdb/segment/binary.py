"""One bit a component: on which side of the segment's mean a value lies.

For data around zero that is the sign. Where all values are positive (uint8, counts) signs would say nothing, and the
mean still halves them.

Counting the bits that differ orders many rows fast and roughly. The few that come out best are estimated: a row less
the mean is about ``length × spread × signs``, with one factor for each row chosen such that its product with the row
itself is exact (the estimator of RaBitQ, Gao and Long 2024, without the rotation).
"""

from __future__ import annotations

from typing import Any, Final

import numkong
import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.segment.code import Code, Rank
from vdb.segment.distance import goodness


def centre_of(sample: Floats) -> Floats:
    """The codec's parameters, ``(2, dim)`` float32: the mean of each component and its mean distance from that."""
    mean = sample.mean(axis=0, dtype=np.float64)
    spread = np.abs(sample - mean).mean(axis=0)
    return np.stack([mean, spread]).astype(np.float32)


class SignCodec:
    """b1: bits, eight to a byte, the first component in the highest bit; the last byte is filled up with zeros."""

    code: Final = Code("b1")
    dtype: Final = np.dtype(np.uint8)

    def __init__(self, space: VectorSpace, centre: Floats) -> None:
        self._space = space
        self.centre = centre
        self._mean, self._spread = centre
        self.width = -(-space.dim // 8)

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.packbits(values > self._mean, axis=-1)

    def factors(self, values: NDArray[Any]) -> Floats:
        """For ``(n, dim)`` stored values: ``(n, 2)`` float32, the factor of each row and the square of its distance
        from the mean.
        """
        rest = np.subtract(values, self._mean, dtype=np.float32)
        squares = np.einsum("ij,ij->i", rest, rest)
        np.abs(rest, out=rest)
        if self._space.distance is Distance.MANHATTAN:
            along, across = rest.sum(axis=1), np.full(len(rest), self._spread.sum(), dtype=np.float32)
        else:
            along, across = squares, rest @ self._spread
        factor = np.divide(along, across, out=np.zeros_like(along), where=across > 0)
        return np.stack([factor, squares], axis=1)

    def estimate(self, query: Floats, codes: NDArray[Any], factors: Floats | None) -> Floats:
        signs = np.unpackbits(codes, axis=1, count=self._space.dim).astype(np.float32)
        signs *= 2 * self._spread
        signs -= self._spread
        if factors is None or self._space.distance is Distance.MANHATTAN:
            if factors is not None:
                signs *= factors[:, :1]
            signs += self._mean
            return goodness(self._space, query, signs)
        factor, squares = factors.T
        if self._space.distance is Distance.EUCLID:
            rest = query - self._mean
            distances = np.dot(rest, rest) - 2 * factor * (signs @ rest) + squares
            negated: Floats = np.negative(np.sqrt(np.maximum(distances, 0)), dtype=np.float32)
            return negated
        products: Floats = np.dot(query, self._mean) + factor * (signs @ query)
        if self._space.distance is Distance.DOT or self._space.normalised:
            return products
        lengths = np.dot(self._mean, self._mean) + 2 * factor * (signs @ self._mean) + squares
        lengths = np.sqrt(np.maximum(lengths, 0)) * np.sqrt(np.dot(query, query))
        lengths[lengths == 0] = 1.0
        cosines: Floats = np.divide(products, lengths, dtype=np.float32)
        return cosines

    def rank(self, query: Floats) -> Rank:
        """The number of bits that agree."""
        coded = self.encode(query)[None, :]
        return lambda codes: np.negative(
            np.asarray(numkong.cdist(coded, codes, "hamming", dtype="uint1"))[0], dtype=np.float32
        )
