"""Queries over HTTP: the right points, in the right order, with the right scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.http import brute_force
from tests.http.client import Collection, Create
from tests.http.running_server import until

DIM = 12
COUNT = 150


def random_vectors(datatype: str, count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    if datatype == "uint8":
        return random.uniform(-20, 300, (count, DIM)).round(2)
    return random.normal(size=(count, DIM)).round(3)


def fill(collection: Collection, vectors: Any, **payload: Any) -> None:
    collection.upsert(*({"id": i, "vector": v.tolist(), "payload": {"i": i}} for i, v in enumerate(vectors)))


@pytest.mark.parametrize("datatype", brute_force.DATATYPES)
@pytest.mark.parametrize("distance", brute_force.DISTANCES)
def test_scores_and_order_are_those_of_a_brute_force_search(create: Create, distance: str, datatype: str) -> None:
    collection = create(vectors={"size": DIM, "distance": distance, "datatype": datatype})
    vectors = random_vectors(datatype, COUNT, seed=1)
    fill(collection, vectors)
    kept = brute_force.stored(distance, datatype, vectors)
    for query in random_vectors(datatype, 5, seed=2):
        expected = brute_force.scores(distance, kept, brute_force.stored(distance, datatype, query[None])[0])
        order = brute_force.ranking(distance, expected)
        hits = collection.query(query=query.tolist(), limit=COUNT, params={"exact": True})
        assert len(hits) == COUNT
        assert [hit["score"] for hit in hits] == pytest.approx(expected[order], rel=1e-3, abs=2e-5)
        by_id = {hit["id"]: hit["score"] for hit in hits}
        assert by_id == pytest.approx(dict(enumerate(expected)), rel=1e-3, abs=2e-5)
        top = collection.query(query=query.tolist(), limit=10)
        assert top == hits[:10]


@pytest.mark.parametrize("datatype", brute_force.DATATYPES)
@pytest.mark.parametrize("distance", brute_force.DISTANCES)
def test_vectors_come_back_as_they_are_kept(create: Create, distance: str, datatype: str) -> None:
    collection = create(vectors={"size": DIM, "distance": distance, "datatype": datatype})
    vectors = random_vectors(datatype, 20, seed=3)
    fill(collection, vectors)
    kept = brute_force.stored(distance, datatype, vectors)
    tolerance = 1e-3 if datatype == "float16" else 1e-6
    for point, expected in zip(collection.all(), kept, strict=True):
        assert point["vector"] == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("distance", brute_force.DISTANCES)
def test_score_threshold_leaves_out_scores_that_are_not_better(create: Create, distance: str) -> None:
    collection = create(vectors={"size": 1, "distance": distance})
    collection.upsert(*({"id": i, "vector": [i]} for i in range(1, 6)))
    hits = collection.query(query=[1])
    threshold = hits[2]["score"]
    kept = collection.query(query=[1], score_threshold=threshold)
    better = [
        hit for hit in hits if (hit["score"] > threshold if distance in ("Cosine", "Dot") else hit["score"] < threshold)
    ]
    assert kept == better
    assert collection.query(query=[1], score_threshold=1e39 if distance in ("Cosine", "Dot") else -1e39) == []
    assert len(collection.query(query=[1], score_threshold=-1e39 if distance in ("Cosine", "Dot") else 1e39)) == 5


def test_a_threshold_equal_to_a_float32_score_leaves_it_out(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert({"id": 1, "vector": [0.19]})
    assert collection.query(query=[1])[0]["score"] == 0.19
    assert collection.query(query=[1], score_threshold=0.19) == []
    assert len(collection.query(query=[1], score_threshold=0.18)) == 1


def test_offset_and_limit_cut_pages_of_one_ranking(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(*({"id": i, "vector": [i]} for i in range(25)))
    whole = collection.query(query=[1], limit=25)
    assert [hit["id"] for hit in whole] == list(range(24, -1, -1))
    assert collection.query(query=[1]) == whole[:10]
    for offset in (0, 1, 10, 24, 25, 10**12):
        assert collection.query(query=[1], limit=7, offset=offset) == whole[offset : offset + 7]


@pytest.mark.parametrize("limit", [999_999_999, 2**31, 2**63, 2**64, 10**30])
def test_a_huge_limit_answers_what_there_is(plain: Collection, limit: int) -> None:
    assert len(plain.query(query=[1, 1, 1, 1], limit=limit)) == 3
    assert len(plain.query(limit=limit)) == 3
    assert len(plain.query(query=[1, 1, 1, 1], limit=limit, offset=limit)) == 0
    assert len(plain.points("POST", "/search", {"vector": [1, 1, 1, 1], "limit": limit})) == 3
    assert len(plain.points("POST", "/scroll", {"limit": limit})["points"]) == 3


def test_a_query_by_id_uses_the_stored_vector_and_leaves_the_point_out(plain: Collection) -> None:
    plain.upsert({"id": 4, "vector": [0.5, 1, 0, 0]})
    by_vector = plain.query(query=[0.5, 1, 0, 0])
    assert plain.query(query=4) == [hit for hit in by_vector if hit["id"] != 4]
    assert [hit["id"] for hit in plain.query(query=4, limit=1)] == [2]
    assert plain.query(query=4, offset=1, limit=1)[0]["id"] == 1
    assert plain.query(query={"nearest": 4}) == plain.query(query=4)
    assert plain.query(query={"nearest": [0.5, 1, 0, 0]}) == by_vector


def test_a_query_by_an_id_that_is_missing_or_has_no_vector_is_refused(named: Collection) -> None:
    missing = {"query": 99, "using": "text"}
    assert named.refusal(404, "POST", "/query", missing) == "Not found: No point with id 99 found"
    named.refusal(400, "POST", "/query", {"query": 2, "using": "image"})


def test_without_a_query_points_come_by_id(plain: Collection) -> None:
    plain.upsert({"id": 0, "vector": [1, 1, 1, 1]})
    assert [hit["id"] for hit in plain.query()] == [0, 1, 2, 3]
    assert [hit["id"] for hit in plain.query(offset=1, limit=2)] == [1, 2]
    assert [hit["id"] for hit in plain.query(query=None, limit=1, with_payload=True)] == [0]
    assert all(hit["score"] == 1.0 for hit in plain.query())


def test_named_vectors_are_searched_by_their_name(named: Collection) -> None:
    assert [(hit["id"], hit["score"]) for hit in named.query(query=[1, 2], using="text")] == [
        (1, 0.0),
        (2, pytest.approx(8**0.5)),
    ]
    assert [hit["id"] for hit in named.query(query=[1, 0, 0, 0], using="image")] == [1]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (True, {"image", "text"}),
        (["image", "text"], {"image", "text"}),
        (["text"], {"text"}),
        ([], set()),
    ],
    ids=str,
)
def test_with_vector_selects_vectors_in_every_read(named: Collection, selector: Any, expected: set[str]) -> None:
    (hit,) = named.query(query=[1, 0, 0, 0], using="image", with_vector=selector)
    (record,) = named.points("POST", "", {"ids": [1], "with_vector": selector, "with_payload": False})
    page = named.points("POST", "/scroll", {"limit": 1, "with_vector": selector, "with_payload": False})
    assert set(hit["vector"]) == expected
    assert hit["vector"] == record["vector"] == page["points"][0]["vector"]


def test_an_unknown_vector_is_refused_wherever_vectors_are_asked_for(named: Collection) -> None:
    asked = {"with_vector": ["text", "smell"]}
    for path, body in (("/query", {}), ("", {"ids": [1]}), ("/scroll", {}), ("/query/groups", {"group_by": "x"})):
        assert named.refusal(400, "POST", path, body | asked) == "Wrong input: Not existing vector name error: smell"


def test_without_with_vector_there_is_no_key(named: Collection) -> None:
    assert "vector" not in named.query(query=[1, 0, 0, 0], using="image")[0]
    assert "vector" not in named.points("POST", "/scroll", {"with_vector": False})["points"][0]


def test_a_batch_answers_each_query_as_alone_and_in_order(plain: Collection) -> None:
    queries: list[dict[str, Any]] = [
        {"query": [1, 0, 0, 0], "limit": 2, "with_payload": True},
        {"query": 2, "with_vector": True},
        {"limit": 1},
    ]
    answers = plain.points("POST", "/query/batch", {"searches": queries})
    assert [answer["points"] for answer in answers] == [plain.query(**query) for query in queries]
    assert plain.points("POST", "/query/batch", {"searches": []}) == []


def test_one_wrong_query_refuses_the_batch(plain: Collection) -> None:
    good = {"query": [1, 0, 0, 0]}
    message = plain.refusal(400, "POST", "/query/batch", {"searches": [good, {"query": [1, 0]}]})
    assert message == "Wrong input: Vector dimension error: expected dim: 4, got 2"
    plain.refusal(422, "POST", "/query/batch", {"searches": [good, {"query": [1, 0, 0, 0], "limit": 0}]})
    plain.refusal(404, "POST", "/query/batch", {"searches": [good, {"query": 99}]})


def test_the_search_of_older_clients_is_the_query_of_newer_ones(named: Collection) -> None:
    request = {"vector": {"name": "text", "vector": [1, 2]}, "limit": 5, "with_payload": True, "with_vector": ["text"]}
    hits = named.query(query=[1, 2], using="text", limit=5, with_payload=True, with_vector=["text"])
    assert named.points("POST", "/search", request) == hits
    assert named.points("POST", "/search", {**request, "offset": 1}) == hits[1:]
    assert named.points("POST", "/search", {"vector": request["vector"], "top": 1}) == [
        {key: hits[0][key] for key in ("id", "version", "score")}
    ]
    assert named.points("POST", "/search/batch", {"searches": [request, request]}) == [hits, hits]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"vector": [1, 2, 3, 4]}),
        (422, {"vector": [1, 2, 3, 4], "limit": 0}),
        (422, {"vector": [], "limit": 1}),
        (400, {"vector": [1, 2, 3], "limit": 1}),
        (400, {"limit": 1}),
        (400, {"vector": {"name": "x", "vector": [1, 2, 3, 4]}, "limit": 1}),
        (400, {"vector": "1", "limit": 1}),
    ],
    ids=str,
)
def test_a_wrong_search_is_refused(plain: Collection, status: int, body: dict[str, Any]) -> None:
    plain.refusal(status, "POST", "/search", body)


@pytest.mark.parametrize("distance", brute_force.DISTANCES)
def test_scores_beyond_float32_are_its_largest_numbers(create: Create, distance: str) -> None:
    """JSON has no infinity; a null in its place would break every client."""
    collection = create(vectors={"size": 4, "distance": distance})
    big = 3e38
    collection.upsert(
        {"id": 1, "vector": [big] * 4}, {"id": 2, "vector": [-big] * 4}, {"id": 3, "vector": [big, -big, big, -big]}
    )
    collection.change("POST", "/delete", {"points": [2]})
    for query in ([big] * 4, [-big] * 4, [1, 1, 1, 1]):
        hits = collection.query(query=query)
        assert {hit["id"] for hit in hits} == {1, 3}
        assert all(abs(hit["score"]) <= 3.4028236e38 for hit in hits)


def test_search_goes_through_the_graph_once_the_collection_is_green(create: Create) -> None:
    """Above ``indexing_threshold``, 1 KiB here, a graph is built; exact search and the graph then agree."""
    collection = create(
        vectors={"size": 32, "distance": "Cosine"},
        optimizers_config={"indexing_threshold": 1},
        hnsw_config={"full_scan_threshold": 10},
    )
    random = np.random.default_rng(7)
    vectors = random.normal(size=(2000, 32)).round(3)
    fill(collection, vectors)
    wait_green(collection)
    assert collection.info()["indexed_vectors_count"] == 2000
    found = total = 0
    for query in random.normal(size=(20, 32)).round(3).tolist():
        exact = [hit["id"] for hit in collection.query(query=query, params={"exact": True})]
        near = [hit["id"] for hit in collection.query(query=query, params={"hnsw_ef": 200})]
        found, total = found + len(set(exact) & set(near)), total + len(exact)
    assert found / total >= 0.98
    collection.change("POST", "/delete", {"points": list(range(1000))})
    collection.upsert({"id": 1999, "vector": vectors[0].tolist()})
    hits = collection.query(query=vectors[0].tolist(), limit=2000)
    assert len({hit["id"] for hit in hits}) == len(hits) == 1000
    assert hits[0]["id"] == 1999
    assert min(hit["id"] for hit in hits) == 1000


def wait_green(collection: Collection) -> None:
    until(lambda: collection.info()["status"] == "green", deadline_s=60)
