"""Issues: indexes that slow reads would have needed. This server calls every read slow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Client, Create


def issues(client: Client, collection: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.result("GET", "/issues")["issues"]
    return [issue for issue in found if issue["related_collection"] == collection]


def test_a_slow_read_by_an_unindexed_field_is_an_issue_until_its_solution_is_carried_out(
    client: Client, create: Create
) -> None:
    collection = create()
    collection.query(query=[1, 2, 3, 4], filter={"must": {"key": "city.name", "match": {"value": "Paris"}}})
    (issue,) = issues(client, collection.name)
    assert issue["id"] == f"UNINDEXED_FIELD/{collection.name}/city.name"
    action = issue["solution"]["immediate"]["action"]
    assert action["body"] == {"field_name": "city.name", "field_schema": "keyword"}
    client.result(action["method"], action["uri"], action["body"], wait="true")
    assert issues(client, collection.name) == []


@pytest.mark.parametrize(
    ("condition", "schemas"),
    [
        ({"match": {"value": 1}}, ["integer"]),
        ({"match": {"value": True}}, ["bool"]),
        ({"match": {"any": ["a", "b"]}}, ["keyword"]),
        ({"match": {"value": "1b4e28ba-2fa1-11d2-883f-0016d3cca427"}}, ["keyword", "uuid"]),
        ({"range": {"gt": 1}}, ["integer", "float"]),
        ({"range": {"gt": "2020-01-01"}}, ["datetime"]),
        ({"match": {"text": "a b"}}, ["text"]),
        ({"geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": 1}}, ["geo"]),
        ({"is_empty": True}, ["keyword"]),
    ],
)
def test_the_solution_fits_the_condition(
    client: Client, create: Create, condition: dict[str, Any], schemas: list[str]
) -> None:
    collection = create()
    collection.points("POST", "/scroll", {"filter": {"should": [{"key": "f", **condition}]}})
    (issue,) = issues(client, collection.name)
    solution = issue["solution"]
    choices = solution.get("immediate_choice") or [solution["immediate"]]
    assert [choice["action"]["body"]["field_schema"] for choice in choices] == schemas


def test_nested_and_prefetched_filters_count_and_indexed_ones_do_not(client: Client, create: Create) -> None:
    collection = create()
    client.result("PUT", f"{collection.path}/index", {"field_name": "a[].b", "field_schema": "integer"}, wait="true")
    nested = {"nested": {"key": "a", "filter": {"must": [{"key": "b", "match": {"value": 1}}]}}}
    prefetch = {"query": [1, 2, 3, 4], "filter": {"must": [nested, {"key": "c", "range": {"lt": 1}}]}}
    collection.query(prefetch=[prefetch], query=[1, 2, 3, 4], filter={"must_not": [{"has_id": [1]}]})
    assert [issue["id"].rpartition("/")[2] for issue in issues(client, collection.name)] == ["c"]


@pytest.mark.parametrize("forgotten_by", ["/issues", "/collections/short-lived"])
def test_issues_are_forgotten_on_demand_and_with_their_collection(
    client: Client, create: Create, forgotten_by: str
) -> None:
    collection = create("short-lived")
    collection.points("POST", "/count", {"filter": {"must": {"key": "f", "is_null": True}}})
    assert len(issues(client, "short-lived")) == 1
    assert client.result("DELETE", forgotten_by) is True
    assert issues(client, "short-lived") == []
