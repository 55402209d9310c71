"""Points page by page, in the order of their ids or of a field."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import orjson
from pyroaring import BitMap

from vdb.errors import BadRequest
from vdb.model.datetimes import parse_datetime
from vdb.model.ids import PointId, parse_point_id
from vdb.model.json_path import parse_path
from vdb.model.order_by import OrderBy
from vdb.model.queries import LIMIT_DEFAULT, ScrollRequest
from vdb.query.deadline import Deadline
from vdb.query.points_json import PointWriter, array, id_text
from vdb.query.selection import select
from vdb.query.view import View
from vdb.segment.fields.bitmaps import nums_of
from vdb.segment.fields.index import FieldSnapshot
from vdb.storage import points
from vdb.storage.points import StoredPoint

ROWS_MAX: Final = 2**31  # "all of them": clients send limits as large as 999999999
_SORTED_POINTS_MAX: Final = 4_096  # so many selected points are sorted by id for every page; more are walked past
_WALK_POINTS_MIN: Final = 256


def scroll(view: View, connection: sqlite3.Connection, request: ScrollRequest, deadline: Deadline) -> str:
    """A page of points: a JSON object with the id that the next page starts at, or null."""
    writer = PointWriter(view, request.with_payload, request.with_vector, payload_default=True)
    limit = min(LIMIT_DEFAULT if request.limit is None else request.limit, ROWS_MAX)
    selected = None if request.filter is None else select(view, connection, request.filter, deadline)
    if request.order_by is not None:
        if request.offset is not None:
            raise BadRequest("Cannot use an `offset` when using `order_by`. The alternative for paging is `start_from`")
        return _ordered(view, connection, request.order_by, limit, writer, selected)
    start = None if request.offset is None else parse_point_id(request.offset)
    with writer.reading(connection):
        page = page_of(view, connection, start, limit + 1, writer.reads_payload, selected)
        return _answer(writer.write(connection, page[:limit]), page[limit:])


def page_of(
    view: View,
    connection: sqlite3.Connection,
    start: PointId | None,
    count: int,
    with_payload: bool,
    selected: BitMap | None,
) -> list[StoredPoint]:
    """Up to ``count`` points in id order, from ``start`` (inclusive) on, of ``selected`` where it is given."""
    if selected is None:
        return points.read_page(connection, start, count, with_payload)
    if len(selected) <= _SORTED_POINTS_MAX:
        return points.read_page_among(connection, nums_of(selected), start, count, with_payload)
    found: list[StoredPoint] = []
    share = len(selected) / view.points_count
    while len(found) < count:
        step = max(_WALK_POINTS_MIN, int((count - len(found)) / share) + 1)
        block = points.read_page(connection, start, step + 1, with_payload)
        found += [point for point in block[:step] if point.num in selected]
        if len(block) <= step:
            break
        start = block[step].id
    return found[:count]


def _ordered(
    view: View,
    connection: sqlite3.Connection,
    order_by: OrderBy,
    limit: int,
    writer: PointWriter,
    selected: BitMap | None,
) -> str:
    pairs = list(islice(ordered_nums(view, order_by, selected), limit))
    with writer.reading(connection):
        stored = points.read_points(connection, sorted({num for _, num in pairs}), writer.reads_payload)
        there = [(value, stored[num]) for value, num in pairs if num in stored]
        values = [orjson.dumps(value).decode() for value, _ in there]
        return _answer(writer.write(connection, [point for _, point in there], order_values=values), [])


def ordered_nums(view: View, order_by: OrderBy, selected: BitMap | None) -> Iterator[tuple[int | float, int]]:
    """``(value, num)`` by the values of an indexed field: a point stands once for each of its values.

    Only points of ``selected``, where it is given. Raises BadRequest where no index keeps an order.
    """
    snapshot = _snapshot(view, order_by.key)
    start_from = order_by.start_from
    if isinstance(start_from, str):
        try:
            start_from = parse_datetime(start_from)
        except ValueError as error:
            raise BadRequest(f"`order_by.start_from`: {error}") from error
    ordered = snapshot.ordered(order_by.direction or "asc", start_from, selected)
    if ordered is None:
        raise _no_index(view, order_by.key)
    return ordered


def _snapshot(view: View, key: str) -> FieldSnapshot:
    path = parse_path(key)
    for indexed, snapshot in view.fields.items():
        if parse_path(indexed) == path:
            return snapshot
    raise _no_index(view, key)


def _no_index(view: View, key: str) -> BadRequest:
    hint = view.being_built(parse_path(key)) or "Please create one to use `order_by`."
    return BadRequest(f"No range index for `order_by` key: `{key}`. {hint}")


def _answer(texts: Sequence[str], rest: Sequence[StoredPoint]) -> str:
    next_offset = id_text(rest[0].id) if rest else "null"
    return f'{{"points":{array(texts)},"next_page_offset":{next_offset}}}'
