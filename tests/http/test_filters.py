"""Filters over HTTP: one answer with an index and without, everywhere a filter stands, and never an error of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.filters.filter_worlds import POINT_IDS, any_filters, payloads
from tests.http.client import Client, Collection, Create
from tests.http.running_server import until

NAMED = {"vectors": {"other": {"size": 1, "distance": "Dot"}}}
SCHEMAS: tuple[Any, ...] = (
    "keyword",
    "integer",
    "float",
    "geo",
    "bool",
    "datetime",
    "uuid",
    "text",
    {"type": "text", "tokenizer": "prefix", "min_token_len": 2, "phrase_matching": True},
)
PATHS = ("a", "b", "a[]", "n.x", "n[].x", '"c.d"')


@pytest.fixture(scope="module")
def worlds(client: Client) -> Any:
    """One collection, as each example wants it."""
    collection = client.create("worlds", **NAMED)
    yield collection
    client.result("DELETE", collection.path)


def scrolled(collection: Collection, filter: dict[str, Any]) -> list[Any]:
    page = collection.points("POST", "/scroll", {"filter": filter, "limit": 100, "with_payload": False})
    return [point["id"] for point in page["points"]]


def index(collection: Collection, path: str, schema: Any) -> None:
    body = {"field_name": path, "field_schema": schema}
    collection.client.result("PUT", f"{collection.path}/index", body, wait="true")


def drop(collection: Collection, path: str) -> None:
    collection.client.result("DELETE", f"{collection.path}/index/{path}", wait="true")


@given(
    drawn=st.lists(st.tuples(payloads, st.booleans()), min_size=1, max_size=len(POINT_IDS)),
    filters=st.lists(any_filters, min_size=1, max_size=5),
    schemas=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(SCHEMAS[:8]), min_size=1, max_size=3),
)
@settings(max_examples=40)
def test_a_filter_finds_the_same_points_with_an_index_and_without(
    worlds: Collection, drawn: list[tuple[dict[str, Any], bool]], filters: list[dict[str, Any]], schemas: dict[str, Any]
) -> None:
    worlds.change("POST", "/delete", {"filter": {}})
    worlds.upsert(
        *(
            {"id": point_id, "vector": {"other": [1.0]} if has_vector else {}, "payload": payload}
            for point_id, (payload, has_vector) in zip(POINT_IDS, drawn, strict=False)
        )
    )
    without = [scrolled(worlds, filter) for filter in filters]
    for path, schema in schemas.items():
        index(worlds, path, schema)
    try:
        for filter, expected in zip(filters, without, strict=True):
            assert scrolled(worlds, filter) == expected, (filter, schemas)
            for exact in (True, False):
                count = worlds.points("POST", "/count", {"filter": filter, "exact": exact})["count"]
                assert count == len(expected)
            hits = worlds.query(filter=filter, limit=100)
            assert [hit["id"] for hit in hits] == expected
    finally:
        for path in schemas:
            drop(worlds, path)


@pytest.fixture
def towns(create: Create) -> Collection:
    collection = create()
    towns = [
        ("Berlin", 3_700_000, {"lon": 13.4, "lat": 52.5}, ["capital", "river"]),
        ("Suva", 93_000, {"lon": 178.4, "lat": -18.1}, ["capital", "port"]),
        ("Apia", 37_000, {"lon": -171.8, "lat": -13.8}, ["capital", "port"]),
        ("Ulm", 126_000, {"lon": 9.99, "lat": 48.4}, []),
    ]
    collection.upsert(
        *(
            {"id": i, "vector": [i, 0, 0, 0], "payload": {"name": name, "people": people, "at": at, "tags": tags}}
            for i, (name, people, at, tags) in enumerate(towns, 1)
        ),
        {"id": 5, "vector": [5, 0, 0, 0], "payload": {"name": None, "founded": "1921-07-01"}},
    )
    parts = {4: [("a", 1), ("b", 9)], 5: [("a", 9), ("b", 1)]}
    for i, named in parts.items():
        payload = {"parts": [{"name": name, "people": people} for name, people in named]}
        collection.change("POST", "/payload", {"points": [i], "payload": payload})
    return collection


PART = {"key": "name", "match": {"value": "b"}}
BOX = {"top_left": {"lon": 170, "lat": 0}, "bottom_right": {"lon": -170, "lat": -30}}
SQUARE = [{"lon": 9, "lat": 48}, {"lon": 14, "lat": 48}, {"lon": 14, "lat": 53}, {"lon": 9, "lat": 53}]
HOLE = [{"lon": 13, "lat": 52}, {"lon": 13.9, "lat": 52}, {"lon": 13.9, "lat": 52.9}, {"lon": 13, "lat": 52.9}]
POLYGON = {"exterior": {"points": [*SQUARE, SQUARE[0]]}, "interiors": [{"points": [*HOLE, HOLE[0]]}]}
CONDITIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({"key": "name", "match": {"value": "Ulm"}}, [4]),
    ({"key": "name", "match": {"any": ["Ulm", "Suva"]}}, [2, 4]),
    ({"key": "name", "match": {"except": ["Ulm", "Suva"]}}, [1, 3]),
    ({"key": "name", "match": {"text": "berlin"}}, [1]),
    ({"key": "name", "match": {"text_any": "ulm apia"}}, [3, 4]),
    ({"key": "name", "match": {"prefix": "U"}}, [4]),
    ({"key": "tags", "match": {"value": "port"}}, [2, 3]),
    ({"key": "tags[]", "match": {"value": "port"}}, [2, 3]),
    ({"key": "tags[0]", "match": {"value": "port"}}, []),
    ({"key": "people", "range": {"gte": 93_000, "lt": 3_700_000}}, [2, 4]),
    ({"key": "people", "match": {"value": 37_000}}, [3]),
    ({"key": "people", "match": {"value": "37000"}}, []),
    ({"key": "founded", "range": {"gt": "1921-06-30T23:59:59.5Z", "lte": "1921-07-01 02:00:00+02:00"}}, [5]),
    ({"key": "at", "geo_bounding_box": BOX}, [2, 3]),
    ({"key": "at", "geo_radius": {"center": {"lon": 13, "lat": 52}, "radius": 100_000}}, [1]),
    ({"key": "at", "geo_polygon": POLYGON}, [4]),
    ({"key": "tags", "values_count": {"gte": 2}}, [1, 2, 3]),
    ({"key": "tags", "values_count": {"lt": 1}}, [4, 5]),
    ({"is_empty": {"key": "tags"}}, [4, 5]),
    ({"is_null": {"key": "name"}}, [5]),
    ({"has_id": [5, 1, 77]}, [1, 5]),
    ({"has_vector": ""}, [1, 2, 3, 4, 5]),
    ({"nested": {"key": "parts", "filter": {"must": [PART, {"key": "people", "range": {"gt": 5}}]}}}, [4]),
    (
        {"must": [{"key": "parts[].name", "match": {"value": "b"}}, {"key": "parts[].people", "range": {"gt": 5}}]},
        [4, 5],
    ),
    ({"nested": {"key": "at", "filter": {"must": [{"key": "lat", "range": {"lt": 0}}]}}}, []),  # no array of objects
    ({"must_not": [{"key": "at.lat", "range": {"lt": 0}}], "must": [{"key": "people", "range": {"gt": 0}}]}, [1, 4]),
    (
        {
            "min_should": {
                "conditions": [
                    {"key": "tags", "match": {"value": "capital"}},
                    {"key": "tags", "match": {"value": "river"}},
                    {"key": "people", "range": {"gt": 1_000_000}},
                ],
                "min_count": 2,
            }
        },
        [1],
    ),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=lambda value: str(value)[:60])
def test_each_condition_selects_in_every_read(
    towns: Collection, condition: dict[str, Any], expected: list[int]
) -> None:
    for filter in ({"must": [condition]}, {"must": condition}, {"should": [condition]}):
        assert scrolled(towns, filter) == expected
    assert towns.points("POST", "/count", {"filter": {"must": [condition]}}) == {"count": len(expected)}
    hits = towns.query(query=[1, 0, 0, 0], filter={"must": [condition]})
    assert [hit["id"] for hit in hits] == expected[::-1]
    others = towns.query(query=[1, 0, 0, 0], filter={"must_not": [condition]})
    assert sorted(hit["id"] for hit in others) == [i for i in range(1, 6) if i not in expected]


WRONG: list[tuple[Any, str]] = [
    ({"must": [{"key": "a", "matches": {"value": 1}}]}, "a"),
    ({"must": [{"has_no_id": [1]}]}, "has_no_id"),
    ({"key": "a", "match": {"value": 1}}, "key"),
    ({"must": [{"key": "a"}]}, "a"),
    ({"must": [{"key": "a[", "match": {"value": 1}}]}, "a["),
    ({"must": [{"key": "", "match": {"value": 1}}]}, "key"),
    ({"must": [{"key": "when", "range": {"gte": "yesterday"}}]}, "when"),
    ({"must": [{"key": "n", "range": {"gte": True}}]}, "n"),
    ({"must": [{"key": "a", "match": {"any": ["x", 1]}}]}, "any"),
    ({"must": [{"key": "a", "match": {"value": [1]}}]}, "value"),
    ({"must": [{"key": "at", "geo_radius": {"center": {"lon": 0, "lat": 91}, "radius": 1}}]}, "lat"),
    ({"must": [{"key": "at", "geo_radius": {"center": {"lon": 181, "lat": 0}, "radius": 1}}]}, "lon"),
    ({"must": [{"key": "at", "geo_bounding_box": {"top_left": {"lon": 0, "lat": 0}}}]}, "bottom_right"),
    ({"must": [{"key": "at", "geo_polygon": {"exterior": {"points": SQUARE}}}]}, "at"),
    ({"must": [{"key": "at", "geo_polygon": {"exterior": {"points": SQUARE[:2]}}}]}, "at"),
    ({"must": [{"key": "tags", "values_count": {"gte": -1}}]}, "values_count"),
    ({"must": [{"has_id": ["no id"]}]}, "no id"),
    ({"must": [{"has_id": [-1]}]}, "-1"),
    ({"must": [{"nested": {"key": "a"}}]}, "nested"),
    ({"min_should": {"conditions": []}}, "min_count"),
    ({"must": "everything"}, "must"),
    ({"most": []}, "most"),
    ([], "filter"),
]


@pytest.mark.parametrize(("filter", "named"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_filter_is_refused_everywhere_and_the_message_names_what_is_wrong(
    towns: Collection, filter: Any, named: str
) -> None:
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/scroll", {}),
        ("POST", "/count", {}),
        ("POST", "/query", {"query": [1, 0, 0, 0]}),
        ("POST", "/delete", {}),
        ("POST", "/payload", {"payload": {"x": 1}}),
        ("PUT", "/payload", {"payload": {"x": 1}}),
        ("POST", "/payload/delete", {"keys": ["x"]}),
        ("POST", "/payload/clear", {}),
        ("POST", "/vectors/delete", {"vector": [""]}),
    ]
    with towns.unchanged():
        for method, path, body in bodies:
            response = towns.client.send(method, f"{towns.path}/points{path}", body | {"filter": filter})
            assert response.status_code in (400, 422), (path, response.text)
            assert named in response.json()["status"]["error"]


def nested(depth: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"must": [{"key": "name", "match": {"value": "Ulm"}}]}
    for _ in range(depth):
        filter = {"must": [filter]}
    return filter


def test_filters_nested_deeply_work_or_are_refused(towns: Collection) -> None:
    assert scrolled(towns, nested(10)) == [4]
    for depth in (200, 400, 5_000):
        response = towns.client.send("POST", f"{towns.path}/points/scroll", deep_body(depth))
        assert response.status_code in (200, 400, 422), response.text
        if response.status_code == 200:
            assert [point["id"] for point in response.json()["result"]["points"]] == [4]
        else:
            assert "nest" in response.text.lower() or "deep" in response.text.lower(), response.text
    assert scrolled(towns, nested(1)) == [4]


def deep_body(depth: int) -> bytes:
    inner = b'{"must":[{"key":"name","match":{"value":"Ulm"}}]}'
    return b'{"filter":' + b'{"must":[' * depth + inner + b"]}" * depth + b"}"


def test_ten_thousand_ids_are_fine(towns: Collection) -> None:
    ids = [*range(4, 10_004)]
    assert scrolled(towns, {"must": [{"has_id": ids}]}) == [4, 5]
    assert scrolled(towns, {"must_not": [{"has_id": ids}]}) == [1, 2, 3]


STRANGE_KEYS = [
    "it's",
    'say "hi"',
    "nul\x00byte",
    "\x1e\x1f",
    "\U0001f642",
    "'; DROP TABLE points; --",
    'x"); DELETE FROM payloads; --',
    "$.a",
    "%s",
    "a\\b",
    " ",
    "漢字",
]


@pytest.mark.parametrize("key", STRANGE_KEYS, ids=ascii)
def test_a_payload_key_may_hold_anything(create: Create, key: str) -> None:
    collection = create()
    collection.upsert(
        {"id": 1, "vector": [1, 0, 0, 0], "payload": {key: key, "n": 1}}, {"id": 2, "vector": [2, 0, 0, 0]}
    )
    path = '"' + key + '"'
    filter = {"must": [{"key": path, "match": {"value": key}}]}
    response = collection.client.send("POST", f"{collection.path}/points/scroll", {"filter": filter})
    if response.status_code != 200:  # a quote inside quotes ends them: then the path says so
        assert response.status_code == 400
        assert '"' in key
        return
    assert [point["id"] for point in response.json()["result"]["points"]] == [1]
    index(collection, path, "keyword")
    assert scrolled(collection, filter) == [1]
    assert scrolled(collection, {"must": [{"is_empty": {"key": path}}]}) == [2]
    facets = collection.client.result("POST", f"{collection.path}/facet", {"key": path})
    assert facets == {"hits": [{"value": key, "count": 1}]}
    collection.change("POST", "/payload/delete", {"keys": [path], "filter": filter})
    assert collection.get(1)["payload"] == {"n": 1}
    assert collection.count() == 2


@pytest.fixture(scope="module")
def graph(client: Client) -> Any:
    """2,000 points of 8 dimensions in graphs; each ``part`` is a thousandth of them, ``far`` ones are far from 0."""
    small = {"indexing_threshold": 1, "default_segment_number": 2}
    collection = client.create(
        "graph",
        vectors={"size": 8, "distance": "Euclid"},
        optimizers_config=small,
        hnsw_config={"full_scan_threshold": 10},
    )
    vectors = vectors_of_graph()
    far = np.argsort(np.linalg.norm(vectors, axis=1))[-40:].tolist()
    for start in range(0, len(vectors), 500):
        collection.upsert(
            *(
                {
                    "id": i,
                    "vector": vectors[i].tolist(),
                    "payload": {"part": i % 1000, "far": i in far, "text": "even" if i % 2 == 0 else "odd"},
                }
                for i in range(start, start + 500)
            )
        )
    info = until(lambda: info if (info := collection.info())["status"] == "green" else None)
    assert info["indexed_vectors_count"] == len(vectors)
    yield collection
    client.result("DELETE", collection.path)


def vectors_of_graph() -> Any:
    return np.random.default_rng(5).normal(size=(2_000, 8)).astype(np.float32)


SELECTIONS: list[tuple[str, dict[str, Any], Any]] = [
    ("all", {}, lambda i: True),
    ("half", {"must": [{"key": "text", "match": {"value": "even"}}]}, lambda i: i % 2 == 0),
    ("five percent", {"must": [{"key": "part", "range": {"lt": 50}}]}, lambda i: i % 1000 < 50),
    ("half a percent", {"must": [{"key": "part", "range": {"lt": 5}}]}, lambda i: i % 1000 < 5),
    ("one", {"must": [{"has_id": [77]}]}, lambda i: i == 77),
    ("none", {"must": [{"key": "part", "match": {"value": 5_000}}]}, lambda i: False),
]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_filtered_search_never_returns_fewer_points_than_there_are(graph: Collection, indexed: bool) -> None:
    vectors = vectors_of_graph()
    far = set(np.argsort(np.linalg.norm(vectors, axis=1))[-40:].tolist())
    if indexed:
        index(graph, "part", "integer")
        index(graph, "text", "keyword")
        index(graph, "far", "bool")
    selections = [*SELECTIONS, ("adverse", {"must": [{"key": "far", "match": {"value": True}}]}, far.__contains__)]
    queries = [np.zeros(8, dtype=np.float32), vectors[3], vectors[77] * 2]
    for name, filter, selects in selections:
        matching = np.array([i for i in range(len(vectors)) if selects(i)], dtype=int)
        for query in queries:
            distances = np.linalg.norm(vectors[matching] - query, axis=1)
            for limit in (1, 10, 100):
                request = {"query": query.tolist(), "filter": filter, "limit": limit}
                hits = graph.query(**request)
                assert len(hits) == min(limit, len(matching)), (name, limit)
                assert {hit["id"] for hit in hits} <= set(matching.tolist())
                best = np.sort(distances)[:limit]
                right = sum(hit["score"] <= best[-1] + 1e-5 for hit in hits)
                assert right >= 0.9 * len(hits), (name, limit)
                exact = graph.query(**request, params={"exact": True})
                assert [hit["score"] for hit in exact] == pytest.approx(best.tolist(), abs=1e-5)


@pytest.mark.parametrize("filter", [{}, {"must": []}, {"should": []}, {"must_not": []}, {"must": None}], ids=str)
def test_an_empty_clause_is_none(towns: Collection, filter: dict[str, Any]) -> None:
    assert scrolled(towns, filter) == [1, 2, 3, 4, 5]
