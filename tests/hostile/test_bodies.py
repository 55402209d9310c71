"""Whatever a body or a path holds, the answer is Qdrant's envelope with a status below 500, and the server goes on."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.hostile.bodies import COLLECTION, GARBAGE, NAMES, TEMPLATES, mutated
from tests.http.running_server import RunningServer, serving

ROUNDS: Final = 40  # of each template
ANSWER_MAX_S: Final = 30.0


class Attacker:
    """One connection, and another one whenever the server has closed it."""

    def __init__(self, server: RunningServer) -> None:
        self._at = urlsplit(server.url)
        self._connection: http.client.HTTPConnection | None = None
        self.statuses: dict[int, int] = {}

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and decoded answer."""
        connection = self._connection or http.client.HTTPConnection(
            str(self._at.hostname), self._at.port, timeout=ANSWER_MAX_S
        )
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        self._connection = None if response.will_close else connection
        if response.will_close:
            connection.close()
        self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        shown = f"{method} {path} {body[:2000] if body else body!r}: {response.status} {content[:500]!r}"
        assert response.status < 500, shown
        answer = json.loads(content)
        if response.status >= 400:
            assert isinstance(answer["status"]["error"], str), shown
        return response.status, answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("hostile")
    with serving(folder / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(folder / "snapshots")) as server:
        yield server
        # Nothing was written beside the folders that are there for it.
        assert {path.name for path in folder.iterdir()} <= {"storage", "storage.log", "snapshots"}


@pytest.fixture
def attacker(server: RunningServer) -> Iterator[Attacker]:
    attacker = Attacker(server)
    attacker.send("DELETE", "/collections/hostile")
    assert attacker.send("PUT", "/collections/hostile", json.dumps(COLLECTION).encode())[0] == 200
    for method, path, template in TEMPLATES[:2]:
        status, answer = attacker.send(method, f"/collections/hostile{path}", json.dumps(template).encode())
        assert status == 200, answer
    yield attacker
    assert attacker.send("GET", "/collections/hostile")[0] == 200
    status, answer = attacker.send("POST", "/collections/hostile/points/count", b"{}")
    assert status == 200
    assert answer["result"]["count"] >= 0
    attacker.close()


@pytest.mark.parametrize("seed", range(2))
def test_bodies_that_are_nearly_right(attacker: Attacker, seed: int) -> None:
    for number, (method, path, template) in enumerate(TEMPLATES):
        chance = random.Random(f"{seed}/{number}")
        for _ in range(ROUNDS // 2):
            attacker.send(method, f"/collections/hostile{path}", mutated(template, chance))
    assert attacker.statuses.keys() >= {200, 400, 422}


def test_bodies_that_are_no_json_at_every_route(server: RunningServer, attacker: Attacker) -> None:
    _, document = attacker.send("GET", "/openapi.json")
    routes = [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation and "application/json" in operation["requestBody"]["content"]
    ]
    assert len(routes) >= 25
    for method, path in routes:
        place = path
        for name in ("collection_name", "field_name", "vector_name", "id", "shard_id", "snapshot_name", "peer_id"):
            place = place.replace("{" + name + "}", "hostile" if name == "collection_name" else "1")
        for body in GARBAGE:
            attacker.send(method, place, body)


def test_names_that_lead_elsewhere(server: RunningServer, attacker: Attacker) -> None:
    small = json.dumps({"vectors": {"size": 4, "distance": "Dot"}}).encode()
    for name in NAMES:
        for method, path, body in (
            ("GET", f"/collections/{name}", None),
            ("PUT", f"/collections/{name}", small),
            ("POST", f"/collections/{name}/points/scroll", b"{}"),
            ("GET", f"/collections/hostile/points/{name}", None),
            ("DELETE", f"/collections/hostile/index/{name}", None),
            ("GET", f"/collections/hostile/snapshots/{name}", None),
            ("DELETE", f"/collections/hostile/snapshots/{name}", None),
            (
                "PUT",
                f"/collections/hostile/vectors/{name}",
                json.dumps({"dense": {"size": 2, "distance": "Dot"}}).encode(),
            ),
            ("DELETE", f"/collections/{name}", None),
        ):
            attacker.send(method, path, body)
    inside = {path.name for path in (server.storage / "collections").iterdir()}
    assert all("/" not in name and ".." not in name for name in inside)


def test_query_parameters_that_are_nothing(attacker: Attacker) -> None:
    for value in ("", "maybe", "-1", "1e39", "99999999999999999999", "%00", "%ff", "a" * 5000, "true&wait=false"):
        for parameter in ("wait", "ordering", "timeout", "consistency", "details_level", "anonymize", "nothing"):
            for method, path, body in (
                ("PUT", "/collections/hostile/points", b'{"points": [{"id": 5, "vector": {}}]}'),
                ("POST", "/collections/hostile/points/query", b'{"limit": 1}'),
                ("GET", "/telemetry", None),
                ("GET", "/collections", None),
            ):
                attacker.send(method, f"{path}?{parameter}={value}", body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/points", {"points": [{"id": 1, "vector": {"multi": [[1, 2], 5e-324]}}]}),
        ("PUT", "/points", {"points": [{"id": 1, "vector": {"sparse": {"indices": [1], "values": [-(10**400)]}}}]}),
        ("PUT", "/points", {"points": [{"id": 1, "vector": {"dense": [1, 2, 3, 10**400]}}]}),
        ("POST", "/points/search", {"vector": {"name": "dense", "vector": [1, [], 3, 4]}, "limit": 3}),
        ("POST", "/points/search", {"vector": {"name": "dense", "vector": {"nearest": [1]}}, "limit": 3}),
        ("PUT", "/index", {"field_name": "t", "field_schema": {"type": "text", "min_token_len": 10**40}}),
    ],
)
def test_bodies_that_were_once_answered_500(attacker: Attacker, method: str, path: str, body: Any) -> None:
    """The index was the worst of them: its number could be read and never written, which stopped the collection."""
    status, _ = attacker.send(method, f"/collections/hostile{path}", json.dumps(body).encode())
    assert status in (400, 422)
    _, answer = attacker.send("GET", "/collections/hostile")
    assert answer["result"]["status"] != "red"
