"""Vectors of texts without a model: every word is a dimension. Texts that share words are near."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from typing import Final

DIM: Final = 256

TEXTS: Final = (
    "a lighthouse warns ships of rocks",
    "bees make honey from nectar",
    "the train to the coast leaves at noon",
    "ships carry containers across the ocean",
    "honey keeps for a thousand years",
)


def sparse(text: str) -> tuple[list[int], list[float]]:
    """Dimensions, ascending, and how often each occurs."""
    counts = sorted(Counter(zlib.crc32(word.encode()) % DIM for word in text.lower().split()).items())
    return [dimension for dimension, _ in counts], [float(count) for _, count in counts]


def dense(text: str) -> list[float]:
    """``DIM`` numbers, of length 1."""
    vector = [0.0] * DIM
    for dimension, count in zip(*sparse(text), strict=True):
        vector[dimension] = count
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]
