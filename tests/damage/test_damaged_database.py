"""A collection's database is damaged: it is red and named wherever one looks, and the others serve."""

from __future__ import annotations

import json
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.vdb_process import ServerFailed, VdbProcess, serving

PAGE_BYTES = 16_384


def emptied_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def another_file(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 4096)


def halved(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES)


def without_its_migrations(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE migrations SET sha256 = 'edited'")
    connection.commit()
    connection.close()


def every_page_but_the_first_overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xa5" * (path.stat().st_size - PAGE_BYTES))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "storage"
    with serving(folder) as server:
        for name in ("whole", "hurt"):
            server.call("PUT", f"/collections/{name}", {"vectors": {"size": 64, "distance": "Dot"}})
            points = [
                {"id": number, "vector": [number + 0.5] * 64, "payload": {"text": "x" * 400, "n": number}}
                for number in range(1000)
            ]
            server.call("PUT", f"/collections/{name}/points?wait=true", {"points": points})
        assert server.stop() == 0
    return folder


@pytest.fixture
def damaged(storage: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(storage, tmp_path / "storage"))


def database(storage: Path) -> Path:
    (path,) = storage.glob("collections/hurt-*/collection.sqlite")
    return path


def refusal(server: VdbProcess, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """The status and message of an answer that is an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"content-type": "application/json"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as error:
        return error.code, json.load(error)["status"]["error"]


def assert_the_other_serves(server: VdbProcess) -> None:
    assert server.call("POST", "/collections/whole/points/count", {})["count"] == 1000
    assert server.call("GET", "/collections/whole")["status"] != "red"
    server.call("PUT", "/collections/whole/points?wait=true", {"points": [{"id": 1, "vector": [1] * 64}]})


@pytest.mark.parametrize(
    "damage", [emptied_header, another_file, halved, without_its_migrations, every_page_but_the_first_overwritten]
)
def test_a_database_that_cannot_be_opened_is_red_and_named(damaged: Path, damage: Callable[[Path], None]) -> None:
    damage(database(damaged))
    with serving(damaged) as server:
        assert_the_other_serves(server)
        info = server.call("GET", "/collections/hurt")
        assert info["status"] == "red"
        assert "collection.sqlite" in info["optimizer_status"]["error"]
        assert info["config"]["params"]["vectors"] == {"size": 64, "distance": "Dot"}
        (told,) = [
            one
            for one in server.call("GET", "/telemetry?details_level=4")["collections"]["collections"]
            if one["id"] == "hurt"
        ]
        assert told["shards"][0]["local"]["status"] == "red"
        assert "collection.sqlite" in told["shards"][0]["local"]["optimizations"]["status"]["error"]
        assert "collection hurt cannot be opened" in server.log_text()
        status, message = refusal(server, "POST", "/collections/hurt/points/count", {})
        assert status == 500
        assert "collection.sqlite" in message
        assert refusal(server, "PUT", "/collections/hurt/points", {"points": [{"id": 1, "vector": [1] * 64}]})[0] == 500
        assert server.call("DELETE", "/collections/hurt") is True
        assert server.stop() == 0


@pytest.mark.parametrize("page", [2, 20, 38, 56])
def test_one_page_that_is_damaged_is_met_with_an_error_and_stops_writes_there(damaged: Path, page: int) -> None:
    path = database(damaged)
    assert path.stat().st_size > 60 * PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)
    with serving(damaged) as server:
        met: list[str] = []
        for body in ({"limit": 1000, "with_payload": True, "with_vector": True}, {"limit": 1000}):
            try:
                found = server.call("POST", "/collections/hurt/points/scroll", body)["points"]
            except ServerFailed as error:
                met.append(str(error))
            else:
                assert len(found) == 1000
        info = server.call("GET", "/collections/hurt")
        if met:
            assert all(" 500 " in message and "collection.sqlite" in message for message in met)
            assert info["status"] == "red"
            assert "collection.sqlite" in info["optimizer_status"]["error"]
            assert refusal(server, "POST", "/collections/hurt/points/delete", {"points": [1]})[0] == 500
        assert_the_other_serves(server)
        assert server.stop() == 0
