"""The field indexes of one collection: those that answer, and those that are still being built.

Guarantees
    A published snapshot is exact for the View that carries it. An index that is being built is not published.
    What changes while an index is built is noted, and read again when it is adopted.
Assumes
    One owner, the collection's actor; ``apply`` may run on the writer's thread while the actor waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import orjson
from pyroaring import BitMap

from vdb.model.field_index import PayloadFieldSchema
from vdb.segment.fields.index import Compaction, FieldIndex, FieldSnapshot


class Fields:
    """Owned by the actor."""

    def __init__(self) -> None:
        self._indexes: dict[str, FieldIndex] = {}
        self._building: dict[str, tuple[PayloadFieldSchema, BitMap, int]] = {}
        self.points_applied = 0  # changes of points since the start: what tells how far a file is behind

    def schema_of(self, path: str) -> PayloadFieldSchema | None:
        """What the path is indexed as, or is being."""
        if path in self._building:
            return self._building[path][0]
        index = self._indexes.get(path)
        return None if index is None else index.schema

    def building(self) -> dict[str, PayloadFieldSchema]:
        return {path: schema for path, (schema, _, _) in self._building.items()}

    def snapshots(self) -> dict[str, FieldSnapshot]:
        return {path: index.snapshot() for path, index in self._indexes.items()}

    def begin(self, path: str, schema: PayloadFieldSchema, seq: int) -> None:
        """From ``seq`` on changes are noted for an index that somebody builds. The path's old index goes."""
        self._indexes.pop(path, None)
        self._building[path] = (schema, BitMap(), seq)

    def restore(self, path: str, index: FieldIndex) -> None:
        """Recovery: an index that is up to the state."""
        self._indexes[path] = index

    def changed_since_begin(self, path: str) -> BitMap:
        return self._building[path][1]

    def is_building(self, path: str, schema: PayloadFieldSchema, built_from_seq: int) -> bool:
        """False where the build was overtaken: the index was dropped, or wanted anew.

        Also with the same schema: what changed between the first wish and the second is noted no more.
        """
        wanted, _, seq = self._building.get(path, (None, None, 0))
        return wanted == schema and seq <= built_from_seq

    def adopt(self, index: FieldIndex, path: str, payloads: Mapping[int, bytes | None]) -> None:
        """Takes over a built index, with the payloads of all points that changed since ``begin``."""
        index.apply(_changes(index, _parsed(payloads)))
        del self._building[path]
        self._indexes[path] = index

    def drop(self, path: str) -> bool:
        """False where there was no such index."""
        known = path in self._indexes or path in self._building
        self._indexes.pop(path, None)
        self._building.pop(path, None)
        return known

    def apply(self, payloads: Mapping[int, bytes | None], removed: Iterable[int]) -> None:
        """Brings all indexes up to a committed transaction: JSON texts by num, None for none, and points that went."""
        if not self._indexes and not self._building:
            return
        gone: dict[int, bytes | None] = dict.fromkeys(removed)
        touched = {**payloads, **gone}
        if not touched:
            return
        self.points_applied += len(touched)
        for _, noted, _ in self._building.values():
            noted.update(touched)
        if self._indexes:
            parsed = _parsed(touched)
            for index in self._indexes.values():
                index.apply(_changes(index, parsed))

    def compactions(self, running: Set[str | int]) -> list[tuple[str, Compaction]]:
        """Work that would make searches faster, on other indexes than ``running``; run it in a thread, then ``take``
        it."""
        idle = ((path, index) for path, index in self._indexes.items() if path not in running)
        return [(path, job) for path, index in idle if (job := index.compaction()) is not None]

    def take(self, path: str, job: Compaction) -> None:
        """Adopts a finished compaction, where the index is still there."""
        index = self._indexes.get(path)
        if index is not None:
            index.adopt(job)


def _parsed(payloads: Mapping[int, bytes | None]) -> list[tuple[int, dict[str, Any] | None]]:
    return [(num, None if text is None else orjson.loads(text)) for num, text in payloads.items()]


def _changes(
    index: FieldIndex, payloads: Iterable[tuple[int, dict[str, Any] | None]]
) -> Iterable[tuple[int, Sequence[Any] | None]]:
    return ((num, None if payload is None else index.values_in(payload)) for num, payload in payloads)
