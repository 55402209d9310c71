"""Strict mode as a whole: on and off, changed while the collection lives, rates, and defaults for new collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from tests.http.running_server import RunningServer, serving
from tests.strict_mode.conftest import VECTOR, Create, points, refusal
from vdb.api.rate_limit import RateLimiter
from vdb.errors import StrictModeViolation


def test_limits_hold_only_while_strict_mode_is_on(qdrant: QdrantClient, create: Create) -> None:
    name = create()
    off = models.StrictModeConfig(max_query_limit=2)
    qdrant.update_collection(name, strict_mode_config=off)
    qdrant.query_points(name, query=VECTOR, limit=3)
    qdrant.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=True))
    assert "3 > 2" in refusal(lambda: qdrant.query_points(name, query=VECTOR, limit=3))
    qdrant.update_collection(name, strict_mode_config=models.StrictModeConfig(max_query_limit=3))
    qdrant.query_points(name, query=VECTOR, limit=3)
    qdrant.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False, max_query_limit=1))
    qdrant.query_points(name, query=VECTOR, limit=3)
    config = qdrant.get_collection(name).config.strict_mode_config
    assert config is not None
    assert (config.enabled, config.max_query_limit) == (False, 1)


def test_limits_hold_for_every_name_of_a_collection(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_query_limit=2)
    alias = models.CreateAlias(collection_name=name, alias_name=f"{name}-alias")
    qdrant.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert "3 > 2" in refusal(lambda: qdrant.query_points(f"{name}-alias", query=VECTOR, limit=3))


def test_what_is_refused_changes_nothing(qdrant: QdrantClient, create: Create) -> None:
    name = create(upsert_max_batchsize=1)
    small = models.UpsertOperation(upsert=models.PointsList(points=points(1)))
    large = models.UpsertOperation(upsert=models.PointsList(points=points(2)))
    refusal(lambda: qdrant.batch_update_points(name, [small, large]))
    assert qdrant.count(name).count == 0


def test_the_routes_of_older_clients_are_limited_too(server: RunningServer, create: Create) -> None:
    name = create(max_query_limit=2, search_max_batchsize=1)
    search = {"vector": VECTOR, "limit": 3}
    with httpx.Client(base_url=f"{server.url}/collections/{name}/points") as http:
        assert http.post("/search", json=search).status_code == 400
        assert http.post("/recommend", json={"positive": [1], "limit": 3}).status_code == 400
        searches = [{**search, "limit": 1}] * 2
        assert "2 > 1" in http.post("/search/batch", json={"searches": searches}).text
        groups = {"vector": VECTOR, "group_by": "a", "group_size": 3, "limit": 1}
        assert http.post("/search/groups", json=groups).status_code == 400


def test_reads_beyond_the_rate_are_told_when_to_come_back(
    qdrant: QdrantClient, create: Create, server: RunningServer
) -> None:
    name = create(read_rate_limit=3)
    for _ in range(3):
        qdrant.query_points(name, query=VECTOR)
    with pytest.raises(ResourceExhaustedResponse) as refused:
        qdrant.query_points(name, query=VECTOR)
    assert refused.value.retry_after_s in range(1, 21)
    answer = httpx.get(f"{server.url}/collections/{name}/points/1")
    assert answer.status_code == 429
    assert answer.json()["status"]["error"].startswith("Rate limiting exceeded: Read rate limit exceeded: ")
    qdrant.upsert(name, points(3), wait=True)  # writes have a rate of their own
    qdrant.get_collection(name)


def test_writes_beyond_the_rate_are_refused_whole(qdrant: QdrantClient, create: Create) -> None:
    name = create(write_rate_limit=2)
    qdrant.upsert(name, points(2), wait=True)
    with pytest.raises(ResourceExhaustedResponse):
        qdrant.batch_update_points(
            name, [models.DeleteOperation(delete=models.PointIdsList(points=[number])) for number in (0, 1)]
        )
    assert qdrant.count(name).count == 2


def test_a_request_larger_than_the_rate_is_not_told_to_come_back(qdrant: QdrantClient, create: Create) -> None:
    name = create(read_rate_limit=2)
    assert "takes 3 of 2 a minute" in refusal(lambda: qdrant.retrieve(name, [1, 2, 3]))


def test_a_rate_that_was_changed_begins_anew(qdrant: QdrantClient, create: Create) -> None:
    name = create(read_rate_limit=1)
    qdrant.count(name)
    with pytest.raises(ResourceExhaustedResponse):
        qdrant.count(name)
    qdrant.update_collection(name, strict_mode_config=models.StrictModeConfig(read_rate_limit=100))
    qdrant.count(name)


def test_a_limiter_never_gives_more_than_there_are() -> None:
    limiter = RateLimiter("Read", 5)
    limiter.take(5)
    with pytest.raises(StrictModeViolation):
        limiter.take(6)


def test_new_collections_take_what_they_leave_open_from_the_settings(tmp_path: Path) -> None:
    settings = {
        "VDB__STORAGE__COLLECTION__STRICT_MODE__ENABLED": "true",
        "VDB__STORAGE__COLLECTION__STRICT_MODE__MAX_QUERY_LIMIT": "5",
    }
    vectors = {"vectors": {"size": 4, "distance": "Dot"}}
    with serving(tmp_path / "storage", **settings) as server, httpx.Client(base_url=server.url) as http:

        def limits(name: str, **config: Any) -> Any:
            assert http.put(f"/collections/{name}", json={**vectors, **config}).status_code == 200
            return http.get(f"/collections/{name}").json()["result"]["config"]["strict_mode_config"]

        assert limits("a") == {"enabled": True, "max_query_limit": 5}
        own = {"max_query_limit": 7, "max_timeout": 3}
        assert limits("b", strict_mode_config=own) == {"enabled": True, **own}
        assert http.post("/collections/a/points/query", json={"query": VECTOR, "limit": 6}).status_code == 400
        assert http.post("/collections/b/points/query", json={"query": VECTOR, "limit": 6}).status_code == 200
