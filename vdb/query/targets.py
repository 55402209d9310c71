"""Which points a write is about, found out when its turn has come: by filter, or by what is there already."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import numpy as np

from vdb.model.conditions import Filter
from vdb.model.ids import PointId, id_columns
from vdb.model.operations import Column, PointOperation, SparseColumn, UpdateVectors, Upsert, VectorColumn
from vdb.model.points import UpdateMode
from vdb.query.deadline import Deadline
from vdb.query.selection import select
from vdb.query.view import View
from vdb.segment.fields.bitmaps import nums_of
from vdb.storage import points

Resolve = Callable[[View, sqlite3.Connection], PointOperation]


def by_filter(filter: Filter, make: Callable[[Sequence[PointId]], PointOperation]) -> Resolve:
    """``make`` with the ids of all points that match, in id order."""

    def resolve(view: View, connection: sqlite3.Connection) -> PointOperation:
        nums = nums_of(select(view, connection, filter, Deadline()))
        stored = points.read_points(connection, nums, with_payload=False)
        return make(sorted((point.id for point in stored.values()), key=id_columns))

    return resolve


def upsert_where(upsert: Upsert, filter: Filter | None, mode: UpdateMode) -> Resolve:
    """Those points of an upsert that ``mode`` lets in; existing ones only where they match ``filter``."""

    def resolve(view: View, connection: sqlite3.Connection) -> PointOperation:
        existing = points.find(connection, upsert.ids)
        matching = select(view, connection, filter, Deadline())

        def goes_in(point_id: PointId) -> bool:
            num = existing.get(point_id)
            if num is None:
                return mode != "update_only"
            return mode != "insert_only" and num in matching

        kept = [position for position, point_id in enumerate(upsert.ids) if goes_in(point_id)]
        return Upsert(
            [upsert.ids[position] for position in kept],
            [upsert.payloads[position] for position in kept],
            _columns_of(upsert.vectors, len(upsert.ids), kept),
        )

    return resolve


def update_vectors_where(update: UpdateVectors, filter: Filter) -> Resolve:
    """Leaves out existing points that do not match ``filter``."""

    def resolve(view: View, connection: sqlite3.Connection) -> PointOperation:
        existing = points.find(connection, update.ids)
        matching = select(view, connection, filter, Deadline())
        kept = [
            position
            for position, point_id in enumerate(update.ids)
            if point_id not in existing or existing[point_id] in matching
        ]
        ids = [update.ids[position] for position in kept]
        return UpdateVectors(ids, _columns_of(update.vectors, len(update.ids), kept))

    return resolve


def _columns_of(columns: Sequence[Column], count: int, kept: Sequence[int]) -> list[Column]:
    """The columns of the points at positions ``kept``."""
    place = {position: new for new, position in enumerate(kept)}
    chosen: list[Column] = []
    for column in columns:
        rows = [row for row, position in enumerate(column.positions(count)) if position in place]
        positions = tuple(place[position] for position in column.positions(count) if position in place)
        if not rows:
            continue
        match column:
            case VectorColumn(name, data, _, None):
                chosen.append(VectorColumn(name, data[rows], positions))
            case VectorColumn(name, _, _, counts):
                assert counts is not None
                multivectors = column.vectors()
                data = np.concatenate([multivectors[row] for row in rows])
                chosen.append(VectorColumn(name, data, positions, tuple(counts[row] for row in rows)))
            case SparseColumn(name, vectors):
                chosen.append(SparseColumn(name, [vectors[row] for row in rows], positions))
    return chosen
