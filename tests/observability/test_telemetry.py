"""Telemetry: as deep as is asked for, and without names where these are not to be told."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.http.client import Client, Create


def telemetry(client: Client, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.result("GET", "/telemetry", **params)
    return answer


def by_name(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in answer["collections"]["collections"] if entry.get("id") == name)
    return found


def test_the_first_level_tells_of_the_server_alone(client: Client, create: Create) -> None:
    create()
    answer = telemetry(client)
    assert answer["app"]["name"] == "vdb"
    assert "system" not in answer["app"]
    assert answer["collections"].keys() == {"number_of_collections"}
    assert answer["cluster"] == {"enabled": False}
    assert answer["requests"]["rest"]["responses"]["PUT /collections/{collection_name}"]["200"]["count"] >= 1
    assert answer["requests"]["grpc"] == {"responses": {}}
    assert telemetry(client)["id"] == answer["id"]


def test_a_multivector_counts_once(client: Client, create: Create) -> None:
    multi = {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
    collection = create(vectors=multi)
    collection.upsert(*({"id": number, "vector": [[1, 2, 3, 4]] * 3} for number in range(5)))
    (shard,) = by_name(telemetry(client, details_level="4"), collection.name)["shards"]
    (segment,) = shard["local"]["segments"]
    assert segment["info"]["num_points"] == segment["info"]["num_vectors"] == 5


def test_each_level_tells_more(client: Client, create: Create) -> None:
    collection = create()
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4]}, {"id": 2, "vector": [1, 2, 3, 4]})
    brief = telemetry(client, details_level="1")
    assert brief["app"]["system"]["cores"] >= 1
    assert all(
        entry.keys() == {"vectors", "optimizers_status", "params"} for entry in brief["collections"]["collections"]
    )

    shard = by_name(telemetry(client, details_level="2"), collection.name)["shards"][0]["local"]
    assert shard["num_points"] == shard["num_vectors"] == 2
    assert shard["vectors_size_bytes"] == 32
    assert "optimizations" not in shard

    shard = by_name(telemetry(client, details_level="3"), collection.name)["shards"][0]["local"]
    assert shard["optimizations"]["status"] == "ok"
    assert shard["update_queue"]["length"] == 0
    assert "segments" not in shard

    for level in ("4", "10"):
        shard = by_name(telemetry(client, details_level=level), collection.name)["shards"][0]["local"]
        (segment,) = shard["segments"]
        assert segment["info"]["is_appendable"] is True
        assert segment["info"]["vector_data"][""]["num_vectors"] == 2
        assert segment["config"]["vector_data"][""]["index"] == {"type": "plain", "options": {}}


def test_requests_by_collection_are_told_on_demand(client: Client, create: Create) -> None:
    collection = create()
    collection.query(query=[1, 2, 3, 4])
    assert "per_collection_responses" not in telemetry(client)["requests"]["rest"]
    found = telemetry(client, per_collection="true")["requests"]["rest"]["per_collection_responses"]
    assert found[collection.name]["POST /collections/{collection_name}/points/query"]["200"]["count"] == 1


def test_anonymous_telemetry_tells_no_names(client: Client, create: Create) -> None:
    create(
        "telltale",
        vectors={"portraits": {"size": 2, "distance": "Dot"}},
        sparse_vectors={"keywords": {}},
        metadata={"owner": "somebody"},
    )
    text = client.send("GET", "/telemetry", anonymize="true", details_level="4", per_collection="true").text
    assert not [word for word in ("telltale", "portraits", "keywords", "somebody") if word in text]
    assert len(telemetry(client, anonymize="true", details_level="2")["collections"]["collections"]) >= 1


def test_a_level_below_zero_is_refused(client: Client) -> None:
    client.refusal(400, "GET", "/telemetry", details_level="-1")


def test_a_server_alone_tells_of_its_shards_as_a_cluster_would(client: Client, create: Create) -> None:
    collection = create()
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4]})
    answer = client.result("GET", "/cluster/telemetry", details_level="2", timeout="5")
    assert answer["cluster"] == {"enabled": False, "peers": {}}
    (shard,) = answer["collections"][collection.name]["shards"]
    assert shard == {"id": 0, "replicas": [{"peer_id": 0, "state": "Active", "status": "green", "num_points": 1}]}
    models.DistributedTelemetryData.model_validate(answer)
