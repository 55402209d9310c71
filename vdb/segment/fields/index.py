"""What every field index is: a writer that one task owns, and the immutable snapshots that searches read.

::

    owner (the collection's actor)            search threads
      index.apply(changes)
      index.snapshot()  ───── FieldSnapshot ─────▶  matching, estimate, facet, ordered
      job = index.compaction()
      job.run()         in a worker thread
      index.adopt(job)
      index.restore(blocks)  ◀───────────────────────  dump

Guarantees
    A snapshot never changes. Taking one costs some microseconds whatever the index holds.
    What ``matching`` answers is exactly what a scan of the payloads would; where it cannot, it answers None.
Assumes
    Nobody changes a bitmap that a snapshot returned: it may be the index's own.
    Between ``compaction`` and ``adopt`` the owner may apply further changes.
    While a compaction is on its way nobody asks for another; one that is never adopted is forgotten at the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pyroaring import BitMap

from vdb.model.conditions import DatetimeRange, FieldCondition, Match, RangeInterface
from vdb.model.field_index import PayloadFieldSchema, schema_type
from vdb.model.json_path import JsonPath, parse_path, value_reader
from vdb.segment.fields.bitmaps import union
from vdb.segment.fields.blocks import Block, Blocks
from vdb.segment.fields.presence import Batch, Presence
from vdb.segment.fields.value_tests import Shape, count_test, shapes

Change = tuple[int, Sequence[Any] | None]
Direction = Literal["asc", "desc"]
FacetValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many points match: never fewer than ``min``, never more than ``max``."""

    min: int
    expected: int
    max: int

    @classmethod
    def exactly(cls, count: int) -> Estimate:
        return cls(count, count, count)


class FieldSnapshot(ABC):
    """The index as it stood once; safe in any number of threads."""

    def __init__(self, schema: PayloadFieldSchema, presence: Presence) -> None:
        self.schema = schema
        self.presence = presence
        self._holds_strings = schema_type(schema) in ("keyword", "uuid", "text")

    def points(self) -> int:
        """How many points have a value of the index's type."""
        return len(self.presence.counted)

    def matching(self, condition: FieldCondition, all_points: BitMap) -> BitMap | None:
        """The points that match, exactly; None where this index alone cannot tell. The condition's key is not read."""
        return self._matching(condition, all_points, self._match)

    def narrowing(self, condition: FieldCondition, all_points: BitMap) -> BitMap | None:
        """Points among which are all that match, where ``matching`` cannot tell; None where that would be all."""
        return self._matching(condition, all_points, self._match_or_more)

    def estimate(self, condition: FieldCondition, all_points: BitMap) -> Estimate | None:
        """None where ``matching`` answers None."""
        found = self.matching(condition, all_points)
        return None if found is None else Estimate.exactly(len(found))

    def group_values(self, num: int) -> tuple[str | int, ...] | None:
        """The strings and integers of a point's field, at most one; None where only the payload tells all of them."""
        return None

    def facet(self, mask: BitMap | None) -> Counter[FacetValue] | None:
        """How many points of ``mask`` (None: of all) have each value; None where the type has no facets."""
        return None

    def ordered(
        self, direction: Direction = "asc", start_from: int | float | None = None, mask: BitMap | None = None
    ) -> Iterator[tuple[int | float, int]] | None:
        """``(value, num)`` by value, equal ones by num, all descending for ``desc``, beginning at ``start_from``.

        A point stands once for each of its values. Only points in ``mask``, where there is one. None where the type has
        no order. Datetimes are microseconds since 1970.
        """
        return None

    def dump(self) -> dict[str, Block]:
        """All that the index knows, for ``FieldIndex.restore``. Takes a while, in any thread."""
        return {"presence": self.presence.dump(), **self._dump()}

    @abstractmethod
    def _dump(self) -> dict[str, Block]: ...

    def _matching(
        self, condition: FieldCondition, all_points: BitMap, match: Callable[[Match], BitMap | None]
    ) -> BitMap | None:
        found: list[BitMap | None] = []
        if condition.match is not None:
            found.append(match(condition.match))
        if condition.range is not None:
            found.append(self._range(condition.range))
        found.extend(self._shape(shape) for shape in shapes(condition))
        if condition.values_count is not None:
            found.append(self.presence.counting(count_test(condition.values_count), all_points))
        if condition.is_empty is not None:
            found.append(self.presence.empty(condition.is_empty, all_points))
        if condition.is_null is not None:
            found.append(self.presence.nulls(condition.is_null, all_points))
        if any(bitmap is None for bitmap in found):
            return None
        bitmaps = cast(list[BitMap], found)
        return bitmaps[0] if len(bitmaps) == 1 else union(bitmaps)

    @abstractmethod
    def _match(self, match: Match) -> BitMap | None: ...

    def _match_or_more(self, match: Match) -> BitMap | None:
        return self._match(match)

    def _range(self, bounds: RangeInterface) -> BitMap | None:
        """For indexes of what is no number; those of strings may hold datetimes without knowing."""
        if isinstance(bounds, DatetimeRange) and self._holds_strings:
            return None if self.presence.indexed else self._nothing()
        return self._nothing()

    def _shape(self, shape: Shape) -> BitMap | None:
        return self._nothing()

    def _nothing(self) -> BitMap | None:
        """What asks for another type than the index's: certain only where no point has values of other types."""
        return None if self.presence.foreign else BitMap()

    def _everything(self) -> BitMap | None:
        """What excludes values of another type: every value of the index's type is left."""
        return None if self.presence.foreign else self.presence.indexed


@dataclass(slots=True)
class Compaction:
    """A new base to be computed from a snapshot, off the owner's thread."""

    compute: Callable[[], object]
    result: object = field(default=None)

    def run(self) -> None:
        self.result = self.compute()


class FieldIndex(ABC):
    """The writable index at one path; owned by one task."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        self.path: JsonPath = parse_path(path)
        self.schema = schema
        self.values_in = value_reader(self.path)
        self._presence = Presence()

    def apply(self, changes: Iterable[Change]) -> None:
        """Replaces what is known of each num by its values at the path (see ``values_in``); None or none removes it.

        Of a num that stands there twice the last one counts.
        """
        last = dict(changes)
        if not last:
            return
        batch = Batch()
        entries = [
            self._entry(num, batch.elements(num, values), batch) if values else None for num, values in last.items()
        ]
        changed = BitMap(last)
        self._presence = self._presence.updated(changed, batch)
        self._store(changed, list(last), entries)

    def restore(self, blocks: Blocks) -> None:
        """Takes over what a snapshot of an index of the same schema dumped; this one must be new."""
        self._presence = Presence.load(blocks["presence"])
        self._restore(blocks)

    @abstractmethod
    def _restore(self, blocks: Blocks) -> None: ...

    @abstractmethod
    def snapshot(self) -> FieldSnapshot:
        """The index as it stands now."""

    def compaction(self, force: bool = False) -> Compaction | None:
        """Work that would make searches faster or the index smaller, where there is enough of it.

        Run it anywhere, then ``adopt`` it, and ask for more.
        """
        return None

    def adopt(self, compaction: Compaction) -> None:
        """Takes over the result of the last ``compaction``; one that was overtaken by another is ignored."""
        raise AssertionError("there was nothing to compact")

    def compact(self) -> None:
        """All of it at once, for those that need not care for a loop."""
        job = self.compaction(force=True)
        if job is not None:
            job.run()
            self.adopt(job)

    @abstractmethod
    def _entry(self, num: int, elements: list[Any], batch: Batch) -> Any:
        """What to keep of a point's elements; notes in ``batch`` whether they are indexed, counted or foreign."""

    @abstractmethod
    def _store(self, changed: BitMap, nums: list[int], entries: list[Any]) -> None: ...
