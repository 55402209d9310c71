"""Searches by plain numpy in float64, straight from the definitions: what the server's answers are held against."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DISTANCES: Final = ("Cosine", "Dot", "Euclid", "Manhattan")
DATATYPES: Final = ("float32", "float16", "uint8")

Vectors = NDArray[np.float64]


def stored(distance: str, datatype: str, vectors: NDArray[Any]) -> Vectors:
    """``(n, dim)`` vectors as they are kept: uint8 truncates and clamps, Cosine normalises float vectors."""
    values = vectors.astype(np.float64)
    if datatype == "uint8":
        return np.clip(np.trunc(values), 0, 255)
    if distance == "Cosine":
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(lengths == 0, 1, lengths)
    return values.astype(datatype).astype(np.float64)


def scores(distance: str, kept: Vectors, query: Vectors) -> Vectors:
    """``(n,)`` scores of kept vectors against a kept query."""
    match distance:
        case "Dot":
            return np.asarray(kept @ query)
        case "Cosine":
            lengths = np.linalg.norm(kept, axis=1) * np.linalg.norm(query)
            return np.asarray((kept @ query) / np.where(lengths == 0, 1, lengths))
        case "Euclid":
            return np.asarray(np.linalg.norm(kept - query, axis=1))
        case _:
            return np.asarray(np.abs(kept - query).sum(axis=1))


def ranking(distance: str, values: Vectors) -> NDArray[np.int64]:
    """Positions from the best score to the worst; equal ones in their order."""
    return np.argsort(-values if distance in ("Cosine", "Dot") else values, kind="stable")
