"""Ids and versions of points in memory, by num: what an answer without payload needs, without asking SQLite.

A point takes 25 bytes: its id as 128 bits, the kind of id, and the version.

Guarantees
    Rows of new points are written before the View that shows them is published, and not again while any View shows
    them. Versions change in place: a search on an older View may already answer a newer version, never another point's.
Assumes
    One owner, the collection's actor, calls ``apply``, and gives a num to another point once no View shows the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.ids import PointId
from vdb.storage.points import Identity, StoredPoint

_CAPACITY_MIN: Final = 256
_LOW_BITS: Final = 64
_LOW_MASK: Final = 2**_LOW_BITS - 1


class FrozenIdentities:
    """The columns as they were when a View was published."""

    __slots__ = ("_columns",)

    def __init__(self, columns: NDArray[np.void]) -> None:
        self._columns = columns

    def describe(self, nums: NDArray[np.uint32]) -> list[StoredPoint]:
        """The points without their payloads; all of them must be in the View."""
        return [
            StoredPoint(num, _point_id(is_uuid, high, low), version, None)
            for num, (high, low, version, is_uuid) in zip(nums.tolist(), self._columns[nums].tolist(), strict=True)
        ]


class Identities:
    """The growing columns. Owned by the actor."""

    _DTYPE: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("version", "<u8"), ("is_uuid", "?")])

    def __init__(self) -> None:
        self._columns: NDArray[np.void] = np.zeros(0, dtype=self._DTYPE)

    def load(self, read: Sequence[Identity]) -> None:
        """Points as SQLite holds them, in any order."""
        for part in read:
            if len(part.nums):
                self._reserve(int(part.nums.max()) + 1)
                for name in ("high", "low", "version", "is_uuid"):
                    self._columns[name][part.nums] = getattr(part, name)

    def apply(self, new_points: Mapping[int, tuple[PointId, int]], versions: Mapping[int, int]) -> None:
        """A committed transaction: ``new_points`` maps num to id and version, ``versions`` num to version."""
        if new_points:
            self._reserve(max(new_points) + 1)
            for num, (point_id, version) in new_points.items():
                self._columns[num] = (*_bits(point_id), version, isinstance(point_id, str))
        if versions:
            nums = np.fromiter(versions, dtype=np.int64, count=len(versions))
            self._columns["version"][nums] = np.fromiter(versions.values(), dtype=np.uint64, count=len(versions))

    def freeze(self) -> FrozenIdentities:
        return FrozenIdentities(self._columns)

    def _reserve(self, size: int) -> None:
        if size > len(self._columns):
            columns = np.zeros(max(_CAPACITY_MIN, size, 2 * len(self._columns)), dtype=self._DTYPE)
            columns[: len(self._columns)] = self._columns
            self._columns = columns


def _bits(point_id: PointId) -> tuple[int, int]:
    if isinstance(point_id, int):
        return 0, point_id
    number = int(point_id.replace("-", ""), 16)
    return number >> _LOW_BITS, number & _LOW_MASK


def _point_id(is_uuid: bool, high: int, low: int) -> PointId:
    if not is_uuid:
        return low
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
