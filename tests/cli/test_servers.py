"""Commands that show and change what a running server has: collections, info, snapshot, bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import fails, succeeds, tells, vdb
from tests.http.client import Client, Collection
from tests.http.running_server import serving

KEY = "a-key-of-sixteen-characters"


@pytest.fixture
def places(client: Client) -> Iterator[Collection]:
    collection = client.create("places", vectors={"a": {"size": 4, "distance": "Dot"}}, sparse_vectors={"words": {}})
    collection.upsert({"id": 1, "vector": {"a": [1, 0, 0, 0]}, "payload": {"city": "Rome"}})
    body = {"field_name": "city", "field_schema": "keyword"}
    client.result("PUT", f"{collection.path}/index", body, wait="true")
    yield collection
    client.result("DELETE", collection.path)


def test_collections_are_listed(places: Collection, client: Client) -> None:
    shown = succeeds("collections", "--url", client.url).splitlines()
    assert shown[0].split() == ["collection", "status", "points", "indexed", "segments", "vectors"]
    (line,) = [line for line in shown if line.startswith("places ")]
    assert line.split(maxsplit=5)[1:3] == ["green", "1"] and "a 4 Dot, words sparse" in line
    (told,) = [one for one in tells("collections", "--url", client.url) if one["name"] == "places"]
    assert told["points_count"] == 1


def test_a_collection_is_described(places: Collection, client: Client) -> None:
    shown = succeeds("info", "places", "--url", client.url)
    assert "points           1\n" in shown
    assert shown.splitlines()[-1].split() == ["city", "keyword", "1"]
    assert tells("info", "places", "--url", client.url)["payload_schema"]["city"]["points"] == 1
    assert fails("info", "absent", "--url", client.url).startswith("Not found: Collection `absent` doesn't exist!")


def test_a_server_is_described(client: Client) -> None:
    assert "title " in succeeds("info", "--url", client.url)
    assert tells("info", "--url", client.url)["url"] == client.url


def test_a_server_that_is_not_there_is_one_line() -> None:
    assert fails("info", "--url", "http://127.0.0.1:1") == "cannot reach http://127.0.0.1:1: Connection refused"
    assert fails("info", "--url", "ftp://x") == "ftp://x is not the URL of a server"
    assert fails("info", "--url", "http://[") == "http://[ is not a URL: Invalid IPv6 URL"


def test_the_api_key_comes_from_the_option_or_the_environment(tmp_path: Path) -> None:
    with serving(tmp_path / "storage", VDB__SERVICE__API_KEY=KEY) as server:
        assert "refuses the API key" in fails("collections", "--url", server.url)
        succeeds("collections", "--url", server.url, "--api-key", KEY)
        succeeds("collections", "--url", server.url, VDB_API_KEY=KEY)
        succeeds("collections", "--url", server.url, QDRANT_API_KEY=KEY)
        succeeds("collections", VDB_URL=server.url, VDB_API_KEY=KEY)


def test_snapshots_are_made_listed_downloaded_restored_and_deleted(
    places: Collection, client: Client, tmp_path: Path
) -> None:
    here = ["-c", "places", "--url", client.url]
    name = tells("snapshot", "create", *here)["name"]
    assert name in succeeds("snapshot", "list", *here)
    file = tmp_path / "downloaded.snapshot"
    succeeds("snapshot", "download", name, *here, "-o", file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    before = places.all()
    places.change("POST", "/delete", {"points": [1]})
    succeeds("snapshot", "restore", name, *here)
    assert places.all() == before
    succeeds("snapshot", "restore", file, "-c", "restored", "--url", client.url)
    restored = Collection(client, "restored")
    assert restored.all() == before
    client.result("DELETE", restored.path)
    assert "checksum" in fails("snapshot", "restore", file, *here, "--checksum", "0" * 64)
    succeeds("snapshot", "delete", name, *here, "--yes")
    assert tells("snapshot", "list", *here) == []
    assert "no file here, and no snapshot of `places`" in fails("snapshot", "restore", name, *here)
    assert "404" in fails("snapshot", "download", name, *here, "-o", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_the_whole_storage_has_snapshots_too(places: Collection, client: Client) -> None:
    name = tells("snapshot", "create", "--url", client.url)["name"]
    assert [one["name"] for one in tells("snapshot", "list", "--url", client.url)] == [name]
    succeeds("snapshot", "delete", name, "--yes", "--url", client.url)


def test_bench_measures_and_leaves_nothing(client: Client) -> None:
    small = ["--points", "1000", "--dim", "8", "--seconds", "0.2", "--connections", "2"]
    figures = tells("bench", *small, "--url", client.url)
    assert figures["recall"] > 0.9 and figures["searches_per_second"] > 0
    assert "vdb-bench" not in {one["name"] for one in tells("collections", "--url", client.url)}
    shown = succeeds("bench", *small)
    assert shown.splitlines()[0] == "vectors        1,000 × 8, made up"


def test_bench_does_not_touch_a_collection_of_its_name(client: Client) -> None:
    collection = client.create("vdb-bench")
    assert "already: delete it first" in fails("bench", "--points", "1000", "--dim", "8", "--url", client.url)
    client.result("DELETE", collection.path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    assert "_VDB_COMPLETE" in succeeds("completion", shell)


def test_completion_knows_commands_and_options() -> None:
    def completed(words: str) -> str:
        return vdb(_VDB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="1").stdout

    assert "plain,import" in completed("vdb im")
    assert "build-segment" not in completed("vdb ")
