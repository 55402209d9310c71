"""Vectors as they are stored: cast, checked and normalised once, on the way in.

====================  =============================================  ==========================
what a client sends   what is kept                                   bytes in SQLite
====================  =============================================  ==========================
dense, ``[0.1, …]``   ``(dim,)`` float32 (values of the datatype)    dim × item size
multi, ``[[…], …]``   ``(tokens, dim)`` float32                      tokens × dim × item size
====================  =============================================  ==========================

Cosine vectors of a float datatype are divided by their length; a zero vector stays as it is. uint8 vectors are cut
and clamped to 0 … 255 and never normalised, because bytes cannot hold unit vectors: their scores divide by the lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.errors import BadRequest, WrongDimension

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

_LENGTH_MIN: Final = np.float32(1.1920929e-07)  # float32's epsilon: what is shorter counts as a zero vector


class Distance(Enum):
    """How two vectors are compared; the values are Qdrant's names."""

    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"
    MANHATTAN = "Manhattan"

    @property
    def descending(self) -> bool:
        """True where a larger score is a better one."""
        return self in (Distance.COSINE, Distance.DOT)


class Datatype(Enum):
    """The number type that a vector is rounded to and stored in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"
    TURBO4 = "turbo4"  # named so that it can be refused by name

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self]


_DTYPES: Final[dict[Datatype, np.dtype[Any]]] = {
    Datatype.FLOAT32: np.dtype("<f4"),
    Datatype.FLOAT16: np.dtype("<f2"),
    Datatype.UINT8: np.dtype("u1"),
}


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """What all vectors of one name have in common."""

    name: str
    dim: int
    distance: Distance
    datatype: Datatype = Datatype.FLOAT32
    multi: bool = False

    @property
    def row_bytes(self) -> int:
        return self.dim * self.datatype.dtype.itemsize

    @property
    def normalised(self) -> bool:
        """True where stored vectors have length one, so that a dot product is their cosine."""
        return self.distance is Distance.COSINE and self.datatype is not Datatype.UINT8


def normalise(block: Floats) -> Floats:
    """``(n, dim)`` float32 rows divided by their lengths; rows shorter than float32's epsilon stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
    lengths[lengths < _LENGTH_MIN] = 1.0
    unit: Floats = np.divide(block, lengths[:, None], dtype=np.float32)
    return unit


def prepare(space: VectorSpace, vectors: Sequence[Sequence[Any]] | Floats) -> Floats:
    """Client vectors as stored values: ``(n, dim)`` float32.

    Raises WrongDimension, and BadRequest for a number that float32 cannot hold.
    """
    try:
        for vector in vectors[:1] if isinstance(vectors, np.ndarray) else vectors:
            if len(vector) != space.dim:
                raise WrongDimension(space.dim, len(vector))
        with np.errstate(over="ignore"):
            block = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), space.dim)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"Expected a dense vector of numbers for vector `{space.name}`") from error
    return prepare_block(space, block)


def prepare_block(space: VectorSpace, block: Floats) -> Floats:
    """``(n, dim)`` float32 values cast, checked and normalised as ``space`` stores them; raises BadRequest."""
    if block.size and not np.isfinite(block).all():
        raise BadRequest(f"Vector `{space.name}` holds a number that is not finite as float32")
    if space.datatype is Datatype.UINT8:
        return np.clip(np.trunc(block), 0, 255).astype(np.float32)
    if space.distance is Distance.COSINE:
        block = normalise(block)
    if space.datatype is Datatype.FLOAT16:
        with np.errstate(over="ignore"):
            block = block.astype(np.float16).astype(np.float32)
        if not np.isfinite(block).all():
            raise BadRequest(f"Vector `{space.name}` holds a number that is not finite as float16")
    return block


def to_bytes(space: VectorSpace, block: Floats) -> bytes:
    """Stored values as SQLite keeps them: row-major, little-endian, in the datatype."""
    return np.ascontiguousarray(block, dtype=space.datatype.dtype).tobytes()


def from_bytes(space: VectorSpace, data: bytes) -> Floats:
    """The inverse of ``to_bytes``: ``(n, dim)`` float32."""
    return np.frombuffer(data, dtype=space.datatype.dtype).reshape(-1, space.dim).astype(np.float32, copy=False)
