"""The hash of a point id that slices are cut by: SipHash-2-4 with a zero key.

Hashed are 8 little-endian bytes of a number, or the 16 bytes of a UUID (RFC 4122), so that every server of Qdrant's API
cuts the same slices. J.-P. Aumasson, D. J. Bernstein: SipHash, a fast short-input PRF (2012).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from vdb.model.ids import PointId

_MASK: Final = 2**64 - 1
_V0: Final = 0x736F6D6570736575
_V1: Final = 0x646F72616E646F6D
_V2: Final = 0x6C7967656E657261
_V3: Final = 0x7465646279746573

State = tuple[int, int, int, int]


def in_slice(point_id: PointId, total: int, index: int) -> bool:
    """True where the id falls into slice ``index`` of ``total``."""
    return id_hash(point_id) % total == index


def id_hash(point_id: PointId) -> int:
    """An unsigned integer of 64 bits."""
    if isinstance(point_id, int):
        words, length = [point_id], 8
    else:
        data = UUID(point_id).bytes
        words, length = [int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")], 16
    state: State = (_V0, _V1, _V2, _V3)
    for word in [*words, length << 56]:
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _round(_round((v0, v1, v2, v3 ^ word)))
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = _round(_round(_round(_round((v0, v1, v2 ^ 0xFF, v3)))))
    return v0 ^ v1 ^ v2 ^ v3


def _round(state: State) -> State:
    v0, v1, v2, v3 = state
    v0 = (v0 + v1) & _MASK
    v1 = ((v1 << 13 | v1 >> 51) & _MASK) ^ v0
    v0 = (v0 << 32 | v0 >> 32) & _MASK
    v2 = (v2 + v3) & _MASK
    v3 = ((v3 << 16 | v3 >> 48) & _MASK) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = ((v3 << 21 | v3 >> 43) & _MASK) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = ((v1 << 17 | v1 >> 47) & _MASK) ^ v2
    v2 = (v2 << 32 | v2 >> 32) & _MASK
    return v0, v1, v2, v3
