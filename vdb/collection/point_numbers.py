"""Which numbers new points get: those of deleted points again, once nobody can see these any more.

Arrays, bitmaps and chunks in memory go by a point's number. If every point got a new one for ever, a collection whose
points come and go would take more memory each day while it holds no more than before.

::

    living ──deleted──▶ waiting, with the Views that show it ──the last of these is gone──▶ free ──▶ living

Guarantees
    A number is free only after every View that was published before its point was deleted is gone: a search that runs
    on one never meets another point under it, in memory or in the database.
    At most ``FREE_MAX`` numbers lie idle, besides those that wait.
Assumes
    One owner, the collection's actor. ``unused`` may be read on the writer's thread while the actor waits.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import Final

from pyroaring import BitMap

from vdb.query.view import View

# Free numbers that are left alone, about half a megabyte: points that are deleted and written again now and then keep
# the order in which they came.
FREE_MAX: Final = 16_384


class PointNumbers:
    """``next`` is above all numbers that were ever given."""

    def __init__(self, living: BitMap) -> None:
        self.next: int = living.max() + 1 if living else 0
        self._free = BitMap(range(self.next)) - living
        self._waiting: list[tuple[weakref.ref[View], BitMap]] = []  # by View, what was deleted until the one after it

    @property
    def free_count(self) -> int:
        return len(self._free)

    def unused(self) -> Iterator[int]:
        """Numbers for new points, without end; ``take`` those that were used before asking again."""
        return itertools.chain(self._free if len(self._free) > FREE_MAX else (), itertools.count(self.next))

    def take(self, nums: Iterable[int]) -> None:
        """Points live under ``nums`` from now on."""
        taken = BitMap(nums)
        if taken:
            former, self.next = self.next, max(self.next, taken.max() + 1)
            self._free.add_range(former, self.next)  # what was given to points that did not last their transaction
            self._free -= taken

    def retire(self, nums: Iterable[int]) -> None:
        """The points of ``nums`` are deleted; the View that was published last still shows them."""
        (self._waiting[-1][1] if self._waiting else self._free).update(nums)

    def published(self, view: View) -> None:
        """``view`` is what searches get from now on."""
        waiting: list[tuple[weakref.ref[View], BitMap]] = []
        for shown_by, nums in self._waiting:
            if shown_by() is not None:
                waiting.append((shown_by, nums))
            elif waiting:  # an older View shows them too
                waiting[-1][1].update(nums)
            else:
                self._free |= nums
        self._waiting = [*waiting, (weakref.ref(view), BitMap())]
