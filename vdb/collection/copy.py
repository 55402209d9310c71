"""Copying all points of one collection into another, page by page."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np

from vdb.collection.collection import Collection
from vdb.errors import BadRequest
from vdb.model.ids import PointId
from vdb.model.operations import Upsert, VectorColumn
from vdb.model.vectors import VectorSpace, prepare_block
from vdb.query.view import View
from vdb.storage import points

_PAGE_POINTS: Final = 500


async def copy_points(source: Collection, target: Collection) -> None:
    """Copies what ``source`` holds while this runs; raises BadRequest where the vectors do not fit ``target``.

    Vectors that ``target`` does not have are left out.
    """
    spaces = {name: vector.space for name, vector in target.view.vectors.items()}
    for name, space in spaces.items():
        theirs = source.view.vectors.get(name)
        if theirs is not None and theirs.space.dim != space.dim:
            raise BadRequest(f"Vector `{name}` has {theirs.space.dim} dimensions in `{source.name}`, not {space.dim}")
    start: PointId | None = None
    while True:
        operation, start = await source.read(partial(_read_page, spaces=spaces, start=start))
        if operation.ids:
            await target.write(operation)
        if start is None:
            return


def _read_page(
    view: View, connection: sqlite3.Connection, spaces: Mapping[str, VectorSpace], start: PointId | None
) -> tuple[Upsert, PointId | None]:
    """The points from ``start`` on as an upsert, and where the next page starts; None after the last."""
    read = points.read_page(connection, start, _PAGE_POINTS + 1, with_payload=True)
    page, rest = read[:_PAGE_POINTS], read[_PAGE_POINTS:]
    nums = [point.num for point in page]
    columns = []
    for name in spaces.keys() & view.vectors.keys():
        vector = view.vectors[name]
        found = points.read_vectors(connection, vector.vector_id, vector.space, nums)
        rows = [row for row, num in enumerate(nums) if num in found]
        if rows:
            data = prepare_block(spaces[name], np.stack([found[nums[row]] for row in rows]))
            columns.append(VectorColumn(name, data, tuple(rows)))
    payloads = [None if point.payload is None else point.payload.encode() for point in page]
    return Upsert([point.id for point in page], payloads, columns), rest[0].id if rest else None
