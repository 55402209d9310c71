"""Sparse vectors: a few dimensions out of 2^32 with their weights, kept sorted by dimension.

In SQLite and in the log a sparse vector of n entries is n × u32 indices, then n × float32 values, little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vdb.errors import BadRequest, OutOfBounds
from vdb.model.vectors import Floats, VectorSpace

Dimensions = NDArray[np.uint32]

SPARSE_ENTRY_BYTES: Final = 8
_INDEX_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class SparseSpace:
    """What all sparse vectors of one name have in common; ``idf`` weighs a query by how rare its dimensions are."""

    name: str
    idf: bool = False


Space = VectorSpace | SparseSpace


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """``indices`` are strictly ascending, ``values`` are finite and belong to them."""

    json_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["indices", "values"],
        "properties": {
            "indices": {
                "type": "array",
                "items": {"type": "integer", "format": "uint32", "minimum": 0},
                "description": "Each index once, in any order.",
            },
            "values": {"type": "array", "items": {"type": "number"}, "description": "One for each index."},
        },
    }

    indices: Dimensions
    values: Floats


def read_sparse(value: Any, field: str) -> SparseVector:
    """A sparse vector of a request, ``{"indices": [...], "values": [...]}``, in any order of its entries.

    Raises BadRequest for another shape, OutOfBounds for entries that do not fit together.
    """
    if not isinstance(value, dict) or set(value) != {"indices", "values"}:
        raise BadRequest(f"Expected a sparse vector with `indices` and `values` for {field}")
    indices, values = value["indices"], value["values"]
    if not _are(indices, int) or not _are(values, (int, float)):
        raise BadRequest(f"Expected numbers in the `indices` and `values` of {field}")
    if len(indices) != len(values):
        raise OutOfBounds(f"{field}.values", "must be the same length as indices")
    if any(not 0 <= index <= _INDEX_MAX for index in indices):
        raise BadRequest(f"Indices of {field} must be unsigned integers of 32 bits")
    dimensions = np.array(indices, dtype=np.uint32)
    order = np.argsort(dimensions, kind="stable")
    dimensions = dimensions[order]
    if (dimensions[1:] == dimensions[:-1]).any():
        raise OutOfBounds(f"{field}.indices", "must be unique")
    try:
        with np.errstate(over="ignore"):
            weights = np.array(values, dtype=np.float32)[order]
    except OverflowError as error:  # an integer beyond float64
        raise BadRequest(f"The values of {field} hold a number that is not finite as float32") from error
    if not np.isfinite(weights).all():
        raise BadRequest(f"The values of {field} hold a number that is not finite as float32")
    return SparseVector(dimensions, weights)


def sparse_to_bytes(vector: SparseVector) -> bytes:
    return vector.indices.astype("<u4").tobytes() + vector.values.astype("<f4").tobytes()


def sparse_from_bytes(data: bytes) -> SparseVector:
    """The inverse of ``sparse_to_bytes``."""
    count = len(data) // SPARSE_ENTRY_BYTES
    return SparseVector(np.frombuffer(data, "<u4", count), np.frombuffer(data, "<f4", count, offset=4 * count))


def _are(values: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, kinds) and not isinstance(value, bool) for value in values
    )
