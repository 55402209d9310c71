"""Tokens for some points of a collection: what they show, change, and refuse to tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.http.running_server import RunningServer
from tests.security.conftest import API_KEY, Caller, fill, granted

MakeCaller = Callable[[str | None], Caller]
POINTS = "/collections/shared/points"


@pytest.fixture(autouse=True)
def _collection(manager: Caller) -> None:
    fill(
        manager,
        "shared",
        p1={"owner": "me", "city": "Rome", "n": 1},
        p2={"owner": "you", "city": "Paris", "n": 1},
        p3={"owner": "me", "city": "Rome", "n": 2},
        p4={"owner": ["you", "me"], "city": "Oslo", "n": 2},
        p5={"city": "Bern"},
    )


@pytest.fixture
def mine(caller: MakeCaller) -> Caller:
    """Sees points 1, 3 and 4."""
    return caller(granted({"collection": "shared", "access": "rw", "payload": {"owner": "me"}}))


def ids(points: Any) -> list[int]:
    return sorted(point["id"] for point in points)


def test_reads_by_id_find_visible_points_only(mine: Caller) -> None:
    assert ids(mine.result("POST", POINTS, {"ids": [5, 4, 3, 2, 1, 99]})) == [1, 3, 4]
    assert mine.result("GET", f"{POINTS}/3")["id"] == 3
    for hidden in (2, 5, 99):
        response = mine.send("GET", f"{POINTS}/{hidden}")
        assert (response.status_code, f"id {hidden} found" in response.text) == (404, True)


def test_scroll_count_and_facet_see_visible_points_only(mine: Caller, manager: Caller) -> None:
    manager.result("PUT", "/collections/shared/index", {"field_name": "city", "field_schema": "keyword"}, wait="true")
    assert ids(mine.result("POST", f"{POINTS}/scroll", {})["points"]) == [1, 3, 4]
    narrowed = {
        "filter": {"should": [{"key": "n", "match": {"value": 2}}, {"key": "city", "match": {"value": "Bern"}}]}
    }
    assert ids(mine.result("POST", f"{POINTS}/scroll", narrowed)["points"]) == [3, 4]
    assert mine.result("POST", f"{POINTS}/count", {}) == {"count": 3}
    assert mine.result("POST", f"{POINTS}/count", narrowed) == {"count": 2}
    hits = mine.result("POST", "/collections/shared/facet", {"key": "city"})["hits"]
    assert {hit["value"]: hit["count"] for hit in hits} == {"Rome": 2, "Oslo": 1}


QUERIES: list[dict[str, Any]] = [
    {},
    {"query": [1, 1]},
    {"query": [1, 1], "params": {"exact": True}},
    {"query": {"recommend": {"positive": [[1, 1]]}}},
    {"query": {"recommend": {"positive": [[1, 1]], "strategy": "best_score"}}},
    {"query": {"discover": {"target": [1, 1], "context": [{"positive": [1, 0], "negative": [0, 1]}]}}},
    {"query": {"context": [{"positive": [1, 0], "negative": [0, 1]}]}},
    {"query": {"sample": "random"}},
    {"query": {"order_by": "n"}},
    {"query": {"fusion": "rrf"}, "prefetch": [{"query": [1, 1]}, {"prefetch": {}, "query": [0, 1]}]},
    {"query": {"formula": "$score"}, "prefetch": {"query": [1, 1], "limit": 10}},
    {"query": [1, 1], "prefetch": {"filter": {"must": {"has_id": [1, 2, 3, 4, 5]}}}},
]


@pytest.mark.parametrize("query", QUERIES)
def test_queries_find_visible_points_only(mine: Caller, manager: Caller, query: dict[str, Any]) -> None:
    manager.result("PUT", "/collections/shared/index", {"field_name": "n", "field_schema": "integer"}, wait="true")
    expected = [1, 3, 4]
    assert ids(mine.result("POST", f"{POINTS}/query", query)["points"]) == expected
    (batch,) = mine.result("POST", f"{POINTS}/query/batch", {"searches": [query]})
    assert ids(batch["points"]) == expected
    groups = mine.result("POST", f"{POINTS}/query/groups", query | {"group_by": "city"})["groups"]
    assert {group["id"] for group in groups} == {"Rome", "Oslo"}


def test_the_routes_of_older_clients_find_visible_points_only(mine: Caller) -> None:
    assert ids(mine.result("POST", f"{POINTS}/search", {"vector": [1, 1], "limit": 9})) == [1, 3, 4]
    recommend = {"positive": [[1, 1]], "limit": 9}
    assert ids(mine.result("POST", f"{POINTS}/recommend", recommend)) == [1, 3, 4]
    (batch,) = mine.result("POST", f"{POINTS}/recommend/batch", {"searches": [recommend]})
    assert ids(batch) == [1, 3, 4]
    groups = mine.result(
        "POST", f"{POINTS}/search/groups", {"vector": [1, 1], "limit": 9, "group_size": 9, "group_by": "city"}
    )
    assert sorted(hit["id"] for group in groups["groups"] for hit in group["hits"]) == [1, 3, 4]


def test_matrices_compare_visible_points_only(mine: Caller) -> None:
    pairs = mine.result("POST", f"{POINTS}/search/matrix/pairs", {"sample": 100})["pairs"]
    assert {pair[end] for pair in pairs for end in "ab"} == {1, 3, 4}
    assert mine.result("POST", f"{POINTS}/search/matrix/offsets", {"sample": 100})["ids"] == [1, 3, 4]


@pytest.mark.parametrize(
    "query",
    [
        {"query": 1},
        {"query": {"nearest": 2}},
        {"query": {"recommend": {"positive": [[1, 1]], "negative": [2]}}},
        {"query": {"discover": {"target": 2, "context": []}}},
        {"query": {"context": [{"positive": [1, 0], "negative": 2}]}},
        {"query": [1, 1], "prefetch": {"query": 2}},
    ],
)
def test_the_vector_of_a_point_is_not_asked_by_its_id(mine: Caller, query: dict[str, Any]) -> None:
    assert "by the id of a point" in mine.refused("POST", f"{POINTS}/query", query)


def test_a_vector_may_be_looked_up_where_everything_may_be_read(caller: MakeCaller, manager: Caller) -> None:
    fill(manager, "open", p7={})
    holder = caller(
        granted(
            {"collection": "shared", "access": "r", "payload": {"owner": "me"}}, {"collection": "open", "access": "r"}
        )
    )
    query = {"query": 7, "lookup_from": {"collection": "open"}}
    assert ids(holder.result("POST", f"{POINTS}/query", query)["points"]) == [1, 3, 4]


def test_deleting_reaches_visible_points_only(mine: Caller, manager: Caller) -> None:
    mine.result("POST", f"{POINTS}/delete", {"points": [1, 2]}, wait="true")
    mine.result("POST", f"{POINTS}/delete", {"filter": {"must": [{"key": "n", "match": {"value": 2}}]}}, wait="true")
    assert ids(manager.result("POST", f"{POINTS}/scroll", {})["points"]) == [2, 5]
    mine.result("POST", f"{POINTS}/delete", {"filter": {}}, wait="true")
    assert ids(manager.result("POST", f"{POINTS}/scroll", {})["points"]) == [2, 5]


def test_deleting_vectors_reaches_visible_points_only(mine: Caller, manager: Caller) -> None:
    mine.result("POST", f"{POINTS}/vectors/delete", {"vector": [""], "points": [1, 2]}, wait="true")
    found = manager.result("POST", POINTS, {"ids": [1, 2], "with_vector": True})
    assert {point["id"]: bool(point.get("vector")) for point in found} == {1: False, 2: True}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/points", {"points": [{"id": 2, "vector": [0, 0], "payload": {"owner": "me"}}]}),
        ("POST", "/points/payload", {"payload": {"owner": "me"}, "filter": {}}),
        ("POST", "/points/payload/clear", {"filter": {}}),
        ("PUT", "/points/vectors", {"points": [{"id": 2, "vector": [0, 0]}]}),
        ("POST", "/points/batch", {"operations": [{"delete": {"filter": {}}}]}),
        ("PUT", "/index", {"field_name": "owner", "field_schema": "keyword"}),
        ("GET", "", None),
    ],
)
def test_what_cannot_be_limited_to_some_points_is_refused(
    mine: Caller, manager: Caller, method: str, path: str, body: dict[str, Any] | None
) -> None:
    before = manager.result("POST", f"{POINTS}/scroll", {"with_vector": True})
    assert mine.refused(method, f"/collections/shared{path}", body) == (
        "Forbidden: Access to all points of collection shared is required"
    )
    assert manager.result("POST", f"{POINTS}/scroll", {"with_vector": True}) == before


def test_several_values_must_all_hold_and_types_do_not_cross(caller: MakeCaller) -> None:
    def seen(**payload: Any) -> list[int]:
        holder = caller(granted({"collection": "shared", "access": "r", "payload": payload}))
        return ids(holder.result("POST", f"{POINTS}/scroll", {})["points"])

    assert seen(owner="me", n=2) == [3, 4]
    assert seen(owner="nobody") == []
    assert seen(n="2") == []
    assert seen() == [1, 2, 3, 4, 5]


def test_a_grant_by_alias_limits_the_collection_by_every_name(guarded: RunningServer, caller: MakeCaller) -> None:
    manager = caller(API_KEY)
    action = {"create_alias": {"collection_name": "shared", "alias_name": "known as"}}
    manager.result("POST", "/collections/aliases", {"actions": [action]})
    holder = caller(granted({"collection": "known as", "access": "r", "payload": {"owner": "me"}}))
    for name in ("shared", "known as"):
        assert holder.result("POST", f"/collections/{name}/points/count", {}) == {"count": 3}


def test_document_frequencies_are_counted_in_visible_points(manager: Caller, caller: MakeCaller) -> None:
    """A score would tell how many hidden points have a word."""
    manager.send("DELETE", "/collections/words")
    manager.result("PUT", "/collections/words", {"sparse_vectors": {"s": {"modifier": "idf"}}})
    points = [
        {"id": i, "vector": {"s": {"indices": [i % 2], "values": [1]}}, "payload": {"owner": "me" if i < 4 else "you"}}
        for i in range(20)
    ]
    manager.result("PUT", "/collections/words/points", {"points": points}, wait="true")
    holder = caller(granted({"collection": "words", "access": "r", "payload": {"owner": "me"}}))
    asked: dict[str, Any] = {"query": {"indices": [0], "values": [1]}, "using": "s"}
    before = holder.result("POST", "/collections/words/points/query", asked)
    assert ids(before["points"]) == [0, 2]
    manager.result("POST", "/collections/words/points/delete", {"points": [4, 6, 8, 10]}, wait="true")
    everything: dict[str, Any] = {"params": {"idf": {"corpus": {}}}}
    assert holder.result("POST", "/collections/words/points/query", asked) == before
    assert holder.result("POST", "/collections/words/points/query", asked | everything) == before
