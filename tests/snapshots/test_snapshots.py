"""Snapshots through the HTTP door: made, listed, downloaded, deleted, recovered."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from tests.http.running_server import serving, until
from tests.snapshots.keeper import Keeper, answers


def test_a_snapshot_is_described_listed_downloaded_and_deleted(keeper: Keeper) -> None:
    collection = keeper.filled()
    path = f"{collection.path}/snapshots"
    made = keeper.create(collection.name)
    assert keeper.client.result("GET", path) == [made]
    content = keeper.download(f"{path}/{made['name']}")
    assert made["size"] == len(content)
    assert made["checksum"] == hashlib.sha256(content).hexdigest()
    assert made["name"].startswith(f"{collection.name}-") and made["name"].endswith(".snapshot")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["manifest.json", "config.json", "collection.sqlite"]
    assert keeper.client.result("DELETE", f"{path}/{made['name']}") is True
    assert keeper.client.result("GET", path) == []
    assert list((keeper.path / collection.name).iterdir()) == []
    keeper.client.refusal(404, "GET", f"{path}/{made['name']}")
    keeper.client.refusal(404, "DELETE", f"{path}/{made['name']}")


def test_a_recovered_collection_gives_the_same_answers_as_before(keeper: Keeper) -> None:
    collection = keeper.filled()
    before = answers(collection)
    made = keeper.create(collection.name)
    collection.change("POST", "/delete", {"filter": {"must": [{"key": "colour", "match": {"value": "red"}}]}})
    collection.upsert({"id": 99_999, "vector": {}, "payload": {"number": 1}})
    location = keeper.location(collection.name, made["name"])
    keeper.recover(collection.name, location, checksum=made["checksum"], priority="snapshot")
    assert answers(collection) == before
    collection.upsert({"id": 99_999, "vector": {}, "payload": {"number": 1}})
    assert collection.get(99_999)["payload"] == {"number": 1}
    assert until(lambda: keeper.left_behind() == [])


def test_a_snapshot_makes_a_collection_of_another_name(keeper: Keeper) -> None:
    collection = keeper.filled()
    made = keeper.create(collection.name)
    before = answers(collection)
    copy = keeper.new_name()
    keeper.recover(copy, keeper.location(collection.name, made["name"]), priority="replica")
    other = type(collection)(keeper.client, copy)
    assert answers(other) == before
    other.change("POST", "/delete", {"points": [0]})
    assert answers(collection) == before


def test_a_snapshot_outlives_its_collection(keeper: Keeper) -> None:
    collection = keeper.filled()
    before = answers(collection)
    made = keeper.create(collection.name)
    keeper.client.result("DELETE", collection.path)
    keeper.client.refusal(404, "GET", f"{collection.path}/snapshots")
    keeper.recover(collection.name, keeper.location(collection.name, made["name"]))
    assert answers(collection) == before
    assert keeper.client.result("GET", f"{collection.path}/snapshots") == [made]


def test_many_vectors_come_back_in_segments_and_with_a_graph(keeper: Keeper) -> None:
    config: dict[str, Any] = {
        "vectors": {"size": 64, "distance": "Dot"},
        "optimizers_config": {"indexing_threshold": 100},
        "quantization_config": {"scalar": {"type": "int8"}},
    }
    collection = keeper.client.create(keeper.new_name(), **config)
    block = [
        {"id": number, "vector": [float((number * 31 + place) % 97) for place in range(64)]} for number in range(900)
    ]
    collection.upsert(*block)

    def search() -> Any:
        return collection.query(query=block[17]["vector"], limit=10, params={"exact": True}, with_vector=True)

    before = search()
    made = keeper.create(collection.name)
    collection.change("POST", "/delete", {"points": list(range(500))})
    keeper.recover(collection.name, keeper.location(collection.name, made["name"]))
    assert search() == before
    info = until(lambda: info if (info := collection.info())["status"] == "green" else None)
    assert info["indexed_vectors_count"] == 900
    assert search() == before


def test_an_upload_on_another_server_gives_the_same_answers(keeper: Keeper, tmp_path: Path) -> None:
    collection = keeper.filled(points=200)
    made = keeper.create(collection.name)
    content = keeper.download(f"{collection.path}/snapshots/{made['name']}")
    with serving(tmp_path / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(tmp_path / "snapshots")) as server:
        other = Keeper(server, tmp_path / "snapshots")
        assert other.upload("moved", content, checksum=made["checksum"].upper()).json()["result"] is True
        assert answers(type(collection)(other.client, "moved")) == answers(collection)
        assert other.left_behind() == []
        # Over the network only where the administrator allows it.
        location = f"{keeper.server.url}{collection.path}/snapshots/{made['name']}"
        body = {"location": location}
        assert "snapshots_allow_http" in other.client.refusal(403, "PUT", "/collections/x/snapshots/recover", body)
        other.close()


def test_a_snapshot_is_fetched_from_a_url(keeper: Keeper) -> None:
    collection = keeper.filled()
    made = keeper.create(collection.name)
    copy = keeper.new_name()
    url = f"{keeper.server.url}{collection.path}/snapshots/{made['name']}"
    keeper.recover(copy, url, checksum=made["checksum"], api_key="a key")
    assert answers(type(collection)(keeper.client, copy)) == answers(collection)
    recover = f"/collections/{copy}/snapshots/recover"
    assert "answered 404" in keeper.client.refusal(400, "PUT", recover, {"location": url + "x"})
    keeper.client.refusal(400, "PUT", recover, {"location": "http://127.0.0.1:1/x.snapshot"})
    keeper.client.refusal(400, "PUT", recover, {"location": "http:///x.snapshot"})
    keeper.client.refusal(400, "PUT", recover, {"location": "http://[::1/x.snapshot"})
    assert "cannot be used" in keeper.client.refusal(400, "PUT", recover, {"location": keeper.server.url + "/healthz"})
    assert keeper.left_behind() == []


def test_a_storage_comes_back_with_collections_and_aliases(tmp_path: Path) -> None:
    with serving(tmp_path / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(tmp_path / "snapshots")) as server:
        keeper = Keeper(server, tmp_path / "snapshots")
        first, second = keeper.filled(name="first"), keeper.filled(points=30, name="second ß")
        before = answers(first), answers(second)
        create = {"create_alias": {"collection_name": "first", "alias_name": "alias"}}
        keeper.client.result("POST", "/collections/aliases", {"actions": [create]})
        made = keeper.client.result("POST", "/snapshots")
        assert keeper.client.result("GET", "/snapshots") == [made]
        content = keeper.download(f"/snapshots/{made['name']}")
        assert hashlib.sha256(content).hexdigest() == made["checksum"]
        keeper.client.result("DELETE", first.path)
        second.change("POST", "/delete", {"points": [0, 2]})
        other = keeper.filled(name="third")
        assert keeper.send("/snapshots/upload", content).json()["result"] is True
        assert (answers(first), answers(second)) == before
        assert keeper.client.result("GET", "/collections/alias")["points_count"] == first.count()
        assert other.count() > 0
        # One of its members is the snapshot of a collection like any other.
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            member = archive.extractfile("0001.snapshot")
            assert member is not None
            assert keeper.upload("fourth", member.read()).json()["result"] is True
        assert answers(type(first)(keeper.client, "fourth"))[:-1] == before[0][:-1]
        # A name that is an alias now cannot become a collection.
        clash = {"create_alias": {"collection_name": "third", "alias_name": "second ß"}}
        keeper.client.result("DELETE", second.path)
        keeper.client.result("POST", "/collections/aliases", {"actions": [clash]})
        location = {"location": (tmp_path / "snapshots" / made["name"]).as_uri()}
        assert "Alias" in keeper.client.refusal(400, "PUT", "/snapshots/recover", location)
        assert until(lambda: keeper.left_behind() == [])
        assert keeper.client.result("DELETE", f"/snapshots/{made['name']}") is True
        assert keeper.client.result("GET", "/snapshots") == []
        keeper.close()
    with serving(tmp_path / "storage") as server:
        keeper = Keeper(server, tmp_path / "snapshots")
        assert answers(type(first)(keeper.client, "first")) == before[0]
        keeper.close()


def test_shard_zero_is_the_collection(keeper: Keeper) -> None:
    collection = keeper.filled()
    before = answers(collection)
    path = f"{collection.path}/shards/0/snapshots"
    made = keeper.client.result("POST", path)
    assert keeper.client.result("GET", path) == [made]
    assert keeper.client.result("GET", f"{collection.path}/snapshots") == []
    content = keeper.download(f"{path}/{made['name']}")
    collection.change("POST", "/delete", {"points": [0]})
    assert keeper.client.result("PUT", f"{path}/recover", {"location": made["name"]}) is True
    assert answers(collection) == before
    collection.change("POST", "/delete", {"points": [0]})
    assert keeper.send(f"{path}/upload", content, checksum=made["checksum"]).json()["result"] is True
    assert answers(collection) == before
    streamed = keeper.download(f"{collection.path}/shards/0/snapshot")
    assert keeper.upload(copy := keeper.new_name(), streamed).json()["result"] is True
    assert answers(type(collection)(keeper.client, copy)) == before
    assert keeper.client.result("DELETE", f"{path}/{made['name']}") is True
    keeper.client.refusal(404, "POST", f"{collection.path}/shards/1/snapshots")
    keeper.client.refusal(404, "GET", f"{collection.path}/shards/1/snapshot")
    keeper.client.refusal(400, "GET", f"{collection.path}/shards/zero/snapshots")
    keeper.client.refusal(404, "GET", "/collections/nobody/shards/0/snapshots")
    assert keeper.send(f"/collections/{collection.name}/shards/2/snapshots/upload", content).status_code == 404


def test_an_alias_recovers_its_collection(keeper: Keeper) -> None:
    collection = keeper.filled()
    alias = f"alias-of-{collection.name}"
    action = {"create_alias": {"collection_name": collection.name, "alias_name": alias}}
    keeper.client.result("POST", "/collections/aliases", {"actions": [action]})
    made = keeper.create(alias)
    before = answers(collection)
    collection.change("POST", "/delete", {"points": [0]})
    keeper.recover(alias, keeper.location(collection.name, made["name"]))
    assert answers(collection) == before
    assert keeper.client.result("GET", f"/collections/{alias}")["points_count"] == collection.count()


def test_work_that_nobody_waits_for_is_accepted_and_done(keeper: Keeper) -> None:
    collection = keeper.filled()
    path = f"{collection.path}/snapshots"

    def accepted(method: str, path: str, body: Any = None) -> None:
        response = keeper.client.send(method, path, body, wait="false")
        assert (response.status_code, response.json()["status"]) == (202, "accepted")

    def snapshots() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = keeper.client.result("GET", path)
        return found

    accepted("POST", path)
    made = until(snapshots)[0]
    content = keeper.download(f"{path}/{made['name']}")
    count = collection.count()
    collection.change("POST", "/delete", {"points": [0]})
    accepted("PUT", f"{path}/recover", {"location": keeper.location(collection.name, made["name"])})
    until(lambda: collection.count() == count)
    collection.change("POST", "/delete", {"points": [0]})
    assert keeper.upload(collection.name, content, wait="false").status_code == 202
    until(lambda: collection.count() == count)
    accepted("DELETE", f"{path}/{made['name']}")
    until(lambda: snapshots() == [])
    accepted("POST", "/snapshots")
    full = until(lambda: keeper.client.result("GET", "/snapshots"))
    for snapshot in full:
        keeper.client.result("DELETE", f"/snapshots/{snapshot['name']}")
    until(lambda: keeper.left_behind() == [])
    keeper.client.refusal(404, "POST", "/collections/nobody/snapshots", wait="false")


@pytest.mark.parametrize("name", ["..", ".hidden.snapshot", "a/../b.snapshot", "%2e%2e%2fcatalog.sqlite", "x" * 300])
def test_no_name_leads_out_of_the_folder(keeper: Keeper, name: str) -> None:
    collection = keeper.filled(points=5)
    keeper.create(collection.name)
    (keeper.path / collection.name / ".hidden.snapshot").write_bytes(b"")
    for path in (f"{collection.path}/snapshots", "/snapshots", f"{collection.path}/shards/0/snapshots"):
        if name == "..":  # clients take such a path apart themselves
            name = "%2e%2e"
        assert keeper.client.send("GET", f"{path}/{name}").status_code in (404, 405)
        assert keeper.client.send("DELETE", f"{path}/{name}").status_code in (404, 405)


def test_files_outside_the_folder_are_not_recovered_from(keeper: Keeper, tmp_path: Path) -> None:
    collection = keeper.filled(points=5)
    made = keeper.create(collection.name)
    outside = tmp_path / "outside.snapshot"
    outside.write_bytes((keeper.path / collection.name / made["name"]).read_bytes())
    (keeper.path / collection.name / "link.snapshot").symlink_to(outside)
    recover = f"{collection.path}/snapshots/recover"

    def refused(status: int, location: str) -> None:
        keeper.client.refusal(status, "PUT", recover, {"location": location})

    with collection.unchanged():
        refused(403, outside.as_uri())
        refused(403, keeper.location(collection.name, "link.snapshot"))
        refused(403, f"{keeper.path.as_uri()}/../../etc/passwd")
        refused(403, f"{keeper.path.as_uri()}/%2e%2e/%2e%2e/etc/passwd")
        refused(403, "file:///etc/passwd")
        refused(400, keeper.location(collection.name, "missing.snapshot"))
        refused(400, keeper.location(collection.name))
        refused(400, f"file://elsewhere{keeper.path}/x.snapshot")
        refused(400, f"{keeper.path.as_uri()}/%00.snapshot")
        refused(400, "ftp://127.0.0.1/x.snapshot")
        refused(400, "no URL at all")
    names = [snapshot["name"] for snapshot in keeper.client.result("GET", f"{collection.path}/snapshots")]
    assert names == [made["name"]], "a link is no snapshot"


def test_names_that_file_systems_do_not_take_have_a_folder_all_the_same(keeper: Keeper) -> None:
    for name in ("深い" * 100, "con", "trailing.", "with space"):
        collection = keeper.filled(points=5, name=name)
        made = keeper.create(name)
        keeper.recover(name, next(keeper.path.glob(f"*/{made['name']}")).as_uri())
        assert collection.count() > 0
        assert keeper.client.result("GET", f"{collection.path}/snapshots") == [made]
        keeper.client.result("DELETE", collection.path)


def test_a_name_that_no_collection_can_have_is_refused(keeper: Keeper) -> None:
    collection = keeper.filled(points=5)
    content = keeper.download(f"{collection.path}/snapshots/{keeper.create(collection.name)['name']}")
    assert keeper.upload("a:b", content).status_code == 422
    assert keeper.left_behind() == []


def test_qdrant_client_makes_and_recovers_snapshots(keeper: Keeper) -> None:
    collection = keeper.filled()
    before = answers(collection)
    client = QdrantClient(keeper.server.url, timeout=60, check_compatibility=False)
    made = client.create_snapshot(collection.name)
    assert made is not None and made.checksum is not None
    assert [snapshot.name for snapshot in client.list_snapshots(collection.name)] == [made.name]
    collection.change("POST", "/delete", {"points": [0]})
    location = keeper.location(collection.name, made.name)
    assert client.recover_snapshot(collection.name, location, checksum=made.checksum, wait=True) is True
    assert answers(collection) == before
    collection.change("POST", "/delete", {"points": [0]})
    with (keeper.path / collection.name / made.name).open("rb") as file:
        uploaded = client.http.snapshots_api.recover_from_uploaded_snapshot(
            collection.name, wait=True, checksum=made.checksum, snapshot=file
        )
    assert uploaded.result is True
    assert answers(collection) == before
    shard = client.create_shard_snapshot(collection.name, 0)
    assert shard is not None
    assert [snapshot.name for snapshot in client.list_shard_snapshots(collection.name, 0)] == [shard.name]
    assert client.recover_shard_snapshot(collection.name, 0, shard.name) is True
    assert client.delete_shard_snapshot(collection.name, 0, shard.name) is True
    full = client.create_full_snapshot()
    assert full is not None
    assert full.name in [snapshot.name for snapshot in client.list_full_snapshots()]
    assert client.delete_full_snapshot(full.name) is True
    assert client.delete_snapshot(collection.name, made.name) is True
    assert client.list_snapshots(collection.name) == []
    client.close()
