"""Collections over HTTP: created, described, changed, deleted, copied."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.http.client import UNNAMED_4, Client, Collection, Create

DOT_4: dict[str, Any] = {"size": 4, "distance": "Dot"}

# Everything that a client can say about a collection, in the form in which it is reported back.
FULL: dict[str, Any] = {
    "vectors": {
        "image": {
            "size": 8,
            "distance": "Cosine",
            "hnsw_config": {"m": 24, "ef_construct": 64, "full_scan_threshold": 20, "payload_m": 8, "on_disk": True},
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
            "on_disk": True,
            "datatype": "float16",
        },
        "text": {"size": 3, "distance": "Manhattan", "datatype": "uint8"},
    },
    "sparse_vectors": {"words": {"index": {"on_disk": True, "full_scan_threshold": 100}, "modifier": "idf"}},
    "hnsw_config": {"m": 12, "ef_construct": 50, "full_scan_threshold": 11, "max_indexing_threads": 1},
    "optimizers_config": {
        "deleted_threshold": 0.5,
        "vacuum_min_vector_number": 200,
        "default_segment_number": 3,
        "max_segment_size": 5000,
        "memmap_threshold": 7000,
        "indexing_threshold": 9000,
        "flush_interval_sec": 7,
        "max_optimization_threads": 1,
    },
    "wal_config": {"wal_capacity_mb": 8, "wal_segments_ahead": 2},
    "quantization_config": {"binary": {"always_ram": False}},
    "on_disk_payload": False,
    "metadata": {"owner": "test", "nested": {"list": [1, None]}},
    "strict_mode_config": {"enabled": False, "max_query_limit": 1000},
}


def assert_contains(actual: Any, expected: Any, place: str = "config") -> None:
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in actual, f"{place}.{key}"
            assert_contains(actual[key], value, f"{place}.{key}")
    else:
        assert actual == expected, place


def test_a_new_collection_is_green_and_empty(create: Create) -> None:
    info = create().info()
    assert info["status"] == "green"
    assert info["optimizer_status"] == "ok"
    assert (info["points_count"], info["indexed_vectors_count"], info["payload_schema"]) == (0, 0, {})
    assert info["segments_count"] >= 1
    assert info["config"]["params"] == {
        "vectors": DOT_4,
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": True,
    }


def test_defaults_are_reported_as_qdrant_reports_them(create: Create) -> None:
    config = create().info()["config"]
    assert config["hnsw_config"] == {
        "m": 16,
        "ef_construct": 100,
        "full_scan_threshold": 10000,
        "max_indexing_threads": 0,
    }
    assert_contains(
        config["optimizer_config"],
        {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0},
    )
    assert config["quantization_config"] is None
    assert {"strict_mode_config", "metadata"}.isdisjoint(config)


def test_every_section_of_the_configuration_is_reported_back(create: Create) -> None:
    config = create(**FULL).info()["config"]
    assert_contains(config["params"]["vectors"], FULL["vectors"])
    assert_contains(config["params"]["sparse_vectors"], FULL["sparse_vectors"])
    assert config["params"]["on_disk_payload"] is False
    assert_contains(config["hnsw_config"], FULL["hnsw_config"])
    assert_contains(config["optimizer_config"], FULL["optimizers_config"])
    assert_contains(config["wal_config"], FULL["wal_config"])
    assert config["quantization_config"] == FULL["quantization_config"]
    assert config["metadata"] == FULL["metadata"]
    assert_contains(config["strict_mode_config"], FULL["strict_mode_config"])


def test_what_was_not_given_for_a_vector_is_not_reported(create: Create) -> None:
    collection = create(vectors={"a": DOT_4})
    assert collection.info()["config"]["params"]["vectors"] == {"a": DOT_4}


def test_a_collection_may_have_no_vectors_at_all(create: Create) -> None:
    collection = create(vectors={})
    collection.upsert({"id": 1, "vector": {}, "payload": {"a": 1}})
    assert collection.info()["config"]["params"]["vectors"] == {}
    assert collection.all() == [{"id": 1, "payload": {"a": 1}, "vector": {}}]


def test_collections_are_listed_and_exist_until_they_are_deleted(client: Client) -> None:
    client.create("listed")
    assert {"name": "listed"} in client.result("GET", "/collections")["collections"]
    assert client.result("GET", "/collections/listed/exists") == {"exists": True}
    assert client.result("DELETE", "/collections/listed") is True
    assert {"name": "listed"} not in client.result("GET", "/collections")["collections"]
    assert client.result("GET", "/collections/listed/exists") == {"exists": False}
    assert client.refusal(404, "GET", "/collections/listed") == "Not found: Collection `listed` doesn't exist!"


def test_deleting_a_missing_collection_is_false_and_no_error(client: Client) -> None:
    assert client.result("DELETE", "/collections/never-was") is False


def test_a_deleted_name_can_be_used_again_for_something_else(client: Client, create: Create) -> None:
    first = client.create("again")
    first.upsert({"id": 1, "vector": [1, 2, 3, 4]})
    client.result("DELETE", "/collections/again")
    second = create("again", vectors={"size": 2, "distance": "Euclid"})
    assert second.count() == 0
    second.upsert({"id": 1, "vector": [1, 2]})
    assert second.get(1)["vector"] == [1.0, 2.0]


def test_creating_an_existing_collection_is_a_conflict_and_changes_nothing(plain: Collection) -> None:
    with plain.unchanged():
        message = plain.client.refusal(409, "PUT", plain.path, {"vectors": {"size": 9, "distance": "Cosine"}})
    assert message == f"Wrong input: Collection `{plain.name}` already exists!"


@pytest.mark.parametrize(
    ("status", "config", "part"),
    [
        (422, {"vectors": {"size": 0, "distance": "Dot"}}, "[vectors.size: value 0 invalid, must be from 1 to 65536]"),
        (422, {"vectors": {"size": 65537, "distance": "Dot"}}, "vectors.size: value 65537 invalid"),
        (400, {"vectors": {"size": "4", "distance": "Dot"}}, "Format error in JSON body"),
        (400, {"vectors": {"size": 4.5, "distance": "Dot"}}, "Format error in JSON body"),
        (400, {"vectors": {"size": 4, "distance": "dot"}}, "Format error in JSON body"),
        (400, {"vectors": {"size": 4}}, "Format error in JSON body"),
        (400, {"vectors": 4}, "Format error in JSON body"),
        (400, {"vectors": {"a": {"size": 4}}}, "Format error in JSON body"),
        (400, {"vectors": DOT_4 | {"datatype": "float64"}}, "Format error in JSON body"),
        (422, {"vectors": {"a/b": DOT_4}}, "Validation error in JSON body"),
        (422, {"vectors": {"\u0000": DOT_4}}, "Validation error in JSON body"),
        (422, UNNAMED_4 | {"hnsw_config": {"ef_construct": 3}}, "hnsw_config.ef_construct: value 3 invalid"),
        (400, UNNAMED_4 | {"hnsw_config": {"m": -1}}, "Format error in JSON body"),
        (422, UNNAMED_4 | {"optimizers_config": {"deleted_threshold": 1.5}}, "deleted_threshold: value 1.5 invalid"),
        (422, UNNAMED_4 | {"optimizers_config": {"vacuum_min_vector_number": 5}}, "vacuum_min_vector_number"),
        (422, UNNAMED_4 | {"wal_config": {"wal_capacity_mb": 0}}, "wal_config.wal_capacity_mb: value 0 invalid"),
        (422, UNNAMED_4 | {"shard_number": 0}, "shard_number: value 0 invalid"),
        (400, UNNAMED_4 | {"shard_number": 2}, "shard_number 2"),
        (400, UNNAMED_4 | {"replication_factor": 2}, "replication_factor 2"),
        (400, UNNAMED_4 | {"write_consistency_factor": 2}, "write_consistency_factor 2"),
        (400, UNNAMED_4 | {"sharding_method": "custom"}, "sharding_method `custom`"),
        (400, UNNAMED_4 | {"quantization_config": {"scalar": {"type": "int4"}}}, "Format error in JSON body"),
        (422, UNNAMED_4 | {"quantization_config": {"scalar": {"type": "int8", "quantile": 0.1}}}, "quantile"),
        (400, {"vectors": {"a": DOT_4}, "sparse_vectors": {"a": {}}}, "`a`"),
    ],
)
def test_a_wrong_configuration_is_refused_by_its_place_and_makes_nothing(
    client: Client, status: int, config: dict[str, Any], part: str
) -> None:
    assert part in client.refusal(status, "PUT", "/collections/refused", config)
    assert client.result("GET", "/collections/refused/exists") == {"exists": False}


def test_patch_changes_parameters_of_a_living_collection(plain: Collection) -> None:
    before = plain.all()
    patch = {
        "vectors": {"": {"hnsw_config": {"m": 20}, "on_disk": True}},
        "hnsw_config": {"ef_construct": 123},
        "optimizers_config": {"indexing_threshold": 777, "max_optimization_threads": "auto"},
        "params": {"on_disk_payload": False, "read_fan_out_factor": 1},
        "quantization_config": {"scalar": {"type": "int8"}},
        "metadata": {"a": 1, "b": 2},
    }
    assert plain.client.result("PATCH", plain.path, patch) is True
    config = plain.info()["config"]
    assert config["params"]["vectors"] == DOT_4 | {"hnsw_config": {"m": 20}, "on_disk": True}
    assert config["params"]["on_disk_payload"] is False
    assert config["params"]["read_fan_out_factor"] == 1
    assert config["hnsw_config"]["ef_construct"] == 123
    assert config["hnsw_config"]["m"] == 16
    assert config["optimizer_config"]["indexing_threshold"] == 777
    assert config["quantization_config"] == {"scalar": {"type": "int8"}}
    plain.client.result("PATCH", plain.path, {"quantization_config": "Disabled", "metadata": {"a": None}})
    config = plain.info()["config"]
    assert config["quantization_config"] is None
    assert config["metadata"] == {"b": 2}
    assert plain.all() == before


def test_an_empty_patch_changes_nothing(plain: Collection) -> None:
    with plain.unchanged():
        assert plain.client.result("PATCH", plain.path, {}) is True


@pytest.mark.parametrize(
    ("status", "patch", "message"),
    [
        (400, {"vectors": {"nope": {"on_disk": True}}}, "Wrong input: Not existing vector name error: nope"),
        (422, {"hnsw_config": {"ef_construct": 1}}, "hnsw_config.ef_construct: value 1 invalid"),
        (422, {"optimizers_config": {"deleted_threshold": -0.5}}, "deleted_threshold: value -0.5 invalid"),
        (400, {"params": {"replication_factor": 3}}, "replication_factor 3"),
        (400, {"metadata": [1]}, "Format error in JSON body"),
        (400, {"optimizers_config": {"max_optimization_threads": "many"}}, "Format error in JSON body"),
    ],
)
def test_a_wrong_patch_is_refused_and_changes_nothing(
    plain: Collection, status: int, patch: dict[str, Any], message: str
) -> None:
    with plain.unchanged():
        assert message in plain.client.refusal(status, "PATCH", plain.path, patch)


def test_patch_of_a_missing_collection_is_404(client: Client) -> None:
    message = client.refusal(404, "PATCH", "/collections/never-was", {"metadata": {"a": 1}})
    assert message == "Not found: Collection `never-was` doesn't exist!"


def test_init_from_copies_every_point(named: Collection, create: Create) -> None:
    vectors = named.info()["config"]["params"]["vectors"]
    copy = create(vectors=vectors, init_from={"collection": named.name})
    assert copy.all() == named.all()
    copy.change("POST", "/delete", {"points": [1]})
    assert named.count() == 3


def test_init_from_more_points_than_one_page_keeps_them_all(create: Create) -> None:
    source = create()
    source.upsert(*({"id": i, "vector": [i, 1, 2, 3], "payload": {"i": i}} for i in range(1203)))
    copy = create(**UNNAMED_4, init_from={"collection": source.name})
    assert copy.all() == source.all()


def test_init_from_normalises_for_the_new_distance(create: Create) -> None:
    source = create()
    source.upsert({"id": 1, "vector": [3, 0, 4, 0]})
    copy = create(vectors={"size": 4, "distance": "Cosine"}, init_from={"collection": source.name})
    assert copy.get(1)["vector"] == pytest.approx([0.6, 0, 0.8, 0])


def test_init_from_copies_vectors_of_every_kind(create: Create) -> None:
    kinds: dict[str, Any] = {
        "vectors": {"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"s": {}},
    }
    source = create(**kinds)
    source.upsert(
        {"id": 1, "vector": {"m": [[1, 2], [3, 4], [5, 6]], "s": {"indices": [3, 9], "values": [0.5, 1.5]}}},
        {"id": 2, "vector": {"m": [[7, 8]]}},
        {"id": 3, "vector": {"s": {"indices": [1], "values": [2]}}},
    )
    assert create(**kinds, init_from={"collection": source.name}).all() == source.all()


def test_init_from_another_kind_of_vector_makes_nothing(client: Client, create: Create) -> None:
    source = create(sparse_vectors={"v": {}}, vectors={})
    body = {"vectors": {"v": {"size": 2, "distance": "Dot"}}, "init_from": {"collection": source.name}}
    assert "is of another kind" in client.refusal(400, "PUT", "/collections/copied", body)


def test_a_name_is_taken_while_its_collection_is_filled(client: Client, create: Create) -> None:
    """Of clients that create one at the same time one makes it; nobody gives the name to an alias meanwhile."""
    source = create()
    source.upsert(*({"id": i, "vector": [i, 1, 2, 3]} for i in range(3_000)))
    body = {**UNNAMED_4, "init_from": {"collection": source.name}}
    alias = {"actions": [{"create_alias": {"collection_name": source.name, "alias_name": "filled"}}]}
    try:
        with ThreadPoolExecutor(4) as clients:
            making = [clients.submit(client.send, "PUT", "/collections/filled", body) for _ in range(3)]
            naming = clients.submit(client.send, "POST", "/collections/aliases", alias)
        statuses = sorted(made.result().status_code for made in making)
        if naming.result().status_code == 200:  # it came first
            assert statuses == [400, 400, 400]
        else:
            assert (statuses, naming.result().status_code) == ([200, 409, 409], 409)
            assert client.result("POST", "/collections/filled/points/count", {})["count"] == 3_000
    finally:
        client.send("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "filled"}}]})
        client.send("DELETE", "/collections/filled")


def test_init_from_what_is_not_there_or_does_not_fit_makes_nothing(client: Client, plain: Collection) -> None:
    with plain.unchanged():
        body: dict[str, Any] = {**UNNAMED_4, "init_from": {"collection": "never-was"}}
        assert "Collection `never-was` doesn't exist!" in client.refusal(404, "PUT", "/collections/copied", body)
        body = {"vectors": {"size": 3, "distance": "Dot"}, "init_from": {"collection": plain.name}}
        client.refusal(400, "PUT", "/collections/copied", body)
    assert client.result("GET", "/collections/copied/exists") == {"exists": False}


def test_the_first_page_names_title_and_a_version_that_clients_accept(client: Client) -> None:
    info = client.send("GET", "/").json()
    assert info["version"].startswith("1.19.")
    assert "vdb" in info["title"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_checks_answer_plain_text(client: Client, path: str) -> None:
    response = client.send("GET", path)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/plain")
