"""How many points have each value of an indexed field."""

from __future__ import annotations

import sqlite3
from heapq import nsmallest
from typing import Final

import orjson

from vdb.errors import BadRequest
from vdb.model.json_path import parse_path
from vdb.model.queries import FacetRequest
from vdb.query.deadline import Deadline
from vdb.query.selection import select
from vdb.query.view import View
from vdb.segment.fields.index import FacetValue

LIMIT_DEFAULT: Final = 10


def facet(view: View, connection: sqlite3.Connection, request: FacetRequest, deadline: Deadline) -> str:
    """Values by count, descending, then by value: a JSON object. Always exact."""
    path = parse_path(request.key)
    snapshot = next((found for name, found in view.fields.items() if parse_path(name) == path), None)
    selected = None if request.filter is None else select(view, connection, request.filter, deadline)
    counts = None if snapshot is None else snapshot.facet(selected)
    if counts is None:
        hint = view.being_built(path) or "Please create one of keyword, integer, uuid or bool to facet on this field."
        raise BadRequest(f"No appropriate index for faceting: `{request.key}`. {hint}")
    limit = LIMIT_DEFAULT if request.limit is None else request.limit
    ranked = nsmallest(limit, ((value, count) for value, count in counts.items() if count), key=_rank)
    hits = [{"value": value, "count": count} for value, count in ranked]
    return orjson.dumps({"hits": hits}).decode()


def _rank(hit: tuple[FacetValue, int]) -> tuple[int, FacetValue]:
    value, count = hit
    return -count, value
