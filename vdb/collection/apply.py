"""Operations applied to a draft of the tables: computes, decides nothing, writes nothing until the end.

The actor hands over every operation that waits, and gets one set of changes for one transaction. Operations see what
those before them in the same draft have done.

Guarantees
    An operation that raises BadRequest or NotFound leaves the draft as it was: each checks before it changes.
    The same operations on the same state give the same changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from vdb.errors import BadRequest, PointNotFound, UnknownVectorName, WrongDimension
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, delete_at, parse_path, set_at
from vdb.model.operations import (
    ClearPayload,
    Column,
    DeletePayload,
    DeletePoints,
    DeleteVectors,
    OverwritePayload,
    PointOperation,
    SetPayload,
    SparseColumn,
    UpdateVectors,
    Upsert,
    VectorColumn,
)
from vdb.model.payloads import payload_text
from vdb.model.sparse import Space, SparseSpace, SparseVector
from vdb.model.vectors import Floats, VectorSpace
from vdb.storage import points
from vdb.storage.points import Changes, SparseRows, VectorRows, vector_key


@dataclass(frozen=True, slots=True)
class NamedVectors:
    """A vector name's number and space."""

    vector_id: int
    space: Space


# For each position of a column a row, the rows of a multivector, or a sparse vector.
Rows = Sequence[Floats] | Sequence[SparseVector]
HoldsVector = Callable[[int, Sequence[int]], list[int]]
EditPayload = Callable[[dict[str, Any]], object]


@dataclass(slots=True)
class Draft:
    """Changes that are not written yet, over the tables as they stand.

    ``holds`` tells, for a vector_id and nums, which of them have that vector in the tables; ``unused`` has nums for new
    points, as many as there are.
    """

    connection: sqlite3.Connection
    names: Mapping[str, NamedVectors]
    holds: HoldsVector
    unused: Iterator[int]
    changes: Changes = field(default_factory=Changes)
    # vector_id → num → (version, a row, the rows of a multivector, or a sparse vector)
    written: dict[int, dict[int, tuple[int, Any]]] = field(default_factory=dict)
    removed_vectors: dict[int, set[int]] = field(default_factory=dict)  # vector_id → nums that the tables hold
    _nums: dict[PointId, int | None] = field(default_factory=dict)

    def look_up(self, ids: Iterable[PointId]) -> None:
        """Reads the nums of ids that operations will ask for, all at once."""
        unknown = [point_id for point_id in dict.fromkeys(ids) if point_id not in self._nums]
        if unknown:
            found = points.find(self.connection, unknown)
            self._nums.update((point_id, found.get(point_id)) for point_id in unknown)

    def apply(self, seq: int, operation: PointOperation) -> None:
        """Raises BadRequest or NotFound and changes nothing, or changes the draft."""
        match operation:
            case Upsert(ids, payloads, vectors):
                self._upsert(seq, ids, payloads, vectors)
            case UpdateVectors(ids, vectors):
                self._update_vectors(seq, ids, vectors)
            case DeleteVectors(ids, names):
                self._delete_vectors(seq, ids, names)
            case DeletePoints(ids):
                for point_id in ids:
                    self._delete_point(point_id)
            case SetPayload(ids, payload, key):
                path = None if key is None else parse_path(key)
                self._edit_payloads(seq, ids, lambda current: set_at(current, path, payload))
            case OverwritePayload(ids, payload):
                text = orjson.dumps(payload)
                for num in self._existing(ids):
                    self._touch(seq, num)
                    self.changes.payloads[num] = text
            case DeletePayload(ids, keys):
                paths = [parse_path(key) for key in keys]
                self._edit_payloads(seq, ids, lambda current: _delete_all(current, paths))
            case ClearPayload(ids):
                for num in self._existing(ids):
                    self._touch(seq, num)
                    self.changes.payloads[num] = None

    def finish(self) -> Changes:
        """The changes, with vectors gathered into blocks. The draft is used up."""
        spaces = {named.vector_id: named.space for named in self.names.values()}
        for vector_id, rows in self.written.items():
            if not rows:
                continue
            space = spaces[vector_id]
            if isinstance(space, SparseSpace):
                self.changes.sparse.append(SparseRows(vector_id, rows))
                continue
            versions = [version for version, _ in rows.values()]
            vectors = [vector for _, vector in rows.values()]
            counts = [len(vector) for vector in vectors] if space.multi else None
            data = np.concatenate(vectors) if space.multi else np.array(vectors, dtype=np.float32)
            self.changes.vectors.append(VectorRows(vector_id, space, list(rows), versions, data, counts))
        for vector_id, nums in self.removed_vectors.items():
            self.changes.removed_vectors.extend(vector_key(vector_id, num) for num in sorted(nums))
        return self.changes

    def _num(self, point_id: PointId) -> int | None:
        if point_id not in self._nums:
            self.look_up([point_id])
        return self._nums[point_id]

    def _existing(self, ids: Sequence[PointId]) -> list[int]:
        """The nums of ids that must exist, each once; raises PointNotFound."""
        nums: dict[int, None] = {}
        for point_id in ids:
            num = self._num(point_id)
            if num is None:
                raise PointNotFound(point_id)
            nums[num] = None
        return list(nums)

    def _touch(self, seq: int, num: int) -> None:
        if num in self.changes.new_points:
            self.changes.new_points[num] = (self.changes.new_points[num][0], seq)
        else:
            self.changes.versions[num] = seq

    def _checked(self, columns: Sequence[Column]) -> list[tuple[NamedVectors, Column, Rows]]:
        """Each column with what it belongs to, and its vectors one by one; raises what a column cannot be."""
        checked: list[tuple[NamedVectors, Column, Rows]] = []
        for column in columns:
            named = self.names.get(column.name)
            if named is None:
                raise UnknownVectorName(column.name)
            match column, named.space:
                case VectorColumn(data=data), VectorSpace(dim=dim, multi=multi) if multi == (column.counts is not None):
                    if data.shape[1] != dim:
                        raise WrongDimension(dim, data.shape[1])
                    checked.append((named, column, column.vectors()))
                case SparseColumn(vectors=vectors), SparseSpace():
                    checked.append((named, column, vectors))
                case _:
                    raise BadRequest(f"Vector `{column.name}` is of another kind")
        return checked

    def _upsert(
        self,
        seq: int,
        ids: Sequence[PointId],
        payloads: Sequence[bytes | None],
        columns: Sequence[Column],
    ) -> None:
        checked = self._checked(columns)
        last = {point_id: position for position, point_id in enumerate(ids)}  # of an id given twice the last one counts
        nums: list[int] = []
        for point_id in ids:
            num = self._num(point_id)
            if num is None:
                num = self._nums[point_id] = next(self.unused)
                self.changes.new_points[num] = (point_id, seq)
            else:
                self._touch(seq, num)
            nums.append(num)
        given: dict[int, set[int]] = {named.vector_id: set() for named in self.names.values()}
        for named, column, vectors in checked:
            written = self.written.setdefault(named.vector_id, {})
            removed = self.removed_vectors.get(named.vector_id)
            for row, position in enumerate(column.positions(len(ids))):
                if last[ids[position]] == position:
                    num = nums[position]
                    written[num] = (seq, vectors[row])
                    given[named.vector_id].add(num)
                    if removed:
                        removed.discard(num)
        for vector_id, holders in given.items():
            if len(holders) < len(last):
                self._drop_vectors(vector_id, [num for num in dict.fromkeys(nums) if num not in holders])
        for position, (num, payload) in enumerate(zip(nums, payloads, strict=True)):
            if last[ids[position]] == position and (payload is not None or not self._is_fresh(num)):
                self.changes.payloads[num] = payload

    def _is_fresh(self, num: int) -> bool:
        """True for a point that neither the tables nor this draft have a payload of."""
        return num in self.changes.new_points and num not in self.changes.payloads

    def _update_vectors(self, seq: int, ids: Sequence[PointId], columns: Sequence[Column]) -> None:
        checked = self._checked(columns)
        for num in self._existing(ids):
            self._touch(seq, num)
        for named, column, vectors in checked:
            written = self.written.setdefault(named.vector_id, {})
            removed = self.removed_vectors.get(named.vector_id, set())
            for row, position in enumerate(column.positions(len(ids))):
                existing = self._num(ids[position])
                assert existing is not None
                written[existing] = (seq, vectors[row])
                removed.discard(existing)

    def _delete_vectors(self, seq: int, ids: Sequence[PointId], names: Sequence[str]) -> None:
        vector_ids = []
        for name in names:
            if name not in self.names:
                raise UnknownVectorName(name)
            vector_ids.append(self.names[name].vector_id)
        nums = self._existing(ids)
        for num in nums:
            self._touch(seq, num)
        for vector_id in vector_ids:
            self._drop_vectors(vector_id, nums)

    def _drop_vectors(self, vector_id: int, nums: Sequence[int]) -> None:
        written = self.written.get(vector_id, {})
        for num in nums:
            written.pop(num, None)
        old = [num for num in nums if num not in self.changes.new_points]
        if old:
            self.removed_vectors.setdefault(vector_id, set()).update(self.holds(vector_id, old))

    def _delete_point(self, point_id: PointId) -> None:
        num = self._num(point_id)
        if num is None:
            return
        for named in self.names.values():
            self._drop_vectors(named.vector_id, [num])
        self._nums[point_id] = None
        self.changes.payloads.pop(num, None)
        if self.changes.new_points.pop(num, None) is None:
            self.changes.versions.pop(num, None)
            self.changes.removed.add(num)

    def _edit_payloads(self, seq: int, ids: Sequence[PointId], edit: EditPayload) -> None:
        nums = self._existing(ids)
        stored = points.read_payloads(self.connection, [num for num in nums if num not in self.changes.payloads])
        edited: dict[int, bytes] = {}
        for num in nums:
            text = self.changes.payloads[num] if num in self.changes.payloads else stored.get(num)
            current = orjson.loads(text) if text else {}
            edit(current)
            edited[num] = payload_text(current)  # may refuse: what a path leads into can become too deep
        for num, new_text in edited.items():
            self._touch(seq, num)
            self.changes.payloads[num] = new_text


def _delete_all(payload: dict[str, Any], paths: Sequence[JsonPath]) -> None:
    for path in paths:
        delete_at(payload, path)
