"""Queries that cannot work: each gets its status and a message that names what is wrong, and never a 500."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Client, Collection, Create


@pytest.fixture
def points(create: Create) -> Collection:
    collection = create(vectors={"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Euclid"}})
    collection.upsert(
        {"id": 1, "vector": {"a": [1, 0], "b": [1, 2, 3]}, "payload": {"n": 1, "city": "Rome", "when": "2020-01-01"}},
        {"id": 2, "vector": {"a": [0, 1]}, "payload": {"n": "two"}},
        {"id": 3, "vector": {"a": [1, 1]}},
    )
    return collection


NEAR = {"query": [1, 0], "using": "a"}
ONE = {"prefetch": [{**NEAR, "limit": 1}]}


def deep(levels: int) -> dict[str, Any]:
    stage: dict[str, Any] = dict(NEAR)
    for _ in range(levels):
        stage = {"prefetch": [stage], **NEAR}
    return stage


def formula(expression: Any, **more: Any) -> dict[str, Any]:
    return {**ONE, "query": {"formula": expression, **more}}


def nested_sum(levels: int) -> Any:
    expression: Any = 1
    for _ in range(levels):
        expression = {"sum": [expression]}
    return expression


@pytest.mark.parametrize(
    ("status", "names", "request_"),
    [
        (400, "prefetch", {"query": {"fusion": "rrf"}}),
        (400, "prefetch", {"query": {"rrf": {}}}),
        (400, "prefetch", {"query": {"formula": "$score"}}),
        (400, "prefetch", {"query": {"fusion": "rrf"}, "prefetch": []}),
        (400, "query", ONE),
        (422, "recommend", {"query": {"recommend": {}}, "using": "a"}),
        (422, "recommend", {"query": {"recommend": {"positive": [], "negative": []}}, "using": "a"}),
        (400, "positive", {"query": {"recommend": {"negative": [1]}}, "using": "a"}),
        (400, "strategy", {"query": {"recommend": {"positive": [1], "strategy": "best"}}, "using": "a"}),
        (400, "x", {"query": [1, 0], "using": "x"}),
        (400, "name", {"query": [1, 0]}),
        (404, "9", {"query": 9, "using": "a"}),
        (404, "9", {"query": {"recommend": {"positive": [1, 9]}}, "using": "a"}),
        (404, "9", {"query": {"context": [{"positive": 1, "negative": 9}]}, "using": "a"}),
        (404, "9", {"prefetch": {"query": 9, "using": "a"}, "query": {"fusion": "rrf"}}),
        (400, "b", {"query": 2, "using": "b"}),
        (400, "expected dim: 2, got 3", {"query": [1, 2, 3], "using": "a"}),
        (400, "expected dim: 2, got 1", {"query": {"recommend": {"positive": [1, [1]]}}, "using": "a"}),
        (400, "expected dim: 2, got 3", {"query": {"discover": {"target": [1, 2, 3], "context": []}}, "using": "a"}),
        (400, "context", {"query": {"discover": {"target": 1}}, "using": "a"}),
        (400, "negative", {"query": {"context": [{"positive": 1}]}, "using": "a"}),
        (422, "limit", {**NEAR, "limit": 0}),
        (422, "limit", {"prefetch": {**NEAR, "limit": 0}, "query": {"fusion": "rrf"}}),
        (422, "query", {"query": [], "using": "a"}),
        (422, "diversity", {"query": {"nearest": [1, 0], "mmr": {"diversity": 1.5}}, "using": "a"}),
        (422, "candidates_limit", {"query": {"nearest": [1, 0], "mmr": {"candidates_limit": 16385}}, "using": "a"}),
        (400, "mmr", {"query": {"nearest": [1, 0], "mmr": 3}, "using": "a"}),
        (422, "k", {**ONE, "query": {"rrf": {"k": 0}}}),
        (400, "weights", {**ONE, "query": {"rrf": {"weights": [1, 2]}}}),
        (400, "fusion", {**ONE, "query": {"fusion": "sum"}}),
        (400, "sample", {"query": {"sample": "first"}}),
        (400, "order_by", {"query": {"order_by": "n"}}),
        (400, "start_from", {"query": {"order_by": {"key": "i", "start_from": "yesterday"}}}),
        (400, "nearest", {"query": {"farthest": [1, 0]}, "using": "a"}),
        (400, "query", {"query": True, "using": "a"}),
        (400, "strategy", {"query": {"relevance_feedback": {"target": 1, "feedback": []}}, "using": "a"}),
        (
            422,
            "naive.b",
            {
                "query": {
                    "relevance_feedback": {
                        "target": 1,
                        "feedback": [],
                        "strategy": {"naive": {"a": 1, "b": -1, "c": 1}},
                    }
                },
                "using": "a",
            },
        ),
        (400, "image", {"query": {"image": "x", "model": "y"}, "using": "a"}),
        (400, "prefetch", deep(70)),
        (400, "prefetch", {"prefetch": [[NEAR]], "query": {"fusion": "rrf"}}),
        (404, "nowhere", {"query": 1, "using": "a", "lookup_from": {"collection": "nowhere"}}),
        (
            404,
            "nowhere",
            {"prefetch": [{"query": 1, "using": "a", "lookup_from": {"collection": "nowhere"}}], **NEAR},
        ),
        (400, "lookup_from", {"query": 1, "using": "a", "lookup_from": {}}),
        (400, "city", formula("city")),
        (400, "missing", formula("missing")),
        (400, "$foo", formula("$foo")),
        (400, "$score[x]", formula("$score[x]")),
        (400, "JSON path", formula("a b")),
        (400, "$score", formula("$score", defaults={"$score": "x"})),
        (400, "div(1, 0)", formula({"div": {"left": 1, "right": 0}})),
        (400, "right", formula({"div": {"left": 1}})),
        (400, "sqrt(-1)", formula({"sqrt": -1})),
        (400, "ln(0)", formula({"ln": 0})),
        (400, "exp(1000)", formula({"exp": 1000})),
        (400, "pow(-1, 0.5)", formula({"pow": {"base": -1, "exponent": 0.5}})),
        (400, "non-finite", formula({"mult": [1e300, 1e300]})),
        (400, "non-finite", formula(1e39)),
        (400, "midpoint", formula({"lin_decay": {"x": 1, "midpoint": 1}})),
        (400, "scale", formula({"exp_decay": {"x": 1, "scale": 0}})),
        (400, "datetime", formula({"datetime": "yesterday"})),
        (400, "city", formula({"datetime_key": "city"}, defaults={"city": "x"})),
        (400, "city", formula({"geo_distance": {"origin": {"lat": 0, "lon": 0}, "to": "city"}})),
        (400, "lat", formula({"geo_distance": {"origin": {"lat": 99, "lon": 0}, "to": "city"}})),
        (400, "sum", formula({"sum": 3})),
        (400, "sum[1]", formula({"sum": [1, True]})),
        (400, "foo", formula({"foo": 1})),
        (400, "formula", formula(nested_sum(70))),
        (400, "formula", {**ONE, "query": {"formula": None}}),
    ],
    ids=str,
)
def test_a_query_that_cannot_work_is_refused(
    points: Collection, status: int, names: str, request_: dict[str, Any]
) -> None:
    if "start_from" in names:
        points.client.result("PUT", f"{points.path}/index", {"field_name": "i", "field_schema": "integer"}, wait="true")
    with points.unchanged():
        message = points.refusal(status, "POST", "/query", request_)
        assert names in message
        assert points.refusal(status, "POST", "/query/batch", {"searches": [NEAR, request_]})
        if "limit" not in request_:
            assert points.refusal(status, "POST", "/query/groups", {**request_, "group_by": "n"})


def test_prefetches_fifty_deep_are_answered(points: Collection) -> None:
    assert [hit["id"] for hit in points.query(**deep(50))] == [1, 3, 2]
    body = b'{"prefetch":' * 5000 + b"{}" + b"}" * 5000
    assert points.refusal(400, "POST", "/query", body)


def test_a_formula_fifty_deep_is_answered(points: Collection) -> None:
    assert [hit["score"] for hit in points.query(**formula(nested_sum(50)))] == [1.0]


@pytest.mark.parametrize(
    ("status", "names", "request_"),
    [
        (400, "group_by", NEAR),
        (422, "group_by", {**NEAR, "group_by": ""}),
        (400, "JSON path", {**NEAR, "group_by": "a b"}),
        (422, "limit", {**NEAR, "group_by": "n", "limit": 0}),
        (422, "group_size", {**NEAR, "group_by": "n", "group_size": 0}),
        (404, "nowhere", {**NEAR, "group_by": "n", "with_lookup": "nowhere"}),
        (404, "nowhere", {**NEAR, "group_by": "n", "with_lookup": {"collection": "nowhere"}}),
        (400, "with_lookup", {**NEAR, "group_by": "n", "with_lookup": 3}),
    ],
    ids=str,
)
def test_groups_that_cannot_be_made_are_refused(
    points: Collection, status: int, names: str, request_: dict[str, Any]
) -> None:
    assert names in points.refusal(status, "POST", "/query/groups", request_)


@pytest.mark.parametrize("kind", ["pairs", "offsets"])
@pytest.mark.parametrize(
    ("status", "names", "request_"),
    [
        (422, "sample", {"sample": 1, "using": "a"}),
        (422, "limit", {"limit": 0, "using": "a"}),
        (400, "x", {"using": "x"}),
        (400, "name", {}),
        (400, "shard_key", {"using": "a", "shard_key": "x"}),
    ],
    ids=str,
)
def test_a_wrong_matrix_is_refused(
    points: Collection, kind: str, status: int, names: str, request_: dict[str, Any]
) -> None:
    assert names in points.refusal(status, "POST", f"/search/matrix/{kind}", request_)


@pytest.mark.parametrize(
    ("path", "status", "names", "request_"),
    [
        ("/recommend", 400, "limit", {"positive": [1], "using": "a"}),
        ("/recommend", 422, "recommend", {"using": "a", "limit": 3}),
        ("/recommend", 404, "9", {"positive": [9], "using": "a", "limit": 3}),
        ("/recommend", 422, "limit", {"positive": [1], "using": "a", "limit": 0}),
        ("/recommend/groups", 400, "group_by", {"positive": [1], "using": "a", "limit": 3, "group_size": 1}),
        ("/search/groups", 400, "group_size", {"vector": {"name": "a", "vector": [1, 0]}, "limit": 3, "group_by": "n"}),
        ("/search/groups", 422, "vector", {"vector": [], "limit": 3, "group_by": "n", "group_size": 1}),
        ("/discover", 400, "context", {"using": "a", "limit": 3}),
        ("/discover", 400, "negative", {"using": "a", "limit": 3, "context": [{"positive": 1}]}),
        ("/discover", 404, "9", {"using": "a", "limit": 3, "target": 9}),
        ("/discover/batch", 400, "searches", {}),
        (
            "/recommend/batch",
            404,
            "nowhere",
            {"searches": [{"positive": [1], "using": "a", "limit": 1, "lookup_from": {"collection": "nowhere"}}]},
        ),
    ],
    ids=str,
)
def test_a_wrong_request_of_an_older_client_is_refused(
    points: Collection, path: str, status: int, names: str, request_: dict[str, Any]
) -> None:
    assert names in points.refusal(status, "POST", path, request_)


@pytest.mark.parametrize("path", ["/query", "/query/batch", "/query/groups", "/search/matrix/pairs", "/discover"])
def test_a_missing_collection_is_not_found(client: Client, path: str) -> None:
    body = {"searches": [], "group_by": "n", "limit": 1, "target": [1]}
    assert "nowhere" in client.refusal(404, "POST", f"/collections/nowhere/points{path}", body)


def test_more_feedback_than_can_be_paired_is_refused(points: Collection) -> None:
    feedback = [{"example": 1, "score": 1}] * 4097
    query = {"target": [1, 0], "feedback": feedback, "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}
    message = points.refusal(422, "POST", "/query", {"query": {"relevance_feedback": query}, "using": "a"})
    assert "query.relevance_feedback.feedback" in message
