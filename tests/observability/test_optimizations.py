"""What the optimizers say of themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.http.client import Client, Collection, Create
from tests.http.running_server import until

DIM = 32


def optimizations(collection: Collection, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = collection.client.result("GET", f"{collection.path}/optimizations", **params)
    return answer


@pytest.fixture
def indexed(create: Create) -> Collection:
    """A collection whose rows in memory were sealed by one optimization."""
    collection = create(vectors={"size": DIM, "distance": "Dot"}, optimizers_config={"indexing_threshold": 10})
    rng = random.Random(1)
    collection.upsert(*({"id": i, "vector": [rng.random() for _ in range(DIM)]} for i in range(500)))
    until(lambda: collection.info()["status"] == "green" and collection.info()["indexed_vectors_count"] == 500)
    return collection


def test_what_was_done_is_told_with_its_steps(indexed: Collection) -> None:
    answer = optimizations(indexed, **{"with": "completed,queued,idle_segments"})
    assert answer["running"] == answer["queued"] == []
    done = answer["completed"][0]
    assert done["optimizer"] == "indexing"
    assert done["status"] == "done"
    assert sum(segment["points_count"] for segment in done["segments"]) == 500
    assert [step["name"] for step in done["progress"]["children"]] == ["prepare", "build", "open", "swap"]
    assert done["progress"]["duration_sec"] >= sum(step["duration_sec"] for step in done["progress"]["children"]) > 0
    assert done["uuid"] in [segment["uuid"] for segment in answer["idle_segments"]]
    assert answer["summary"] == {
        "queued_optimizations": 0,
        "queued_segments": 0,
        "queued_points": 0,
        "idle_segments": 1,
    }


def test_only_what_is_asked_for_is_told(indexed: Collection) -> None:
    assert optimizations(indexed).keys() == {"summary", "running"}
    assert optimizations(indexed, **{"with": "queued"}).keys() == {"summary", "running", "queued"}
    assert optimizations(indexed, **{"with": "completed", "completed_limit": "0"})["completed"] == []


def test_an_unknown_part_is_refused_by_name(client: Client, create: Create) -> None:
    path = f"{create().path}/optimizations"
    assert "`everything`" in client.refusal(400, "GET", f"{path}?with=queued,everything")
    client.refusal(404, "GET", "/collections/never-was/optimizations")


def test_what_waits_is_told_while_optimizations_are_off(create: Create) -> None:
    config = {"indexing_threshold": 10, "max_optimization_threads": 0}
    collection = create(vectors={"size": DIM, "distance": "Dot"}, optimizers_config=config)
    collection.upsert(*({"id": i, "vector": [i] * DIM} for i in range(200)))
    assert collection.info()["status"] == "grey"
    answer = optimizations(collection, **{"with": "queued,idle_segments"})
    assert answer["running"] == answer["queued"] == []
    assert answer["summary"]["idle_segments"] == 1


def test_metrics_and_telemetry_tell_of_it_too(client: Client, indexed: Collection) -> None:
    metrics = client.send("GET", "/metrics").text
    label = f'id="{indexed.name}"'
    assert f'vdb_collection_optimizations_total{{{label},optimizer="indexing",outcome="done"}} 1.0' in metrics
    collections = client.result("GET", "/telemetry", details_level="4")["collections"]["collections"]
    shard = next(entry for entry in collections if entry["id"] == indexed.name)["shards"][0]["local"]
    assert shard["total_optimized_points"] == 500
    assert shard["optimizations"]["log"][0]["name"] == "indexing"
    assert shard["optimizations"]["optimizations"]["count"] == 1
    kinds = {entry["config"]["vector_data"][""]["index"]["type"] for entry in shard["segments"]}
    assert "hnsw" in kinds
