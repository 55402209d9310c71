"""From what the manifest says of a code to the codec that reads it."""

from __future__ import annotations

from vdb.model.vectors import Floats, VectorSpace
from vdb.segment.binary import SignCodec
from vdb.segment.code import CastCodec, Code, Codec, IntCodec
from vdb.segment.product import ProductCodec


def codec_of(space: VectorSpace, code: Code, centre: Floats | None, codebook: Floats | None) -> Codec:
    """Raises ValueError where the code's parameters are missing."""
    match code.dtype:
        case "bf16":
            return CastCodec(space)
        case "i8":
            return IntCodec(space, code)
        case "b1" if centre is not None:
            return SignCodec(space, centre)
        case "pq" if codebook is not None:
            return ProductCodec(space, codebook)
        case _:
            raise ValueError(f"a code `{code.dtype}` without its parameters")
