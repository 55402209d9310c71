"""Indexes of sorted columns: a frozen base, and what changed since, until a compaction merges it.

::

    base     columns over (value, num), sorted once; a num in ``fresh`` no longer counts there
    forward  entry by num: the truth
    fresh    nums that changed since the base was made: each snapshot sorts their few entries when first asked

A search looks at both, so that writing a point costs no sorting, and searching after it little.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from pyroaring import BitMap

from vdb.model.field_index import PayloadFieldSchema
from vdb.segment.fields.chunks import Chunks, FrozenChunks
from vdb.segment.fields.index import Compaction, FieldIndex

Columns = TypeVar("Columns")

# Sorting this many entries takes about a millisecond, once a snapshot; below it a compaction is not worth its hop.
_FRESH_MIN = 1024
# Of a larger index one point in so many may be fresh, so that compactions stay rare while points stream in.
_FRESH_SHARE = 16


class ColumnIndex(FieldIndex, Generic[Columns]):
    """Owned by the collection's actor."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        super().__init__(path, schema)
        self._forward: Chunks[Any] = Chunks()
        self._base: Columns = self._columns(BitMap(), FrozenChunks())
        self._based = BitMap()  # the nums in the base
        self._fresh = BitMap()
        self._compaction: Compaction | None = None
        self._since = BitMap()  # nums that changed since the compaction that runs was made

    def _take(self, entries: Iterable[tuple[int, Any]]) -> None:
        """Everything that is known of points, into an index that is new."""
        for num, entry in entries:
            self._forward.set(num, entry)
        self._based = self._presence.present
        self._base = self._columns(self._based, self._forward.freeze())

    def compaction(self, force: bool = False) -> Compaction | None:
        if not self._fresh or (not force and len(self._fresh) <= max(_FRESH_MIN, len(self._based) // _FRESH_SHARE)):
            return None
        nums, forward = self._presence.present, self._forward.freeze()
        self._compaction = Compaction(lambda: (nums, self._columns(nums, forward)))
        self._since = BitMap()
        return self._compaction

    def adopt(self, compaction: Compaction) -> None:
        if compaction is not self._compaction:
            return
        result: Any = compaction.result
        self._based, self._base = result
        self._fresh = self._since
        self._since = BitMap()
        self._compaction = None

    def _store(self, changed: BitMap, nums: list[int], entries: list[Any]) -> None:
        for num, entry in zip(nums, entries, strict=True):
            self._forward.set(num, entry)
        if not self._based and not self._fresh:
            # The first fill: sorted at once, in whatever thread does it, rather than by every search until later.
            self._base = self._columns(changed, self._forward.freeze())
            self._based = changed
            return
        self._fresh = self._fresh | changed
        self._since = self._since | changed

    @abstractmethod
    def _columns(self, nums: Iterable[int], forward: FrozenChunks[Any]) -> Columns:
        """The sorted columns of some nums."""
