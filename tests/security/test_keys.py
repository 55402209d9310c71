"""API keys: who gets in, with what, and what the answer is to everybody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.models import Distance, PointStruct, VectorParams

from tests.http.running_server import RunningServer, serving
from tests.security.conftest import ALT_API_KEY, API_KEY, READ_ONLY_KEY, Caller, fill
from vdb.config import ServiceSettings
from vdb.server import warn_of_open_doors

MakeCaller = Callable[[str | None], Caller]


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/openapi.json", "//healthz/"])
@pytest.mark.parametrize("key", [None, "wrong", READ_ONLY_KEY])
def test_whether_it_lives_is_told_to_everybody(caller: MakeCaller, path: str, key: str | None) -> None:
    assert caller(key).send("GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/collections", "/cluster", "/no-such-route", "/collections/x/points/query"])
def test_without_a_key_nothing_else_answers(caller: MakeCaller, path: str) -> None:
    assert caller(None).unauthorized("GET", path) == "Must provide an API key or an Authorization bearer token"


@pytest.mark.parametrize("key", ["wrong", API_KEY[:-1], API_KEY + "x", API_KEY.upper(), "a.b.c", "Bearer"])
def test_a_wrong_key_is_refused(caller: MakeCaller, key: str) -> None:
    assert caller(key).unauthorized("GET", "/collections") == "Invalid API key or JWT"


@pytest.mark.parametrize("key", [API_KEY, ALT_API_KEY, READ_ONLY_KEY])
@pytest.mark.parametrize(
    "header", ["api-key: {}", "Api-Key: {}", "Authorization: Bearer {}", "authorization: bearer {}"]
)
def test_a_key_is_taken_from_either_header(guarded: RunningServer, header: str, key: str) -> None:
    name, value = header.format(key).split(": ", 1)
    response = httpx.get(guarded.url + "/collections", headers={name: value})
    assert response.status_code == 200, response.text


def test_other_schemes_of_authorization_are_no_key(guarded: RunningServer) -> None:
    response = httpx.get(guarded.url + "/collections", auth=("user", API_KEY))
    assert (response.status_code, response.text) == (401, "Must provide an API key or an Authorization bearer token")


def test_a_large_body_without_a_key_is_refused_and_read_no_further(caller: MakeCaller) -> None:
    response = caller(None).send("PUT", "/collections/x/points", {"points": ["x" * 20_000] * 100})
    assert response.status_code == 401
    assert response.headers["connection"] == "close"


def test_both_keys_that_may_write_write_and_the_read_only_key_reads(caller: MakeCaller) -> None:
    fill(caller(API_KEY), "keys", p1={"city": "Rome"})
    caller(ALT_API_KEY).result(
        "PUT", "/collections/keys/points", {"points": [{"id": 2, "vector": [2, 1]}]}, wait="true"
    )
    reader = caller(READ_ONLY_KEY)
    assert reader.result("POST", "/collections/keys/points/count", {}) == {"count": 2}
    assert reader.result("POST", "/collections/keys/points/query", {"query": [1, 0]})["points"][0]["id"] == 2
    written = {"points": [{"id": 3, "vector": [3, 1]}]}
    assert reader.refused("PUT", "/collections/keys/points", written) == (
        "Forbidden: Write access to collection keys is required"
    )
    assert reader.refused("DELETE", "/collections/keys") == "Forbidden: Global manage access is required"
    assert reader.result("POST", "/collections/keys/points/count", {}) == {"count": 2}


def test_qdrants_own_client_works_with_keys(guarded: RunningServer) -> None:
    with pytest.warns(UserWarning, match="insecure connection"):
        writer = QdrantClient(guarded.url, api_key=API_KEY)
    with pytest.warns(UserWarning, match="insecure connection"):
        reader = QdrantClient(guarded.url, api_key=READ_ONLY_KEY)
    writer.create_collection("client", VectorParams(size=2, distance=Distance.DOT))
    writer.upsert("client", [PointStruct(id=1, vector=[1.0, 2.0])], wait=True)
    assert [point.id for point in reader.query_points("client", [1.0, 0.0]).points] == [1]
    with pytest.raises(UnexpectedResponse, match="403"):
        reader.delete_collection("client")
    writer.close()
    reader.close()


def test_a_key_that_contradicts_another_setting_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"needs service\.api_key, which tokens are signed with"),
        serving(tmp_path / "storage", VDB__SERVICE__JWT_RBAC="true"),
    ):
        pass


@pytest.mark.parametrize(
    ("service", "warning"),
    [
        (ServiceSettings(), None),
        (ServiceSettings(host="localhost", api_key="k"), None),
        (ServiceSettings(host="0.0.0.0"), "everybody who reaches 0.0.0.0 can read and change everything"),
        (ServiceSettings(host="::", api_key="k"), "keys travel unencrypted to ::"),
        (ServiceSettings(host="0.0.0.0", api_key="k", enable_tls=True), None),
        (ServiceSettings(read_only_api_key="k"), "nobody can write"),
    ],
)
def test_doors_that_stand_open_are_told_at_the_start(
    service: ServiceSettings, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_open_doors(service)
    assert [warning is not None and warning in record.getMessage() for record in caplog.records] == (
        [] if warning is None else [True]
    )
