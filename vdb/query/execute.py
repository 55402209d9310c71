"""Requests that read, run on a View and a read-only connection, in a search thread. They answer JSON text."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from vdb.errors import PointNotFound
from vdb.model.groups import QueryGroupsRequest
from vdb.model.ids import PointId
from vdb.model.points import parse_ids
from vdb.model.queries import LIMIT_DEFAULT, CountRequest, PointRequest, QueryRequest
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.groups import query_groups as _query_groups
from vdb.query.pipeline import Pipeline
from vdb.query.points_json import PointWriter, array
from vdb.query.selection import select
from vdb.query.view import View
from vdb.storage import points

Lookups = Mapping[str, Source]
NO_LOOKUPS: Lookups = {}


def query_points(
    view: View,
    connection: sqlite3.Connection,
    request: QueryRequest,
    deadline: Deadline,
    lookups: Lookups = NO_LOOKUPS,
) -> str:
    """The hits of one query, a JSON array of scored points. ``lookups`` are the other collections that it names."""
    writer = PointWriter(view, request.with_payload, request.with_vector, payload_default=False)
    limit = LIMIT_DEFAULT if request.limit is None else request.limit
    hits = Pipeline(Source(view, connection), deadline, lookups).rank(request, limit, request.offset or 0)
    return array([text for text in writer.write_hits(connection, hits) if text is not None])


def query_groups(
    view: View,
    connection: sqlite3.Connection,
    request: QueryGroupsRequest,
    deadline: Deadline,
    lookups: Lookups = NO_LOOKUPS,
) -> str:
    """The hits of one query in groups, a JSON object."""
    return _query_groups(Pipeline(Source(view, connection), deadline, lookups), request)


def retrieve(view: View, connection: sqlite3.Connection, request: PointRequest) -> str:
    """The points that exist, in the order in which they were asked for: a JSON array of records."""
    writer = PointWriter(view, request.with_payload, request.with_vector, payload_default=True)
    ids = parse_ids(request.ids)
    with writer.reading(connection):
        nums = points.find(connection, ids)
        stored = points.read_points(connection, list(nums.values()), writer.reads_payload)
        found = [stored[nums[point_id]] for point_id in ids if point_id in nums and nums[point_id] in stored]
        return array(writer.write(connection, found))


def get_point(view: View, connection: sqlite3.Connection, point_id: PointId) -> str:
    """One point with its payload and vectors, a JSON record; raises PointNotFound."""
    writer = PointWriter(view, True, True, payload_default=True)
    with writer.reading(connection):
        nums = points.find(connection, [point_id])
        stored = points.read_points(connection, list(nums.values()), writer.reads_payload)
        if not stored:
            raise PointNotFound(point_id)
        return writer.write(connection, list(stored.values()))[0]


def count_points(view: View, connection: sqlite3.Connection, request: CountRequest, deadline: Deadline) -> int:
    """The exact number, also where an estimate would do: it costs no more."""
    return len(select(view, connection, request.filter, deadline))
