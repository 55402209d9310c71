"""Queries that wait at the same time, answered together where they differ in nothing but their vector.

What they share is done once: the filter, the search of a graph on several threads, the reading of rows that all of them
are compared with, of ids and of payloads. An answer does not depend on which others were answered with it, but for
the last digit of scores: float32 sums differ with the number of rows and queries that are multiplied at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec
import numpy as np
import outcome

from vdb.errors import VdbError
from vdb.model.queries import LIMIT_DEFAULT, QueryRequest
from vdb.model.query_kinds import NearestQuery
from vdb.model.sparse import SparseVector
from vdb.model.vector_params import UNNAMED
from vdb.query.deadline import Deadline
from vdb.query.examples import Lookup, Source
from vdb.query.execute import Lookups, query_points
from vdb.query.hits import Hits
from vdb.query.pipeline import Pipeline, with_threshold
from vdb.query.points_json import PointWriter, array
from vdb.query.scroll import ROWS_MAX
from vdb.query.selection import select
from vdb.query.view import View

Answer = outcome.Outcome[str]

BATCH_MAX: Final = 64  # queries of one request that are answered together: what is asked for must fit into memory

_ENCODER = msgspec.json.Encoder()


def is_plain(request: QueryRequest) -> bool:
    """True for the nearest points to a vector that stands in the request, and nothing besides."""
    query = request.query
    return (
        isinstance(query, NearestQuery)
        and query.mmr is None
        and isinstance(query.nearest, list | SparseVector)
        and request.prefetch is None
        and request.lookup_from is None
    )


def query_together(
    view: View, connection: sqlite3.Connection, requests: Sequence[QueryRequest], deadline: Deadline, threads: int
) -> list[Answer]:
    """For each plain request what ``query_points`` answers or raises; one call of a graph uses up to ``threads``."""
    alike: dict[bytes, list[int]] = {}
    for number, request in enumerate(requests):
        alike.setdefault(_what_else(request), []).append(number)
    answers: dict[int, Answer] = {}
    for numbers in alike.values():
        group = [requests[number] for number in numbers]
        answers.update(zip(numbers, _answers(view, connection, group, deadline, threads), strict=True))
    return [answers[number] for number in range(len(requests))]


def _answers(
    view: View, connection: sqlite3.Connection, requests: Sequence[QueryRequest], deadline: Deadline, threads: int
) -> Sequence[Answer]:
    try:
        texts = _answer_alike(Source(view, connection), requests, deadline, threads)
    except VdbError:  # of one of them, which is found out one by one
        return [outcome.capture(query_points, view, connection, request, deadline) for request in requests]
    return [outcome.Value(text) for text in texts]


def query_batch(
    view: View,
    connection: sqlite3.Connection,
    requests: Sequence[QueryRequest],
    deadline: Deadline,
    lookups: Lookups,
    threads: int,
) -> list[str]:
    """What ``query_points`` answers to each of ``requests``; raises what it raises to the first that it refuses."""
    answers: list[str] = []
    for start in range(0, len(requests), BATCH_MAX):
        part = requests[start : start + BATCH_MAX]
        plain = [request for request in part if is_plain(request)]
        together = iter(query_together(view, connection, plain, deadline, threads))
        answers += [
            next(together).unwrap() if is_plain(request) else query_points(view, connection, request, deadline, lookups)
            for request in part
        ]
    return answers


def _what_else(request: QueryRequest) -> bytes:
    """All of a request but its vector."""
    return _ENCODER.encode(
        (
            request.using,
            request.limit,
            request.offset,
            request.filter,
            request.params,
            request.score_threshold,
            request.with_payload,
            request.with_vector,
        )
    )


def _answer_alike(source: Source, requests: Sequence[QueryRequest], deadline: Deadline, threads: int) -> list[str]:
    request, view, connection = requests[0], source.view, source.connection
    writer = PointWriter(view, request.with_payload, request.with_vector, payload_default=False)
    limit = min(LIMIT_DEFAULT if request.limit is None else request.limit, ROWS_MAX)
    offset = min(request.offset or 0, ROWS_MAX)
    end = min(limit + offset, ROWS_MAX)
    allowed = None if request.filter is None else select(view, connection, request.filter, deadline)
    name = request.using or UNNAMED
    vectors = Pipeline(source, deadline).searchable(name, request.params)
    given = [each.query.nearest for each in requests if isinstance(each.query, NearestQuery)]
    queries = vectors.read(given, Lookup(source, name))
    scored = vectors.nearest_to_each(queries, end, request.params, allowed, threads)
    hits = [with_threshold(vectors.distance, found, request.score_threshold).part(offset, end) for found in scored]
    together = Hits(np.concatenate([each.nums for each in hits]), np.concatenate([each.scores for each in hits]))
    texts = writer.write_hits(connection, together)
    bounds = pairwise(accumulate((len(each) for each in hits), initial=0))
    return [array([text for text in texts[start:stop] if text is not None]) for start, stop in bounds]
