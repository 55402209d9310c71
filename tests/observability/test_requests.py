"""Requests as an operator sees them: ids, lines of the log, the slowest ones, and what they took of the machine."""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.http.client import Client, Create
from tests.http.running_server import RunningServer, until
from tests.observability.conftest import Line
from vdb import telemetry
from vdb.api.slow_requests import KEPT_MAX, SlowRequests
from vdb.model.queries import QueryRequest
from vdb.model.query_kinds import NearestQuery
from vdb.model.sparse import SparseVector

Lines = Callable[..., list[Line]]


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as http:
        yield http


@pytest.mark.parametrize("path", ["/", "/collections", "/collections/never-was", "/no/such/route", "/healthz"])
def test_every_answer_has_the_id_that_the_request_came_with(http: httpx.Client, path: str) -> None:
    assert http.get(path, headers={"x-request-id": "from-a-proxy:1"}).headers["x-request-id"] == "from-a-proxy:1"


@pytest.mark.parametrize("given", [None, "", "with space", "x" * 129, "ümlaut"])
def test_a_request_without_a_usable_id_gets_one_of_its_own(http: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {b"x-request-id": given.encode("latin1")}
    ids = {http.get("/collections", headers=headers).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert given not in ids


def test_the_access_log_has_a_line_a_request_with_its_id(http: httpx.Client, create: Create, lines: Lines) -> None:
    collection = create()
    http.get(f"{collection.path}", headers={"x-request-id": "in-the-log"})
    (line,) = lines(request_id="in-the-log")
    assert line["target"] == "vdb.access"
    assert line["level"] == "INFO"
    assert line["message"] == "GET /collections/{collection_name}"
    assert line["collection"] == collection.name
    assert line["status"] == 200
    assert line["seconds"] > 0


def test_a_slow_read_has_a_line_with_its_id(
    server: RunningServer, http: httpx.Client, create: Create, lines: Lines
) -> None:
    path = f"{create().path}/points/count"
    numbers = itertools.count()

    def look() -> list[Line]:
        # At most ten a second are logged one by one, whoever sent them.
        assert http.post(path, json={}, headers={"x-request-id": f"slow-{next(numbers)}"}).status_code == 200
        return [line for line in lines(message="slow query") if line["request_id"].startswith("slow-")]

    line = until(lambda: look() or None)[0]
    assert line["level"] == "WARN"
    assert line["endpoint"] == "/collections/{collection_name}/points/count"
    assert line["seconds"] > 0


def test_the_slowest_requests_are_kept_by_what_they_asked_for() -> None:
    slow = SlowRequests()
    for number in range(2 * KEPT_MAX):
        slow.note("query_points", "c", 1 + number, {"limit": number})
    slow.note("count_points", "c", 0.5, {})
    slow.note("query_points", "c", 0.1, {"limit": 1000})
    for _ in range(3):
        slow.note("query_points", "c", 500, {"limit": 7})
    kept = slow.slowest(1000, "query")
    assert len(kept) == KEPT_MAX
    assert kept[0].approx_count == 3
    assert [entry.duration for entry in kept] == sorted((entry.duration for entry in kept), reverse=True)
    assert len(slow.slowest(5, "")) == 5
    assert [entry.request_name for entry in slow.slowest(5, "count")] == ["count_points"]


def test_long_bodies_are_kept_in_part() -> None:
    slow = SlowRequests()
    slow.note("query_points", "c", 1, {"query": [0.5] * 100_000})
    (entry,) = slow.slowest(1, "")
    assert isinstance(entry.request_body, str)
    assert len(entry.request_body) < 20_000


def test_the_slowest_requests_are_answered(client: Client) -> None:
    assert "requests" in client.result("GET", "/profiler/slow_requests", limit="3", request="query")


def test_usage_tells_what_a_search_took(http: httpx.Client, create: Create) -> None:
    collection = create()
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4], "payload": {"text": "x" * 100_000}})
    answer = http.post(f"{collection.path}/points/query", json={"query": [1, 2, 3, 4], "with_payload": True}).json()
    usage = answer["usage"]["hardware"]
    assert usage["cpu"] > 0
    assert usage["payload_index_io_read"] == usage["vector_io_write"] == 0


def test_usage_tells_what_a_write_put_into_the_log(http: httpx.Client, create: Create) -> None:
    path = f"{create().path}/points"
    answer = http.put(path, json={"points": [{"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": 1}}]}).json()
    usage = answer["usage"]["hardware"]
    assert usage["vector_io_write"] == 16
    assert usage["payload_io_write"] == len('{"a":1}')
    assert usage["cpu"] == 0


def test_what_needs_no_search_has_no_usage(http: httpx.Client) -> None:
    assert "usage" not in http.get("/collections").json()


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_line_cannot_be_forged_by_what_a_client_sends(
    monkeypatch: pytest.MonkeyPatch, format: telemetry.LogFormat
) -> None:
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))  # put back afterwards
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    try:
        telemetry.configure_logging("INFO", format, stream)
        extra: dict[str, Any] = telemetry.facts(request_id="a\nb", collection='say "hi"', seconds=0.25, left_out=None)
        logging.getLogger("vdb.test").warning("one\r\ntwo %s", "three", extra=extra)
    finally:
        root.handlers = before
        root.setLevel(level)
    text = stream.getvalue()
    assert text.count("\n") == 1
    if format == "json":
        line = json.loads(text)
        assert line["message"] == "one\r\ntwo three"
        assert line["request_id"] == "a\nb"
        assert line["level"] == "WARN"
        assert line["target"] == "vdb.test"
    else:
        assert 'one\\r\\ntwo three request_id=a\\nb collection="say \\"hi\\"" seconds=0.25' in text


def test_a_slow_query_by_a_sparse_vector_is_kept() -> None:
    kept = SlowRequests()
    vector = SparseVector(np.array([3], dtype=np.uint32), np.array([0.5], dtype=np.float32))
    kept.note("query", "words", 1.0, QueryRequest(query=NearestQuery(nearest=vector), using="s"))
    (entry,) = kept.slowest(10, "query")
    assert entry.collection_name == "words"
