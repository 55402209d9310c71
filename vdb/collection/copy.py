"""Copying all points of one collection into another, page by page."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from vdb.collection.collection import Collection
from vdb.errors import BadRequest
from vdb.model.ids import PointId
from vdb.model.operations import Column, SparseColumn, Upsert, VectorColumn
from vdb.model.sparse import Space, SparseSpace
from vdb.model.vectors import VectorSpace, prepare_block
from vdb.query.view import SparseView, VectorView, View
from vdb.storage import points
from vdb.storage.sqlite import one_state

_PAGE_POINTS: Final = 500


async def copy_points(source: Collection, target: Collection) -> None:
    """Copies what ``source`` holds while this runs; raises BadRequest where the vectors do not fit ``target``.

    Vectors that ``target`` does not have are left out.
    """
    theirs, spaces = source.view.spaces(), target.view.spaces()
    for name in theirs.keys() & spaces.keys():
        _check_fit(source.name, theirs[name], spaces[name])
    start: PointId | None = None
    while True:
        operation, start = await source.read(partial(_read_page, spaces=spaces, start=start))
        if operation.ids:
            await target.write(operation)
        if start is None:
            return


def _check_fit(source: str, theirs: Space, ours: Space) -> None:
    match theirs, ours:
        case SparseSpace(), SparseSpace():
            pass
        case VectorSpace(multi=given), VectorSpace(multi=wanted) if given == wanted:
            if theirs.dim != ours.dim:
                raise BadRequest(f"Vector `{ours.name}` has {theirs.dim} dimensions in `{source}`, not {ours.dim}")
        case _:
            raise BadRequest(f"Vector `{ours.name}` is of another kind in `{source}`")


def _read_page(
    view: View, connection: sqlite3.Connection, spaces: Mapping[str, Space], start: PointId | None
) -> tuple[Upsert, PointId | None]:
    """The points from ``start`` on as an upsert, and where the next page starts; None after the last."""
    with one_state(connection):
        read = points.read_page(connection, start, _PAGE_POINTS + 1, with_payload=True)
        page, rest = read[:_PAGE_POINTS], read[_PAGE_POINTS:]
        nums = [point.num for point in page]
        columns = [
            _column(connection, view.vector(name), spaces[name], nums) for name in spaces if name in view.spaces()
        ]
    payloads = [None if point.payload is None else point.payload.encode() for point in page]
    operation = Upsert([point.id for point in page], payloads, [column for column in columns if column is not None])
    return operation, rest[0].id if rest else None


def _column(
    connection: sqlite3.Connection, vector: VectorView | SparseView, space: Space, nums: Sequence[int]
) -> Column | None:
    """The vectors of one name that points have, as ``space`` stores them; None where there are none."""
    if isinstance(space, SparseSpace):
        sparse = points.read_sparse_vectors(connection, vector.vector_id, nums)
        rows = tuple(row for row, num in enumerate(nums) if num in sparse)
        return SparseColumn(space.name, [sparse[nums[row]] for row in rows], rows) if rows else None
    assert isinstance(vector, VectorView), "kinds were compared"
    dense = points.read_vectors(connection, vector.vector_id, vector.space, nums)
    rows = tuple(row for row, num in enumerate(nums) if num in dense)
    if not rows:
        return None
    blocks = [np.atleast_2d(dense[nums[row]]) for row in rows]
    counts = tuple(len(block) for block in blocks) if space.multi else None
    return VectorColumn(space.name, prepare_block(space, np.concatenate(blocks)), rows, counts)
