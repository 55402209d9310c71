"""The actor's state: which rows live where, and the View made of them.

Guarantees
    Nothing here is shared: searches hold Views, whose arrays this module copies before it changes them.
    A point's newest vector is alive in exactly one slot; all its older rows are dead.
Assumes
    One owner, the collection's actor, and SQLite already committed whatever is applied here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.collection.fields import Fields
from vdb.collection.locations import NOWHERE, Locations
from vdb.collection.payload_memory import apply_payloads
from vdb.collection.point_numbers import PointNumbers
from vdb.model.collection_config import CollectionConfig
from vdb.model.sparse import SparseSpace
from vdb.model.vectors import VectorSpace
from vdb.query.identities import Identities
from vdb.query.view import SparseView, VectorView, View
from vdb.segment.appendable import AppendableRows
from vdb.segment.fields.chunks import Chunks
from vdb.segment.fields.index import Compaction
from vdb.segment.rows import RowNumbers, RowsView
from vdb.segment.sealed import MaskedRows, SealedSegment
from vdb.segment.sparse import SparseCompaction, SparseIndex
from vdb.storage.points import KEY_SHIFT, Changes

_NUM_MASK: Final = 2**KEY_SHIFT - 1


@dataclass(slots=True)
class Slot:
    """One live segment. ``sealed`` is None for one in memory; ``frozen`` ones in memory take no more rows."""

    number: int
    uuid: str
    rows: dict[int, AppendableRows | MaskedRows]  # by vector_id
    sealed: SealedSegment | None = None
    frozen: bool = False

    @property
    def appendable(self) -> bool:
        return self.sealed is None and not self.frozen


@dataclass(frozen=True, slots=True)
class SlotView:
    """One segment as the optimizer and the collection info see it. Immutable."""

    number: int
    uuid: str
    sealed: SealedSegment | None
    frozen: bool
    rows: Mapping[int, RowsView]  # by vector_id

    @property
    def points_count(self) -> int:
        """Living points of the vector name that has the most: points without any vector are in no segment."""
        return max((points_of(rows) for rows in self.rows.values()), default=0)

    @property
    def rows_count(self) -> int:
        """Living rows of the vector name that has the most."""
        return max((rows.alive_count for rows in self.rows.values()), default=0)

    @property
    def size_bytes(self) -> int:
        """float32 bytes of the living rows."""
        return sum(rows.alive_count * rows.rows.space.dim * 4 for rows in self.rows.values())

    @property
    def indexed_vectors_count(self) -> int:
        """Living vectors that a graph covers; a multivector counts once, however many rows it has."""
        return sum(points_of(rows) for rows in self.rows.values() if rows.rows.graph is not None)


@dataclass(slots=True)
class State:
    """Owned by the actor task. ``vector_ids`` and ``spaces`` are by vector name."""

    config: CollectionConfig
    spaces: dict[str, VectorSpace]
    vector_ids: dict[str, int]
    seq: int
    all_points: BitMap
    sparse_spaces: dict[str, SparseSpace] = field(default_factory=dict)
    sparse: dict[int, SparseIndex] = field(default_factory=dict)  # by vector_id
    identities: Identities = field(default_factory=Identities)
    fields: Fields = field(default_factory=Fields)
    payloads: Chunks[bytes] | None = None  # by num, where the configuration wants them in memory
    slots: dict[int, Slot] = field(default_factory=dict)
    locations: dict[int, Locations] = field(default_factory=dict)
    numbers: PointNumbers = field(init=False)
    _next_slot: int = 0
    _active: int = NOWHERE

    def __post_init__(self) -> None:
        self.numbers = PointNumbers(self.all_points)
        for name, space in self.spaces.items():
            self.locations.setdefault(self.vector_ids[name], Locations(space.multi))
        for name in self.sparse_spaces:
            self.sparse.setdefault(self.vector_ids[name], SparseIndex())
        self.open_appendable()

    def reconfigure(
        self,
        config: CollectionConfig,
        spaces: dict[str, VectorSpace],
        sparse_spaces: dict[str, SparseSpace],
        vector_ids: dict[str, int],
    ) -> None:
        """Takes over a configuration whose vectors may have come and gone."""
        gone = set(self.vector_ids.values()) - set(vector_ids.values())
        self.config, self.spaces, self.sparse_spaces, self.vector_ids = config, spaces, sparse_spaces, vector_ids
        for vector_id in gone:
            self.locations.pop(vector_id, None)
            self.sparse.pop(vector_id, None)
            for slot in self.slots.values():
                slot.rows.pop(vector_id, None)
        for name, space in spaces.items():
            vector_id = vector_ids[name]
            self.locations.setdefault(vector_id, Locations(space.multi))
            if vector_id not in self.active.rows:
                self.active.rows[vector_id] = AppendableRows(space)
        for name in sparse_spaces:
            self.sparse.setdefault(vector_ids[name], SparseIndex())

    def open_appendable(self) -> Slot:
        """Freezes the segment that takes new rows, if it has any, and opens another."""
        if self._active != NOWHERE:
            self.slots[self._active].frozen = True
        by_id = {self.vector_ids[name]: space for name, space in self.spaces.items()}
        slot = Slot(self._new_slot(), str(uuid4()), {vid: AppendableRows(space) for vid, space in by_id.items()})
        self.slots[slot.number] = slot
        self._active = slot.number
        return slot

    @property
    def active(self) -> Slot:
        return self.slots[self._active]

    def active_size_bytes(self) -> int:
        """Bytes of the largest matrix that takes new rows."""
        return max(
            (rows.size_bytes for rows in self.active.rows.values() if isinstance(rows, AppendableRows)), default=0
        )

    def holds(self, vector_id: int, nums: Sequence[int]) -> list[int]:
        """Those of ``nums`` that have a vector of this name."""
        if vector_id in self.sparse:
            return [num for num in nums if num in self.sparse[vector_id]]
        locations = self.locations[vector_id]
        return [num for num in nums if locations.slot_of(num) != NOWHERE]

    def tombstones_of(self, changes: Changes) -> list[tuple[int, int, int]]:
        """Rows of sealed segments that ``changes`` will kill: ``(segment_id, vector_id, row)``, for the transaction."""
        tombstones: list[tuple[int, int, int]] = []
        for vector_id, nums in self._touched(changes):
            for slot_number, rows in self.locations[vector_id].rows_by_slot(nums):
                sealed = self.slots[slot_number].sealed
                if sealed is not None:
                    tombstones.extend((sealed.segment_id, vector_id, row) for row in rows.tolist())
        return tombstones

    def apply(self, changes: Changes, seq: int) -> None:
        """Brings memory up to a committed transaction. Old rows die, new rows are appended."""
        for vector_id, nums in self._touched(changes):
            self._kill(vector_id, nums)
        self._apply_sparse(changes)
        for written in changes.vectors:
            rows = self.active.rows[written.vector_id]
            assert isinstance(rows, AppendableRows), "new rows go into memory"
            nums = written.nums_of_rows()
            first = rows.append(nums, written.data)
            self.locations[written.vector_id].set(nums, self._active, np.arange(first, first + len(nums)))
        if changes.new_points or changes.removed:
            self.all_points = self.all_points.copy()  # Views hold the old one
            self.all_points.update(changes.new_points)
            self.all_points.difference_update(BitMap(changes.removed))
            self.numbers.take(changes.new_points)
            self.numbers.retire(changes.removed)
        self.identities.apply(changes.new_points, changes.versions)
        self.fields.apply(changes.payloads, changes.removed)
        if self.payloads is not None:
            apply_payloads(self.payloads, changes.payloads, changes.removed)
        self.seq = seq

    def _apply_sparse(self, changes: Changes) -> None:
        gone = _by_vector_id(changes.removed_vectors)
        for vector_id, index in self.sparse.items():
            if vector_id in gone:
                index.apply(dict.fromkeys(gone[vector_id]))
        for rows in changes.sparse:
            self.sparse[rows.vector_id].apply({num: vector for num, (_, vector) in rows.vectors.items()})

    def compactions(self, running: Set[str | int]) -> list[tuple[str | int, Compaction | SparseCompaction]]:
        """Work that would make searches faster, by the path or vector_id of the index, but for those in ``running``:
        an index that is asked again forgets what changed since the first job began."""
        sparse = (
            (vector_id, index.compaction()) for vector_id, index in self.sparse.items() if vector_id not in running
        )
        return [*self.fields.compactions(running), *((vector_id, job) for vector_id, job in sparse if job is not None)]

    def take_compaction(self, index: str | int, job: Compaction | SparseCompaction) -> None:
        """Adopts finished work, where the index is still there."""
        match index, job:
            case str(), Compaction():
                self.fields.take(index, job)
            case int(), SparseCompaction() if index in self.sparse:
                self.sparse[index].adopt(job)

    def _touched(self, changes: Changes) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """Per name of dense vectors, the points whose row so far is no longer the newest."""
        for written in changes.vectors:
            yield written.vector_id, np.array(written.nums, dtype=np.uint32)
        for vector_id, nums in _by_vector_id(changes.removed_vectors).items():
            if vector_id in self.locations:
                yield vector_id, np.array(nums, dtype=np.uint32)

    def _kill(self, vector_id: int, nums: NDArray[np.uint32]) -> None:
        for slot_number, rows in self.locations[vector_id].rows_by_slot(nums):
            self.slots[slot_number].rows[vector_id].kill(rows)
        self.locations[vector_id].clear(nums)

    def load(self, vector_id: int, nums: NDArray[np.uint32], data: NDArray[np.float32]) -> None:
        """Recovery: rows that SQLite holds and no sealed segment does."""
        rows = self.active.rows[vector_id]
        assert isinstance(rows, AppendableRows), "new rows go into memory"
        first = rows.append(nums, data)
        self.locations[vector_id].set(nums, self._active, np.arange(first, first + len(nums)))

    def attach(self, sealed: SealedSegment, tombstones: Mapping[int, RowNumbers]) -> Slot:
        """Adds a sealed segment; its rows that are not dead become the newest ones of their points."""
        slot = Slot(self._new_slot(), sealed.folder.name, {}, sealed=sealed, frozen=True)
        for vector_id, rows in sealed.rows.items():
            if vector_id not in self.locations:
                continue
            masked = MaskedRows(rows)
            living = np.ones(len(rows.nums), dtype=np.bool_)
            dead = tombstones.get(vector_id)
            if dead is not None and len(dead):
                masked.kill(dead)
                living[dead] = False
            numbers = np.flatnonzero(living)
            self.locations[vector_id].set(np.asarray(rows.nums)[numbers], slot.number, numbers)
            slot.rows[vector_id] = masked
        self.slots[slot.number] = slot
        return slot

    def dead_rows_for_swap(self, sealed: SealedSegment, inputs: Sequence[int]) -> dict[int, RowNumbers]:
        """Rows of a finished build whose point has moved on since the build began: its newest row is in no input."""
        dead: dict[int, RowNumbers] = {}
        for vector_id, rows in sealed.rows.items():
            if vector_id in self.locations:
                slots = self.locations[vector_id].slots(np.asarray(rows.nums))
                dead[vector_id] = np.flatnonzero(~np.isin(slots, inputs))
        return dead

    def detach(self, slot_numbers: Sequence[int]) -> list[SealedSegment]:
        """Forgets segments whose living rows were attached elsewhere; returns those that have files."""
        gone = [self.slots.pop(number) for number in slot_numbers]
        return [slot.sealed for slot in gone if slot.sealed is not None]

    def publish(self) -> tuple[View, tuple[SlotView, ...]]:
        """The immutable image of this state."""
        slots = tuple(
            SlotView(
                slot.number,
                slot.uuid,
                slot.sealed,
                slot.frozen,
                {vector_id: rows.view() for vector_id, rows in slot.rows.items()},
            )
            for slot in self.slots.values()
        )
        vectors = {
            name: VectorView(
                self.vector_ids[name],
                space,
                tuple(
                    slot.rows[vector_id]
                    for slot in slots
                    if (vector_id := self.vector_ids[name]) in slot.rows and slot.rows[vector_id].length
                ),
            )
            for name, space in self.spaces.items()
        }
        view = View(
            self.seq,
            self.config,
            vectors,
            self.all_points,
            self.identities.freeze(),
            self.fields.snapshots(),
            self.fields.building(),
            None if self.payloads is None else self.payloads.freeze(),
            {name: self._sparse_view(space) for name, space in self.sparse_spaces.items()},
        )
        self.numbers.published(view)
        return view, slots

    def _sparse_view(self, space: SparseSpace) -> SparseView:
        vector_id = self.vector_ids[space.name]
        return SparseView(vector_id, space, self.sparse[vector_id].snapshot())

    def _new_slot(self) -> int:
        number, self._next_slot = self._next_slot, self._next_slot + 1
        return number


def points_of(rows: RowsView) -> int:
    """How many points the living rows of a segment belong to: those of a multivector follow each other."""
    if rows.point_a_row or not rows.alive_count:
        return rows.alive_count
    nums = rows.rows.nums[: rows.length] if rows.alive is None else rows.rows.nums[rows.alive_rows()]
    return int(np.count_nonzero(nums[1:] != nums[:-1])) + 1


def _by_vector_id(keys: Sequence[int]) -> dict[int, list[int]]:
    """Keys of vectors taken apart: the nums of each vector_id."""
    nums: dict[int, list[int]] = {}
    for key in keys:
        nums.setdefault(key >> KEY_SHIFT, []).append(key & _NUM_MASK)
    return nums
