"""Metrics: Qdrant's names, the right numbers, and no more series than are good for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.http.client import Client, Create
from tests.http.running_server import RunningServer, serving
from vdb.snapshots.activity import SnapshotActivity

QUERY = "/collections/{collection_name}/points/query"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: Client, **params: Any) -> Samples:
    response = client.send("GET", "/metrics", **params)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def labels_of(samples: Samples, name: str, label: str) -> set[str]:
    return {dict(labels)[label] for found, labels in samples if found == name}


def test_names_are_those_of_qdrant_where_they_mean_the_same(client: Client, create: Create) -> None:
    create().upsert({"id": 1, "vector": [1, 2, 3, 4]})
    assert names(scrape(client)) >= {
        "app_info",
        "app_status_recovery_mode",
        "cluster_enabled",
        "collections_total",
        "collections_vector_total",
        "collection_points",
        "collection_vectors",
        "collection_indexed_only_excluded_points",
        "collection_running_optimizations",
        "collection_update_queue_length",
        "snapshot_creation_running",
        "snapshot_recovery_running",
        "snapshot_created_total",
        "rest_responses_total",
        "rest_responses_avg_duration_seconds",
        "rest_responses_min_duration_seconds",
        "rest_responses_max_duration_seconds",
        "rest_responses_duration_seconds_bucket",
        "rest_responses_duration_seconds_sum",
        "rest_responses_duration_seconds_count",
    }


def test_collections_are_counted_with_their_points_and_vectors(client: Client, create: Create) -> None:
    collection = create(vectors={"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Dot"}})
    collection.upsert({"id": 1, "vector": {"a": [1, 2]}}, {"id": 2, "vector": {"a": [1, 2], "b": [1, 2, 3]}})
    client.result("PUT", f"{collection.path}/index", {"field_name": "x", "field_schema": "keyword"}, wait="true")
    samples, name = scrape(client), collection.name
    assert value(samples, "collection_points", id=name) == 2
    assert value(samples, "collection_vectors", collection=name, vector="a") == 2
    assert value(samples, "collection_vectors", collection=name, vector="b") == 1
    assert value(samples, "vdb_collection_field_indexes", id=name) == 1
    assert value(samples, "vdb_collection_status", id=name, status="green") == 1
    assert value(samples, "vdb_collection_status", id=name, status="red") == 0
    assert value(samples, "vdb_collection_segments", id=name, kind="memory") == 1
    assert value(samples, "vdb_collection_log_bytes", id=name) > 0
    assert value(samples, "collections_total") == len(client.result("GET", "/collections")["collections"])


def test_snapshots_are_counted_by_collection(client: Client, create: Create) -> None:
    collection, other = create(), create()
    for _ in range(2):
        assert client.send("POST", f"/collections/{collection.name}/snapshots").status_code == 200
    samples = scrape(client)
    assert value(samples, "snapshot_created_total", id=collection.name) == 2
    assert value(samples, "snapshot_created_total", id=other.name) == 0
    assert value(samples, "snapshot_creation_running", id=collection.name) == 0


def test_what_is_under_way_with_a_snapshot_is_told_until_it_ends() -> None:
    activity = SnapshotActivity()
    with activity.creation("a"), activity.recovery("b"), activity.recovery("b"):
        assert (activity.creating["a"], activity.recovering["b"], activity.created["a"]) == (1, 2, 0)
    assert (activity.creating["a"], activity.recovering["b"], activity.created["a"]) == (0, 0, 1)
    with pytest.raises(OSError), activity.creation("a"):
        raise OSError("the disk is full")
    assert (activity.creating["a"], activity.created["a"]) == (0, 1)


def test_requests_are_counted_by_route_and_status(client: Client, create: Create) -> None:
    collection = create()
    route = {"method": "POST", "endpoint": QUERY}
    before = scrape(client)
    for _ in range(3):
        collection.query(query=[1, 2, 3, 4])
    client.refusal(400, "POST", f"{collection.path}/points/query", {"query": [1]})
    client.refusal(404, "POST", "/collections/never-was/points/query", {"query": [1]})
    after = scrape(client)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - before.get((name, frozenset(labels.items())), 0)

    assert grown("rest_responses_total", **route, status="200") == 3
    assert grown("rest_responses_total", **route, status="400") == 1
    assert grown("rest_responses_fail_total", **route, status="400") == 1
    assert grown("rest_responses_total", **route, status="404") == 1
    assert grown("rest_responses_duration_seconds_count", **route, status="200") == 3
    assert grown("rest_responses_duration_seconds_bucket", **route, status="200", le="+Inf") == 3
    least, mean, most = (
        value(after, f"rest_responses_{kind}_duration_seconds", **route, status="200") for kind in ("min", "avg", "max")
    )
    assert 0 < least <= mean <= most


def test_buckets_count_everything_below_their_bound(client: Client, create: Create) -> None:
    create().query(query=[1, 2, 3, 4])
    samples = scrape(client)
    buckets = sorted(
        (float(dict(labels)["le"]), count)
        for (name, labels), count in samples.items()
        if name == "rest_responses_duration_seconds_bucket"
        and {("endpoint", QUERY), ("method", "POST"), ("status", "200")} <= labels
    )
    counts = [count for _, count in buckets]
    assert len(buckets) == 12
    assert counts == sorted(counts)
    assert counts[-1] == value(
        samples, "rest_responses_duration_seconds_count", method="POST", endpoint=QUERY, status="200"
    )


def test_paths_that_clients_invent_make_no_series(client: Client) -> None:
    for number in range(20):
        client.refusal(404, "GET", f"/invented/{number}")
        client.refusal(404, "GET", f"/collections/invented{number}")
    samples = scrape(client, per_collection="true")
    endpoints = labels_of(samples, "rest_responses_total", "endpoint")
    assert "unknown" in endpoints
    assert not any("invented" in endpoint for endpoint in endpoints)
    assert not any("invented" in name for name in labels_of(samples, "rest_responses_total", "collection"))


def test_requests_can_be_told_apart_by_collection_for_as_long_as_it_exists(client: Client) -> None:
    collection = client.create("told-apart")
    collection.query(query=[1, 2, 3, 4])
    route = {"method": "POST", "endpoint": QUERY, "status": "200"}
    found = scrape(client, per_collection="true")
    assert value(found, "rest_responses_total", **route, collection="told-apart") == 1
    total = value(scrape(client), "rest_responses_total", **route)
    client.result("DELETE", collection.path)
    gone = scrape(client, per_collection="true")
    assert "told-apart" not in labels_of(gone, "rest_responses_total", "collection")
    assert value(scrape(client), "rest_responses_total", **route) == total


def test_anonymous_metrics_tell_no_names(client: Client, create: Create) -> None:
    secret = create("secret", vectors={"hidden": {"size": 2, "distance": "Dot"}})
    secret.upsert({"id": 1, "vector": {"hidden": [1, 2]}})
    text = client.send("GET", "/metrics", anonymize="true", per_collection="true").text
    assert "secret" not in text
    assert "hidden" not in text
    samples = scrape(client, anonymize="true")
    assert 1 in [count for (name, _), count in samples.items() if name == "collection_points"]


def test_hardware_is_counted_by_collection(client: Client, create: Create) -> None:
    collection = create()
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": "b" * 1000}})
    collection.query(query=[1, 2, 3, 4], with_payload=True)
    samples = scrape(client)
    assert value(samples, "collection_hardware_metric_cpu", id=collection.name) > 0
    assert value(samples, "collection_hardware_metric_payload_io_write", id=collection.name) >= 1000
    assert value(samples, "collection_hardware_metric_vector_io_write", id=collection.name) == 16


@pytest.fixture
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(tmp_path_factory.mktemp("plain") / "storage") as server:
        yield server


def test_what_is_off_by_default_is_absent(plain_server: RunningServer) -> None:
    with httpx.Client(base_url=plain_server.url) as http:
        http.put("/collections/a", json={"vectors": {"size": 2, "distance": "Dot"}})
        answer = http.post("/collections/a/points/query", json={"query": [1, 2]})
        assert answer.json().keys() == {"result", "status", "time"}
        assert "collection_hardware_metric" not in http.get("/metrics").text
        assert "hardware" not in http.get("/telemetry", params={"details_level": 4}).json()["result"]
    assert "/points/query" not in plain_server.log
