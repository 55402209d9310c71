"""The points that a filter selects: what the field indexes know, and a scan of the payloads for the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from typing import Final

import msgspec
import orjson
from pyroaring import BitMap

from vdb.model.conditions import Filter
from vdb.model.field_index import TextIndexParams, schema_params
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, parse_path
from vdb.query.deadline import Deadline
from vdb.query.field_filter import resolve
from vdb.query.filter import Matcher, PointFacts, compile_filter
from vdb.query.view import View
from vdb.segment.fields.bitmaps import Nums, nums_of
from vdb.storage import points

_ANY_ID: Final = 0  # of a point whose id no condition looks at
_SCAN_POINTS: Final = 1_000  # points whose payloads are read at once; between two such blocks the deadline is asked


def select(view: View, connection: sqlite3.Connection, filter: Filter | None, deadline: Deadline) -> BitMap:
    """The points of ``view`` that match, exactly; not to be changed. Raises DeadlineExceeded."""
    if filter is None:
        return view.all_points
    key = msgspec.json.encode(filter)
    return view.remembered(key, lambda: _select(view, connection, filter, deadline))


def _select(view: View, connection: sqlite3.Connection, filter: Filter, deadline: Deadline) -> BitMap:
    def nums_of_ids(ids: Collection[PointId]) -> BitMap:
        return BitMap(points.find(connection, ids).values())

    resolved = resolve(filter, view.fields, view.all_points, nums_of_ids, view.nums_with_vector)
    if resolved.residual is None:
        return resolved.candidates & view.all_points
    return _scan(view, connection, resolved.candidates & view.all_points, resolved.residual, deadline)


def _scan(view: View, connection: sqlite3.Connection, candidates: BitMap, filter: Filter, deadline: Deadline) -> BitMap:
    """Those of ``candidates`` whose payload, id and vectors match."""
    matcher = compile_filter(filter, text_indexes(view))
    names = list(view.spaces()) if matcher.needs_vectors else []
    holders = [(name, view.nums_with_vector(name)) for name in names]
    found = BitMap()
    nums = nums_of(candidates)
    for start in range(0, len(nums), _SCAN_POINTS):
        deadline.check()
        block = nums[start : start + _SCAN_POINTS]
        for num, point_id, text in _read_facts(view, connection, block, matcher):
            payload = orjson.loads(text) if text else {}
            vector_names = [name for name, nums_with_it in holders if num in nums_with_it]
            if matcher.matches(PointFacts(point_id, payload, vector_names)):
                found.add(num)
    return found


def _read_facts(
    view: View, connection: sqlite3.Connection, nums: Nums, matcher: Matcher
) -> Iterator[tuple[int, PointId, bytes | str | None]]:
    """Num, id and payload of points; from memory alone where payloads are there and no id is asked for."""
    payloads = view.payloads
    if payloads is not None and not matcher.needs_id:
        yield from ((num, _ANY_ID, payloads.get(num)) for num in nums.tolist())
        return
    with_payload = matcher.needs_payload and payloads is None
    for num, point in points.read_points(connection, nums, with_payload).items():
        yield num, point.id, point.payload if payloads is None else payloads.get(num)


def text_indexes(view: View) -> dict[JsonPath, TextIndexParams]:
    """Text indexes by path, those that are being built among them: how texts are cut must not depend on progress."""
    schemas = {**view.building, **{path: snapshot.schema for path, snapshot in view.fields.items()}}
    params = ((parse_path(path), schema_params(schema)) for path, schema in schemas.items())
    return {path: schema for path, schema in params if isinstance(schema, TextIndexParams)}
