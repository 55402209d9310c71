"""Sparse vectors over HTTP: stored beside dense ones, validated, answered sorted; and vectors that come and go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Client, Collection, Create

DENSE = {"d": {"size": 2, "distance": "Dot"}}


@pytest.fixture
def mixed(create: Create) -> Collection:
    """A dense vector `d` and a sparse one `s`. Point 2 has no sparse vector, point 3 no dense one."""
    collection = create(vectors=DENSE, sparse_vectors={"s": {}})
    collection.upsert(
        {"id": 1, "vector": {"d": [1, 2], "s": {"indices": [7, 3], "values": [0.7, 0.3]}}},
        {"id": 2, "vector": {"d": [3, 4]}},
        {"id": 3, "vector": {"s": {"indices": [4294967295], "values": [1.5]}}},
    )
    return collection


def test_a_sparse_vector_is_answered_sorted_by_index(mixed: Collection) -> None:
    assert mixed.get(1)["vector"] == {"d": [1.0, 2.0], "s": {"indices": [3, 7], "values": [0.3, 0.7]}}
    assert mixed.get(3)["vector"] == {"s": {"indices": [4294967295], "values": [1.5]}}
    only_sparse = mixed.points("POST", "", {"ids": [1, 2], "with_vector": ["s"], "with_payload": False})
    assert only_sparse == [
        {"id": 1, "vector": {"s": {"indices": [3, 7], "values": [0.3, 0.7]}}},
        {"id": 2, "vector": {}},
    ]


def test_points_are_filtered_by_having_a_sparse_vector_beside_fields_without_an_index(mixed: Collection) -> None:
    filter = {"should": [{"has_vector": "s"}, {"key": "a", "match": {"value": 1}}]}
    assert mixed.points("POST", "/count", {"filter": filter}) == {"count": 2}


def test_an_empty_sparse_vector_is_kept_and_never_found(mixed: Collection) -> None:
    mixed.upsert({"id": 4, "vector": {"s": {"indices": [], "values": []}}})
    assert mixed.get(4)["vector"] == {"s": {"indices": [], "values": []}}
    found = mixed.query(query={"indices": [3, 7, 4294967295], "values": [1, 1, 1]}, using="s")
    assert [hit["id"] for hit in found] == [3, 1]


def test_one_vector_is_written_and_deleted_without_the_other(mixed: Collection) -> None:
    mixed.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"s": {"indices": [9], "values": [9]}}}]})
    assert mixed.get(1)["vector"] == {"d": [1.0, 2.0], "s": {"indices": [9], "values": [9.0]}}
    mixed.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"d": [5, 6]}}]})
    assert mixed.get(1)["vector"] == {"d": [5.0, 6.0], "s": {"indices": [9], "values": [9.0]}}
    mixed.change("POST", "/vectors/delete", {"points": [1], "vector": ["s"]})
    assert mixed.get(1)["vector"] == {"d": [5.0, 6.0]}
    assert mixed.points("POST", "/count", {"filter": {"must": [{"has_vector": "s"}]}}) == {"count": 1}


@pytest.mark.parametrize(
    ("vector", "status", "complaint"),
    [
        ({"indices": [1, 1], "values": [1, 2]}, 422, "unique"),
        ({"indices": [1, 2], "values": [1]}, 422, "same length"),
        ({"indices": [-1], "values": [1]}, 400, "32 bits"),
        ({"indices": [2**32], "values": [1]}, 400, "32 bits"),
        ({"indices": [1], "values": [1e39]}, 400, "finite"),
        ({"indices": [1.5], "values": [1]}, 400, "numbers"),
        ({"indices": [1]}, 400, "sparse vector"),
        ([1.0, 2.0], 400, "sparse vector"),
    ],
)
def test_a_wrong_sparse_vector_is_refused_and_changes_nothing(
    mixed: Collection, vector: Any, status: int, complaint: str
) -> None:
    message = mixed.refusal(status, "PUT", "", {"points": [{"id": 9, "vector": {"s": vector}}]})
    assert complaint in message
    assert mixed.count() == 3


def test_a_sparse_vector_under_a_dense_name_is_refused(mixed: Collection) -> None:
    sparse = {"indices": [1], "values": [1]}
    mixed.refusal(400, "PUT", "", {"points": [{"id": 9, "vector": {"d": sparse}}]})
    assert mixed.count() == 3


def test_a_vector_is_added_to_a_living_collection_and_removed_again(client: Client, mixed: Collection) -> None:
    path = f"{mixed.path}/vectors/extra"
    client.result("PUT", path, {"dense": {"size": 3, "distance": "Dot"}}, wait="true")
    mixed.change("PUT", "/vectors", {"points": [{"id": 2, "vector": {"extra": [1, 2, 3]}}]})
    assert mixed.get(2)["vector"] == {"d": [3.0, 4.0], "extra": [1.0, 2.0, 3.0]}
    assert [hit["id"] for hit in mixed.query(query=[1, 1, 1], using="extra")] == [2]
    client.result("DELETE", path, wait="true")
    assert mixed.get(2)["vector"] == {"d": [3.0, 4.0]}
    assert "extra" not in client.result("GET", mixed.path)["config"]["params"]["vectors"]
    mixed.refusal(400, "POST", "/query", {"query": [1, 1, 1], "using": "extra"})
    client.result("PUT", path, {"sparse": {"modifier": "idf"}}, wait="true")
    assert client.result("GET", mixed.path)["config"]["params"]["sparse_vectors"]["extra"] == {"modifier": "idf"}
    assert mixed.get(2)["vector"] == {"d": [3.0, 4.0]}
    client.refusal(400, "PUT", path, {"dense": {"size": 3, "distance": "Dot"}})
    client.refusal(400, "DELETE", f"{mixed.path}/vectors/never")


def test_multivectors_are_kept_whole(create: Create) -> None:
    collection = create(vectors={"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}})
    collection.upsert({"id": 1, "vector": {"m": [[1, 2], [3, 4]]}}, {"id": 2, "vector": {"m": [[5, 6]]}})
    assert collection.get(1)["vector"] == {"m": [[1.0, 2.0], [3.0, 4.0]]}
    collection.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"m": [[7, 8], [9, 10], [11, 12]]}}]})
    assert collection.get(1)["vector"] == {"m": [[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]}
    assert collection.get(2)["vector"] == {"m": [[5.0, 6.0]]}
    collection.refusal(400, "PUT", "", {"points": [{"id": 3, "vector": {"m": [[1, 2, 3]]}}]})
    collection.refusal(400, "PUT", "", {"points": [{"id": 3, "vector": {"m": []}}]})
    assert collection.count() == 2
