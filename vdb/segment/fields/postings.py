"""For each term the points that have it: an inverted index with cheap immutable copies.

Guarantees: a frozen copy never changes. Assumes: one owner writes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.segment.fields.bitmaps import Nums, bitmap_of, nums_of, union
from vdb.segment.fields.blocks import Block, Blocks, of_array, to_nums
from vdb.segment.fields.chunks import Chunks, FrozenChunks

# A term of one point is that point's num: names and keys are unique more often than not, and a bitmap takes 100 bytes.
Posting = BitMap | int

_EMPTY: Final = BitMap()


class FrozenPostings:
    """Points by a term's code; safe in any number of threads."""

    __slots__ = ("_postings",)

    def __init__(self, postings: FrozenChunks[Posting]) -> None:
        self._postings = postings

    def points(self, code: int) -> BitMap:
        posting = self._postings.get(code)
        if posting is None:
            return _EMPTY
        return BitMap((posting,)) if isinstance(posting, int) else posting

    def union(self, codes: Iterable[int]) -> BitMap:
        """The points that have some of the terms; many terms of one point each are gathered at once."""
        single = array("I")
        several: list[BitMap] = []
        for code in codes:
            posting = self._postings.get(code)
            if isinstance(posting, int):
                single.append(posting)
            elif posting is not None:
                several.append(posting)
        if single:
            several.append(bitmap_of(np.frombuffer(single, dtype=np.uint32)))
        return several[0] if len(several) == 1 else union(several)

    def dump(self) -> dict[str, Block]:
        """``codes`` and ``sizes`` ``(n,)`` uint32, and the points of each code one after the other in ``points``."""
        codes, sizes, points = array("I"), array("I"), array("I")
        for code, posting in self._postings.items():
            codes.append(code)
            if isinstance(posting, int):
                sizes.append(1)
                points.append(posting)
            else:
                sizes.append(len(posting))
                points.frombytes(nums_of(posting).tobytes())
        return {"codes": of_array(codes), "sizes": of_array(sizes), "points": of_array(points)}

    def count(self, code: int, mask: BitMap | None = None) -> int:
        """How many points have the term, of those in ``mask`` where there is one."""
        posting = self._postings.get(code)
        if posting is None:
            return 0
        if isinstance(posting, int):
            return int(mask is None or posting in mask)
        return len(posting) if mask is None else posting.intersection_cardinality(mask)


class Postings:
    """The writable index, of one owner."""

    def __init__(self) -> None:
        self._postings: Chunks[Posting] = Chunks()
        self._own: set[int] = set()  # codes whose bitmap no frozen copy holds
        self._filled = False
        self._living = 0

    def freeze(self) -> FrozenPostings:
        self._own.clear()
        return FrozenPostings(self._postings.freeze())

    def edit(self, removed: Mapping[int, list[int]], added: Mapping[int, list[int]]) -> None:
        """Takes nums from terms and gives nums to terms, by code; what is removed and added stays."""
        self._filled = True
        for code in removed.keys() | added.keys():
            posting = self._postings.get(code)
            lost, won = removed.get(code, ()), added.get(code, ())
            if isinstance(posting, BitMap):
                points = posting if code in self._own else posting.copy()
                for num in lost:
                    points.discard(num)
                for num in won:
                    points.add(num)
            else:
                # Mostly a term of one point that comes or goes, without a bitmap on the way.
                few = set(won) if posting is None or posting in lost else {posting, *won}
                self._living += bool(few) - (posting is not None)
                if len(few) < 2:
                    self._postings.set(code, few.pop() if few else None)
                    continue
                points = BitMap(few)
            self._put(code, points)

    def fill(self, codes: array[int], nums: array[int]) -> None:
        """The same for pairs of a code and a num, each pair once, into postings that are still empty."""
        assert not self._filled
        self._filled = True
        if not codes:
            return
        code_of = np.frombuffer(codes, dtype=np.uint32)
        num_of = np.frombuffer(nums, dtype=np.uint32)
        order = np.argsort(code_of, kind="stable")
        code_of, num_of = code_of[order], num_of[order]
        starts = np.flatnonzero(np.diff(code_of, prepend=-1))
        self._set_all(code_of[starts], np.append(starts, len(code_of)), num_of)

    def restore(self, blocks: Blocks) -> None:
        """Takes over what frozen postings dumped; these must be new."""
        assert not self._filled
        self._filled = True
        ends = np.cumsum(to_nums(blocks["sizes"]), dtype=np.int64)
        self._set_all(to_nums(blocks["codes"]), np.concatenate([[0], ends]), to_nums(blocks["points"]))

    def _set_all(self, codes: Nums, bounds: NDArray[np.int64], points: Nums) -> None:
        """``points[bounds[i]:bounds[i + 1]]`` are those of ``codes[i]``."""
        self._living += len(codes)
        edges = bounds.tolist()
        for code, start, end in zip(codes.tolist(), edges, edges[1:], strict=False):
            if end - start == 1:
                self._postings.set(code, int(points[start]))
            else:
                self._postings.set(code, bitmap_of(points[start:end]))
                self._own.add(code)

    @property
    def filled(self) -> bool:
        return self._filled

    @property
    def living(self) -> int:
        """How many terms have points."""
        return self._living

    def _put(self, code: int, points: BitMap) -> None:
        if len(points) > 1:
            self._postings.set(code, points)
            self._own.add(code)
            return
        self._own.discard(code)
        if points:
            self._postings.set(code, points.min())
        else:
            self._postings.set(code, None)
            self._living -= 1


def pairs(codes_of: Iterable[tuple[int, Iterable[int]]]) -> tuple[array[int], array[int]]:
    """``(codes, nums)`` of nums and their codes, for ``Postings.fill``."""
    codes, nums = array("I"), array("I")
    for num, found in codes_of:
        before = len(codes)
        codes.extend(found)
        nums.extend((num,) * (len(codes) - before))
    return codes, nums
