"""Facets over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Collection, Create

KINDS = {"color": "keyword", "size": "integer", "sold": "bool", "owner": "uuid", "text": "text", "price": "float"}
OWNER = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def shop(create: Create) -> Collection:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    payloads: list[dict[str, Any]] = [
        {"color": "red", "size": 1, "sold": True, "owner": OWNER},
        {"color": ["red", "blue", "red"], "size": 2, "sold": False, "owner": OWNER.replace("-", "").upper()},
        {"color": "blue", "size": 2, "sold": True, "owner": "nobody"},
        {"color": "green", "size": [3, 3], "sold": True},
        {"color": 7, "size": "1"},
        {},
    ]
    collection.upsert(*({"id": i, "vector": [i], "payload": p} for i, p in enumerate(payloads, 1)))
    for field, kind in KINDS.items():
        body = {"field_name": field, "field_schema": kind}
        collection.client.result("PUT", f"{collection.path}/index", body, wait="true")
    return collection


def facet(collection: Collection, **request: Any) -> list[tuple[Any, int]]:
    hits = collection.client.result("POST", f"{collection.path}/facet", request)["hits"]
    return [(hit["value"], hit["count"]) for hit in hits]


@pytest.mark.parametrize("exact", [None, True, False])
def test_values_come_by_count_and_then_by_value_and_a_point_counts_once(shop: Collection, exact: bool | None) -> None:
    assert facet(shop, key="color", exact=exact) == [("blue", 2), ("red", 2), ("green", 1)]
    assert facet(shop, key="size", exact=exact) == [(2, 2), (1, 1), (3, 1)]
    assert facet(shop, key="sold", exact=exact) == [(True, 3), (False, 1)]
    assert facet(shop, key="owner", exact=exact) == [(OWNER, 2)]


def test_a_filter_and_a_limit_narrow_them(shop: Collection) -> None:
    sold = {"must": [{"key": "sold", "match": {"value": True}}]}
    assert facet(shop, key="color", filter=sold) == [("blue", 1), ("green", 1), ("red", 1)]
    assert facet(shop, key="color", filter=sold, limit=2) == [("blue", 1), ("green", 1)]
    assert facet(shop, key="color", filter={"must": [{"key": "text", "match": {"text": "x"}}]}) == []
    assert facet(shop, key="color", limit=1) == [("blue", 2)]


def test_ten_values_are_answered_by_default(shop: Collection) -> None:
    shop.upsert(*({"id": 100 + i, "vector": [1], "payload": {"size": 100 + i}} for i in range(20)))
    assert len(facet(shop, key="size")) == 10
    assert len(facet(shop, key="size", limit=1_000_000_000)) == 23


def test_facets_follow_writes(shop: Collection) -> None:
    shop.change("POST", "/payload", {"payload": {"color": "black"}, "filter": {"must": [{"has_id": [1, 2]}]}})
    shop.change("POST", "/delete", {"points": [3]})
    assert facet(shop, key="color") == [("black", 2), ("green", 1)]


@pytest.mark.parametrize("key", ["missing", "text", "price", "color.inner"])
def test_without_an_index_that_knows_values_there_are_no_facets(shop: Collection, key: str) -> None:
    message = shop.client.refusal(400, "POST", f"{shop.path}/facet", {"key": key})
    assert key in message


@pytest.mark.parametrize(
    ("status", "request_body"),
    [(400, {}), (400, {"key": 7}), (400, {"key": "a["}), (422, {"key": "color", "limit": 0}), (400, [])],
    ids=str,
)
def test_a_wrong_facet_is_refused(shop: Collection, status: int, request_body: Any) -> None:
    shop.client.refusal(status, "POST", f"{shop.path}/facet", request_body)
