"""What the appendable and the sealed form of a segment's vectors have in common: rows, and a pinned view of them.

A row is a place inside one segment's matrix; ``nums`` maps it to the collection's point. Rows are written once. A point
whose vector is written again gets a new row, and the old one dies in the mask of the next View.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.vectors import Floats, VectorSpace
from vdb.segment.distance import top
from vdb.segment.fields.bitmaps import membership, nums_of

if TYPE_CHECKING:  # both return rows
    from vdb.segment.hnsw import Graph
    from vdb.segment.quantised import QuantisedRows

# Searching a sorted column for one number costs about as much as looking at so many of its rows.
_SEARCH_SHARE: Final = 16

Alive = NDArray[np.bool_]
RowNumbers = NDArray[np.int64]


class Rows(Protocol):
    """Vectors of one name in one segment. Safe to read from any thread."""

    @property
    def space(self) -> VectorSpace: ...

    @property
    def nums(self) -> NDArray[np.uint32]:
        """``(capacity,)``: the point of each row."""

    @property
    def matrix(self) -> NDArray[Any]:
        """``(capacity, dim)`` in the space's datatype (float32 in memory)."""

    @property
    def nums_ascend(self) -> bool:
        """True where ``nums`` is known to be strictly ascending."""

    @property
    def by_num(self) -> NDArray[np.int64] | None:
        """``(capacity,)``: all rows by ascending point, where that is another order than their own."""

    @property
    def gathered(self) -> NDArray[Any]:
        """``matrix`` once more, for reading single rows: of a cold one only the pages that they are in are read."""

    @property
    def cold(self) -> bool:
        """True where ``matrix`` is read from the disk as it is needed."""

    @property
    def graph(self) -> Graph | None: ...

    @property
    def quantised(self) -> QuantisedRows | None: ...


@dataclass(frozen=True, slots=True)
class RowsView:
    """The first ``length`` rows of a segment, less the dead ones. Immutable.

    ``alive`` is ``(capacity,)`` bool, or None while every row lives.
    """

    rows: Rows
    length: int
    alive: Alive | None
    alive_count: int

    @property
    def dead_share(self) -> float:
        return 1.0 - self.alive_count / self.length if self.length else 0.0

    @property
    def point_a_row(self) -> bool:
        """True where each point is known to have one row, which can be searched for."""
        return self.rows.nums_ascend or self.rows.by_num is not None

    def alive_rows(self) -> RowNumbers:
        """Numbers of the living rows, ascending."""
        if self.alive is None:
            return np.arange(self.length)
        return np.flatnonzero(self.alive[: self.length])

    def rows_among(self, points: BitMap) -> RowNumbers:
        """Numbers of the living rows whose point is one of ``points``, ascending."""
        nums, by_num = self.rows.nums[: self.length], self.rows.by_num
        if self.point_a_row and len(points) * _SEARCH_SHARE < self.length:
            wanted = nums_of(points)
            places = np.searchsorted(nums, wanted, sorter=by_num)
            places = places[places < len(nums)]
            rows = places if by_num is None else by_num[places]
            rows = rows[nums[rows] == wanted[: len(rows)]]
            if by_num is not None:
                rows.sort()
        else:
            rows = np.flatnonzero(membership(points, nums))
        living: RowNumbers = rows if self.alive is None else rows[self.alive[rows]]
        return living

    def best(self, values: Floats, count: int, rows: RowNumbers | None = None) -> NDArray[np.int64]:
        """Places in ``values``, of all rows or of ``rows``, where the ``count`` largest are, best first.

        Equal ones stand by point: which of them are among the best does not depend on how many are asked for.
        """
        if self.rows.by_num is None:
            return top(values, count)
        return top(values, count, self.rows.nums if rows is None else self.rows.nums[rows])


class Mask:
    """Which rows of a segment live. Copied before it changes once a view holds it, so that views never change.

    Owned by whoever owns the rows; costs nothing while every row lives.
    """

    def __init__(self) -> None:
        self._alive: Alive | None = None
        self._published = False
        self.dead_count = 0

    def kill(self, rows: RowNumbers, capacity: int) -> None:
        """Marks living ``rows`` as dead; ``capacity`` is the number of rows that the matrix has room for."""
        if self._alive is None:
            self._alive = np.ones(capacity, dtype=np.bool_)
        elif self._published or len(self._alive) < capacity:
            alive = np.ones(capacity, dtype=np.bool_)
            alive[: len(self._alive)] = self._alive
            self._alive = alive
        self._published = False
        assert self._alive[rows].all(), "a row dies once"
        self._alive[rows] = False
        self.dead_count += len(rows)

    def publish(self, rows: Rows, length: int) -> RowsView:
        """The view of the first ``length`` rows."""
        self._published = True
        alive = self._alive
        if alive is not None and len(alive) < length:
            alive = np.concatenate([alive, np.ones(length - len(alive), dtype=np.bool_)])
        return RowsView(rows, length, alive, length - self.dead_count)
