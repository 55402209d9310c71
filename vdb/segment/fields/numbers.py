"""The index of integers, floats and datetimes: values in order.

An integer index holds integers of 64 bits, a float index every number that a float64 is equal to, a datetime index
microseconds. Numbers that the type cannot hold exactly (1.5 among integers, 2^53 + 1 among floats) are few or a
mistake: they are kept beside the columns and compared one by one, so that ranges are exact whatever the index's type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, inf, isinf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.conditions import (
    DatetimeRange,
    FieldCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchValue,
    Range,
    RangeInterface,
)
from vdb.model.datetimes import datetime_micros
from vdb.model.field_index import PayloadFieldSchema, schema_type
from vdb.segment.fields.base_columns import ColumnIndex
from vdb.segment.fields.bitmaps import Nums, bitmap_of, membership, union
from vdb.segment.fields.blocks import Block, Blocks, flattened, gathered, of_array, of_values, to_nums, to_values
from vdb.segment.fields.chunks import Chunks, FrozenChunks
from vdb.segment.fields.index import Direction, Estimate, FacetValue, FieldSnapshot
from vdb.segment.fields.presence import Batch, Presence
from vdb.segment.fields.value_tests import number_test

Number = int | float
Values = NDArray[np.int64] | NDArray[np.float64]
# A point's distinct values: one stands bare.
Entry = Number | tuple[Number, ...]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
# Rows that an ordered walk turns into Python values at a time: most callers want a page.
_BLOCK_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class NumberColumns:
    """``values`` ``(n,)``, int64 or float64, ascending; ``nums`` ``(n,)`` that have them, ascending where equal."""

    values: Values
    nums: Nums

    def between(self, bounds: Range) -> tuple[int, int]:
        """The rows ``[start, end)`` whose values are within."""
        start, end = 0, len(self.values)
        whole = self.values.dtype == np.int64
        for bound, strict in ((bounds.gte, False), (bounds.gt, True)):
            if bound is not None:
                start = max(start, self._rows_below(bound, strict, whole))
        for bound, strict in ((bounds.lte, True), (bounds.lt, False)):
            if bound is not None:
                end = min(end, self._rows_below(bound, strict, whole))
        return start, max(start, end)

    def _rows_below(self, bound: Number, or_equal: bool, whole: bool) -> int:
        """How many rows have values below ``bound``, or equal to it where asked."""
        if whole:
            return self._whole_rows_below(bound, or_equal)
        nearest = _nearest_float(bound)
        # No float64 is between an integer and the float64 nearest to it, and none is equal to one that is not its own.
        inclusive = or_equal if nearest == bound else nearest < bound
        return int(np.searchsorted(self.values, nearest, side="right" if inclusive else "left"))

    def _whole_rows_below(self, bound: Number, or_equal: bool) -> int:
        if isinstance(bound, float) and isinf(bound):
            return len(self.values) if bound > 0 else 0
        limit = floor(bound) if or_equal else ceil(bound) - 1  # the largest integer that is still counted
        if limit >= _INT64_MAX:
            return len(self.values)
        return 0 if limit < _INT64_MIN else int(np.searchsorted(self.values, np.int64(limit), side="right"))


class NumberSnapshot(FieldSnapshot):
    def __init__(
        self,
        schema: PayloadFieldSchema,
        presence: Presence,
        base: NumberColumns,
        fresh: BitMap,
        forward: FrozenChunks[Entry],
        odd: FrozenChunks[tuple[Number, ...]],
        odd_nums: BitMap,
    ) -> None:
        super().__init__(schema, presence)
        self._kind = schema_type(schema)
        self._base = base
        self._fresh = fresh
        self._forward = forward
        self._odd = odd
        self._odd_nums = odd_nums

    def group_values(self, num: int) -> tuple[str | int, ...] | None:
        if self._kind != "integer" or num in self.presence.foreign or num in self._odd_nums:
            return None
        entry = self._forward.get(num)
        if entry is None:
            return ()
        return (entry,) if isinstance(entry, int) else None

    def _dump(self) -> dict[str, Block]:
        nums, values = flattened((num, _numbers(entry)) for num, entry in self._forward.items())
        return {
            "nums": of_array(nums),
            "values": of_array(np.array(values, dtype=self._base.values.dtype)),
            "odd": of_values([(num, self._odd.get(num)) for num in self._odd_nums]),
        }

    def estimate(self, condition: FieldCondition, all_points: BitMap) -> Estimate | None:
        bounds = condition.range
        tests = sum(getattr(condition, name) is not None for name in condition.__struct_fields__) - 1
        if tests != 1 or not self._ranges(bounds):
            return super().estimate(condition, all_points)
        start, end = self._base.between(_plain(bounds))
        # Rows of points that changed since may be wrong, and those of points with several values count too often.
        most = len(all_points)
        rows, unsure = end - start, len(self._fresh) + len(self._odd_nums)
        several = max(0, len(self._base.nums) - len(self.presence.indexed) + len(self._fresh))
        return Estimate(max(0, rows - unsure - several), min(rows, most), min(rows + unsure, most))

    def facet(self, mask: BitMap | None) -> Counter[FacetValue] | None:
        if self._kind != "integer":
            return None
        columns = self._columns
        values = columns.values if mask is None else columns.values[membership(mask, columns.nums)]
        found, counts = np.unique(values, return_counts=True)
        return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def ordered(
        self, direction: Direction = "asc", start_from: Number | None = None, mask: BitMap | None = None
    ) -> Iterator[tuple[Number, int]]:
        columns = self._columns
        start, end = 0, len(columns.values)
        if start_from is not None:
            bounds = Range(gte=start_from) if direction == "asc" else Range(lte=start_from)
            start, end = columns.between(bounds)
        values, nums = columns.values[start:end], columns.nums[start:end]
        if direction == "desc":
            values, nums = values[::-1], nums[::-1]
        if mask is not None:
            inside = membership(mask, nums)
            values, nums = values[inside], nums[inside]
        return _walk(values, nums)

    def _match(self, match: Match) -> BitMap | None:
        if self._kind != "integer":
            return self._match_other(match)
        match match:
            case MatchValue(value=value):
                return self._any([value]) if type(value) is int else self._nothing()
            case MatchAny(any=terms):
                return self._any(terms) if not terms or type(terms[0]) is int else self._nothing()
            case MatchExcept(except_=terms):
                return self._except(terms) if not terms or type(terms[0]) is int else self._everything()
            case _:
                return self._nothing()

    def _match_other(self, match: Match) -> BitMap | None:
        """Floats and microseconds are not what they match as: only what they are not is certain."""
        if self._kind == "datetime":
            return None
        match match:
            case MatchValue(value=int()) | MatchAny(any=(int(), *_)):
                return None
            case MatchExcept(except_=terms):
                if not terms:
                    return self._except(())
                return None if type(terms[0]) is int else self._everything()
            case _:
                return self._nothing()

    def _any(self, values: Iterable[Any]) -> BitMap:
        return union(self._within(Range(gte=value, lte=value)) for value in dict.fromkeys(values))

    def _except(self, values: Sequence[Any]) -> BitMap:
        if not values:
            return self.presence.foreign | self.presence.indexed
        columns = self._columns
        left = np.isin(columns.values, np.array(values, dtype=np.int64), invert=True)
        return self.presence.foreign | bitmap_of(columns.nums[left])

    def _ranges(self, bounds: RangeInterface | None) -> bool:
        """True where bounds are of what the index holds."""
        return bounds is not None and isinstance(bounds, DatetimeRange) == (self._kind == "datetime")

    def _range(self, bounds: RangeInterface) -> BitMap | None:
        if not self._ranges(bounds):
            return self._nothing()
        within = self._within(_plain(bounds))
        if not self._odd_nums:
            return within
        holds = number_test(_plain(bounds))
        return within | BitMap([num for num in self._odd_nums if any(map(holds, self._odd.get(num) or ()))])

    def _within(self, bounds: Range) -> BitMap:
        start, end = self._base.between(bounds)
        found = bitmap_of(self._base.nums[start:end])
        if not self._fresh:
            return found
        start, end = self._overlay.between(bounds)
        return (found - self._fresh) | bitmap_of(self._overlay.nums[start:end])

    @cached_property
    def _overlay(self) -> NumberColumns:
        return _gathered(self._fresh, self._forward, self._base.values.dtype)

    @cached_property
    def _columns(self) -> NumberColumns:
        """Base and overlay merged."""
        if not self._fresh:
            return self._base
        kept = ~membership(self._fresh, self._base.nums)
        values = np.concatenate([self._base.values[kept], self._overlay.values])
        nums = np.concatenate([self._base.nums[kept], self._overlay.nums])
        return _sorted(values, nums)


class NumberIndex(ColumnIndex[NumberColumns]):
    """Owned by the collection's actor."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        self._read = _READERS[schema_type(schema)]
        self._dtype = np.dtype(np.float64 if schema_type(schema) == "float" else np.int64)
        self._odd: Chunks[tuple[Number, ...]] = Chunks()
        self._odd_nums = BitMap()
        self._odd_batch: dict[int, tuple[Number, ...]] = {}
        self._numbers = schema_type(schema) != "datetime"
        super().__init__(path, schema)

    def snapshot(self) -> NumberSnapshot:
        return NumberSnapshot(
            self.schema,
            self._presence,
            self._base,
            self._fresh,
            self._forward.freeze(),
            self._odd.freeze(),
            self._odd_nums,
        )

    def _entry(self, num: int, elements: list[Any], batch: Batch) -> Entry | None:
        read = self._read
        if len(elements) == 1:
            only: Entry | None = read(elements[0])
            if only is not None:
                batch.indexed.append(num)
                batch.counted.append(num)
                return only
        numbers = [number for element in elements if (number := read(element)) is not None]
        if len(numbers) < len(elements):
            batch.foreign.append(num)
            if self._numbers:
                odd = tuple(element for element in elements if _is_number(element) and read(element) is None)
                if odd:
                    self._odd_batch[num] = odd
        if not numbers:
            return None
        batch.indexed.append(num)
        batch.counted.append(num)
        distinct = tuple(dict.fromkeys(numbers))
        return distinct if len(distinct) > 1 else distinct[0]

    def _store(self, changed: BitMap, nums: list[int], entries: list[Any]) -> None:
        for num in self._odd_nums & changed:
            self._odd.set(num, None)
        for num, odd in self._odd_batch.items():
            self._odd.set(num, odd)
        self._odd_nums = self._odd_nums - changed | BitMap(self._odd_batch)
        self._odd_batch = {}
        super()._store(changed, nums, entries)

    def _restore(self, blocks: Blocks) -> None:
        values = np.frombuffer(blocks["values"], dtype=self._dtype).tolist()
        self._take(
            (num, tuple(found) if len(found) > 1 else found[0])
            for num, found in gathered(to_nums(blocks["nums"]).tolist(), values)
        )
        for num, odd in to_values(blocks["odd"]):
            self._odd.set(num, tuple(odd))
            self._odd_nums.add(num)

    def _columns(self, nums: Iterable[int], forward: FrozenChunks[Any]) -> NumberColumns:
        return _gathered(nums, forward, self._dtype)


def _numbers(entry: Entry | None) -> tuple[Number, ...]:
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def _gathered(nums: Iterable[int], forward: FrozenChunks[Entry], dtype: np.dtype[Any]) -> NumberColumns:
    values: list[Number] = []
    holders: list[int] = []
    for num in nums:
        entry = forward.get(num)
        if isinstance(entry, tuple):
            values.extend(entry)
            holders.extend([num] * len(entry))
        elif entry is not None:
            values.append(entry)
            holders.append(num)
    return _sorted(np.array(values, dtype=dtype), np.array(holders, dtype=np.uint32))


def _sorted(values: Values, nums: Nums) -> NumberColumns:
    order = np.lexsort((nums, values))
    return NumberColumns(values[order], nums[order])


def _walk(values: Values, nums: Nums) -> Iterator[tuple[Number, int]]:
    for start in range(0, len(values), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        yield from zip(values[block].tolist(), nums[block].tolist(), strict=True)


def _plain(bounds: RangeInterface | None) -> Range:
    match bounds:
        case DatetimeRange():
            return bounds.micros()
        case Range():
            return bounds
    raise AssertionError(f"unknown range {bounds!r}")


def _nearest_float(number: Number) -> float:
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def _is_number(element: Any) -> bool:
    return element.__class__ is int or element.__class__ is float


def _read_integer(element: Any) -> int | None:
    return element if element.__class__ is int and _INT64_MIN <= element <= _INT64_MAX else None


def _read_float(element: Any) -> float | None:
    if element.__class__ is float:
        number: float = element
        return number
    if element.__class__ is int:
        nearest = _nearest_float(element)
        return nearest if nearest == element else None
    return None


def _read_datetime(element: Any) -> int | None:
    return datetime_micros(element) if element.__class__ is str else None


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "integer": _read_integer,
    "float": _read_float,
    "datetime": _read_datetime,
}
