"""Quotas of the whole server: what they refuse, when they let go, and that they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.running_server import serving
from vdb.api import quotas
from vdb.api.quotas import FILE_NAME, Quotas
from vdb.errors import Misconfigured
from vdb.model.quotas import QuotaConfig, QuotaUsage


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(tmp_path / "storage") as server, httpx.Client(base_url=server.url) as http:
        http.put("/collections/a", json={"vectors": {"size": 2, "distance": "Dot"}})
        http.put("/collections/a/points", params={"wait": "true"}, json={"points": [{"id": 1, "vector": [1, 2]}]})
        yield http


def put(http: httpx.Client, **config: Any) -> None:
    answer = http.put("/quotas", json=config)
    assert answer.json()["result"] is True


def test_a_full_resource_refuses_updates_and_neither_reads_nor_deletions(http: httpx.Client) -> None:
    upsert = {"points": [{"id": 2, "vector": [1, 2]}]}
    for limit in ("max_resident_memory_percent", "max_disk_usage_percent"):
        put(http, **{limit: 1, "enabled": False})
        assert http.put("/collections/a/points", json=upsert).status_code == 200
    put(http, enabled=True, max_disk_usage_percent=1)
    refused = http.put("/collections/a/points", json=upsert)
    used = http.get("/quotas").json()["result"]["usage"]["disk_usage_percent"]
    assert refused.status_code == (507 if used >= 1 else 200)
    assert http.post("/collections/a/points/count", json={}).status_code == 200
    assert http.post("/collections/a/points/delete", json={"points": [1]}).status_code == 200
    assert http.get("/telemetry").json()["result"]["quota"]["exceeded"] == {"disk_usage": used >= 1}
    put(http, enabled=True, max_disk_usage_percent=100, max_resident_memory_percent=100)
    assert http.put("/collections/a/points", json=upsert).status_code == 200


@pytest.mark.parametrize("config", [{"max_disk_usage_percent": 0}, {"max_resident_memory_percent": 101}])
def test_limits_that_are_no_percentages_are_refused(http: httpx.Client, config: dict[str, int]) -> None:
    assert http.put("/quotas", json=config).status_code == 422
    assert http.get("/quotas").json()["result"]["config"] == {"enabled": False}


def test_an_exceeded_quota_lets_go_a_margin_below_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "READ_S", -1.0)
    (tmp_path / FILE_NAME).write_text('{"enabled": true, "max_disk_usage_percent": 80}', encoding="utf-8")
    percent = iter([79, 80, 79, 76, 75, 79])
    kept = Quotas(tmp_path, lambda _: QuotaUsage(disk_usage_percent=next(percent)))
    assert [kept.exceeded().disk_usage for _ in range(6)] == [False, True, True, True, False, False]


def test_what_cannot_be_measured_is_never_exceeded(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"enabled": true, "max_resident_memory_percent": 1}', encoding="utf-8")
    assert Quotas(tmp_path, lambda _: QuotaUsage()).exceeded().resident_memory is False


async def test_quotas_are_kept(tmp_path: Path) -> None:
    config = QuotaConfig(enabled=True, max_disk_usage_percent=90, release_margin_percent=1)
    await Quotas(tmp_path).replace(config)
    assert Quotas(tmp_path).config == config


def test_a_damaged_file_keeps_the_server_from_starting_without_its_quotas(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"enabled": 3}', encoding="utf-8")
    with pytest.raises(Misconfigured, match=FILE_NAME):
        Quotas(tmp_path)
