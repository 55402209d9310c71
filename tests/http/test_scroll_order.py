"""Scroll with a filter over mixed ids, and in the order of a field."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.http.client import Collection, Create

IDS: list[Any] = [*range(40), 2**63 - 1, 2**63, 2**64 - 1, *(str(UUID(int=number * 2**100)) for number in range(20))]


@pytest.fixture
def mixed(create: Create) -> Collection:
    """Numbers and UUIDs in no order; every third point is odd one out."""
    collection = create(vectors={"size": 1, "distance": "Dot"})
    order = np.random.default_rng(1).permutation(len(IDS))
    collection.upsert(
        *({"id": IDS[i], "vector": [1], "payload": {"third": bool(i % 3 == 0), "i": int(i)}} for i in order)
    )
    return collection


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_a_filter_go_by_id_and_meet_every_match_once(mixed: Collection, limit: int, indexed: bool) -> None:
    if indexed:
        body = {"field_name": "third", "field_schema": "bool"}
        mixed.client.result("PUT", f"{mixed.path}/index", body, wait="true")
    request: dict[str, Any] = {"limit": limit, "filter": {"must": [{"key": "third", "match": {"value": True}}]}}
    seen: list[Any] = []
    while True:
        page = mixed.points("POST", "/scroll", request)
        assert len(page["points"]) <= limit
        seen += [point["id"] for point in page["points"]]
        if page["next_page_offset"] is None:
            break
        request["offset"] = page["next_page_offset"]
    assert seen == [point_id for i, point_id in enumerate(IDS) if i % 3 == 0]


@pytest.fixture
def events(create: Create) -> Collection:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    payloads: list[dict[str, Any]] = [
        {"n": 3, "f": 0.5, "at": "2020-05-01T12:00:00Z", "text": "a"},
        {"n": [1, 5], "f": -1, "at": "2020-05-01T12:00:00+02:00", "text": "b"},
        {"n": 3, "f": 2**53, "at": "2019-12-31", "text": "c"},
        {"n": "3", "f": [7.25, 7.25], "at": "no date", "text": "d"},
        {"n": -4, "at": ["2021-01-01", "2018-01-01"], "text": "e"},
        {},
    ]
    collection.upsert(*({"id": i, "vector": [i], "payload": p} for i, p in enumerate(payloads, 1)))
    for field, kind in (("n", "integer"), ("f", "float"), ("at", "datetime"), ("text", "keyword")):
        body = {"field_name": field, "field_schema": kind}
        collection.client.result("PUT", f"{collection.path}/index", body, wait="true")
    return collection


def ordered(collection: Collection, order_by: Any, **request: Any) -> list[tuple[int, Any]]:
    page = collection.points("POST", "/scroll", {"order_by": order_by, "limit": 100, **request})
    assert page["next_page_offset"] is None
    return [(point["id"], point["order_value"]) for point in page["points"]]


ASCENDING = [(5, -4), (2, 1), (1, 3), (3, 3), (2, 5)]


def test_a_point_stands_once_for_each_of_its_values_in_order(events: Collection) -> None:
    assert ordered(events, "n") == ASCENDING
    assert ordered(events, {"key": "n", "direction": "asc"}) == ASCENDING
    descending = ordered(events, {"key": "n", "direction": "desc"})
    assert [value for _, value in descending] == [5, 3, 3, 1, -4]
    assert sorted(descending) == sorted(ASCENDING)
    assert ordered(events, "f") == [(2, -1.0), (1, 0.5), (4, 7.25), (3, 2.0**53)]


@pytest.mark.parametrize(
    ("start_from", "direction", "expected"),
    [(3, "asc", [3, 3, 5]), (2.5, "asc", [3, 3, 5]), (3, "desc", [3, 3, 1, -4]), (100, "asc", []), (-5, "desc", [])],
)
def test_start_from_is_inclusive_in_either_direction(
    events: Collection, start_from: float, direction: str, expected: list[int]
) -> None:
    found = ordered(events, {"key": "n", "direction": direction, "start_from": start_from})
    assert [value for _, value in found] == expected


def test_datetimes_are_ordered_by_the_moment_and_start_from_one(events: Collection) -> None:
    assert [point_id for point_id, _ in ordered(events, "at")] == [5, 3, 2, 1, 5]
    later = ordered(events, {"key": "at", "start_from": "2020-05-01T10:00:00Z"})
    assert [point_id for point_id, _ in later] == [2, 1, 5]
    earlier = ordered(events, {"key": "at", "direction": "desc", "start_from": "2020-05-01 10:00"})
    assert [point_id for point_id, _ in earlier] == [2, 3, 5]


def test_order_goes_with_filters_limits_and_payloads(events: Collection) -> None:
    filter = {"must_not": [{"has_id": [2]}]}
    assert ordered(events, "n", filter=filter) == [(5, -4), (1, 3), (3, 3)]
    assert ordered(events, "n", limit=2) == ASCENDING[:2]
    page = events.points("POST", "/scroll", {"order_by": "n", "limit": 1, "with_payload": ["n"], "with_vector": True})
    assert page["points"] == [{"id": 5, "payload": {"n": -4}, "vector": [5.0], "order_value": -4}]


def test_order_follows_writes(events: Collection) -> None:
    events.change("POST", "/payload", {"points": [6], "payload": {"n": 2}})
    events.change("POST", "/delete", {"points": [5]})
    assert ordered(events, "n") == [(2, 1), (6, 2), (1, 3), (3, 3), (2, 5)]
    events.change("POST", "/payload/clear", {"filter": {"must": [{"key": "n", "match": {"value": 5}}]}})
    assert ordered(events, "n") == [(6, 2), (1, 3), (3, 3)]


@pytest.mark.parametrize(
    ("request_body", "named"),
    [
        ({"order_by": "n", "offset": 1}, "offset"),
        ({"order_by": "missing"}, "missing"),
        ({"order_by": "text"}, "text"),
        ({"order_by": "a["}, "a["),
        ({"order_by": {"key": "n", "direction": "up"}}, "direction"),
        ({"order_by": {"direction": "asc"}}, "key"),
        ({"order_by": {"key": "at", "start_from": "yesterday"}}, "yesterday"),
        ({"order_by": {"key": "n", "start_from": [1]}}, "start_from"),
        ({"order_by": 7}, "order_by"),
    ],
    ids=str,
)
def test_a_wrong_order_is_refused(events: Collection, request_body: dict[str, Any], named: str) -> None:
    response = events.client.send("POST", f"{events.path}/points/scroll", request_body)
    assert response.status_code in (400, 422)
    assert named in response.json()["status"]["error"]
