"""Whether and how often points have values at a path, whatever their type: the part that every index shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pyroaring import BitMap

from vdb.segment.fields.bitmaps import union


@dataclass(slots=True)
class Batch:
    """Facts about points that are being written; each num stands in as many lists as it has facts."""

    present: list[int] = field(default_factory=list)
    nonempty: list[int] = field(default_factory=list)
    null: list[int] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)
    indexed: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    counts: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def elements(self, num: int, values: Sequence[Any]) -> list[Any]:
        """Notes how many values ``num`` has, and returns those that are not null, arrays opened once."""
        self.present.append(num)
        if len(values) == 1:
            only = values[0]
            if only is not None and only.__class__ is not list:
                self.nonempty.append(num)
                self.counts[1].append(num)
                return [only]
        elements: list[Any] = []
        counts = set()
        null = nonempty = False
        for value in values:
            if value is None:
                null = True
                counts.add(0)
            elif value.__class__ is list:
                nonempty = nonempty or bool(value)
                counts.add(len(value))
                kept = [element for element in value if element is not None]
                null = null or len(kept) < len(value)
                elements.extend(kept)
            else:
                nonempty = True
                counts.add(1)
                elements.append(value)
        if null:
            self.null.append(num)
        if nonempty:
            self.nonempty.append(num)
        for count in counts:
            self.counts[count].append(num)
        return elements


class _Stored(msgspec.Struct):
    """A Presence as MessagePack, its sets in roaring's portable format."""

    present: bytes
    nonempty: bytes
    null: bytes
    foreign: bytes
    indexed: bytes
    counted: bytes
    counts: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Presence:
    """Sets of nums; none of them is ever changed, an update makes new ones.

    ``present`` have a value, be it null or empty; ``nonempty`` one that is not; ``null`` a null; ``foreign`` one of a
    type that the index does not hold; ``indexed`` one that it holds; ``counted`` one of the index's own type.
    ``counts`` maps how many elements a value has to the nums that have such a value.
    """

    present: BitMap = field(default_factory=BitMap)
    nonempty: BitMap = field(default_factory=BitMap)
    null: BitMap = field(default_factory=BitMap)
    foreign: BitMap = field(default_factory=BitMap)
    indexed: BitMap = field(default_factory=BitMap)
    counted: BitMap = field(default_factory=BitMap)
    counts: Mapping[int, BitMap] = field(default_factory=dict)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(
            _Stored(
                present=self.present.serialize(),
                nonempty=self.nonempty.serialize(),
                null=self.null.serialize(),
                foreign=self.foreign.serialize(),
                indexed=self.indexed.serialize(),
                counted=self.counted.serialize(),
                counts={count: nums.serialize() for count, nums in self.counts.items()},
            )
        )

    @staticmethod
    def load(block: bytes | memoryview) -> Presence:
        """The inverse of ``dump``."""
        stored = msgspec.msgpack.decode(block, type=_Stored)
        return Presence(
            present=BitMap.deserialize(stored.present),
            nonempty=BitMap.deserialize(stored.nonempty),
            null=BitMap.deserialize(stored.null),
            foreign=BitMap.deserialize(stored.foreign),
            indexed=BitMap.deserialize(stored.indexed),
            counted=BitMap.deserialize(stored.counted),
            counts={count: BitMap.deserialize(nums) for count, nums in stored.counts.items()},
        )

    def updated(self, changed: BitMap, batch: Batch) -> Presence:
        """These facts with those of ``batch`` in place of what was known of ``changed``."""
        counts = {count: left for count, nums in self.counts.items() if (left := nums - changed)}
        for count, nums in batch.counts.items():
            counts[count] = counts.get(count, BitMap()) | BitMap(nums)
        return Presence(
            present=self.present - changed | BitMap(batch.present),
            nonempty=self.nonempty - changed | BitMap(batch.nonempty),
            null=self.null - changed | BitMap(batch.null),
            foreign=self.foreign - changed | BitMap(batch.foreign),
            indexed=self.indexed - changed | BitMap(batch.indexed),
            counted=self.counted - changed | BitMap(batch.counted),
            counts=counts,
        )

    def empty(self, wanted: bool, all_points: BitMap) -> BitMap:
        return all_points - self.nonempty if wanted else self.nonempty

    def nulls(self, wanted: bool, all_points: BitMap) -> BitMap:
        return self.null if wanted else all_points - self.null

    def counting(self, holds: Callable[[int], bool], all_points: BitMap) -> BitMap:
        """The points of which a value has a count that ``holds`` allows; a missing field counts as 0."""
        found = union(nums for count, nums in self.counts.items() if holds(count))
        return found | (all_points - self.present) if holds(0) else found
