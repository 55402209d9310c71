"""Field indexes as named blocks of bytes, little-endian: what a snapshot dumps and a new index is restored from.

Dumping happens beside a busy event loop: nothing here holds the interpreter lock for long at a stretch.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.segment.fields.bitmaps import Nums

T = TypeVar("T")

Block = bytes | memoryview
Blocks = Mapping[str, Block]

_VALUES_AT_ONCE: Final = 4_096  # JSON values encoded or decoded in one go, well below a millisecond


def of_array(values: array[Any] | NDArray[Any]) -> Block:
    """The bytes of an array, not copied."""
    return memoryview(values).cast("B") if len(values) else b""  # type: ignore[arg-type]


def to_nums(block: Block) -> Nums:
    return np.frombuffer(block, dtype=np.uint32)


def of_values(values: Sequence[Any]) -> bytes:
    """Anything that JSON holds: lines of arrays."""
    starts = range(0, len(values), _VALUES_AT_ONCE)
    return b"\n".join(orjson.dumps(values[start : start + _VALUES_AT_ONCE]) for start in starts)


def to_values(block: Block) -> list[Any]:
    values: list[Any] = []
    for line in bytes(block).split(b"\n") if block else ():
        values += orjson.loads(line)
    return values


def flattened(values_of: Iterable[tuple[int, Sequence[T]]]) -> tuple[array[int], list[T]]:
    """``(nums, values)``, an entry a value, of nums with their values."""
    nums: array[int] = array("I")
    values: list[T] = []
    for num, found in values_of:
        nums.extend((num,) * len(found))
        values.extend(found)
    return nums, values


def gathered(nums: Sequence[int], values: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    """The inverse of ``flattened``: the values of one num stand together."""
    start = 0
    for end in range(1, len(nums) + 1):
        if end == len(nums) or nums[end] != nums[start]:
            yield nums[start], values[start:end]
            start = end
