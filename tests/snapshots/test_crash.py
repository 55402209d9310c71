"""kill -9 while a collection is recovered: the next start has the old one or the new one, and nothing beside it."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from tests.http.client import Collection
from tests.http.running_server import RunningServer, serving, until
from tests.snapshots.keeper import Keeper

POINTS = 3_000
SETTINGS = {"VDB__STORAGE__OPTIMIZERS__INDEXING_THRESHOLD": "100"}


def block(first: float) -> list[dict[str, object]]:
    return [{"id": number, "vector": [first, float(number), *[0.5] * 62]} for number in range(POINTS)]


@pytest.mark.parametrize("moment", ["unpacking", "opened", "at once"])
def test_a_kill_during_recovery_leaves_the_old_or_the_new(tmp_path: Path, moment: str) -> None:
    storage, snapshots = tmp_path / "storage", tmp_path / "snapshots"
    with serving(storage, VDB__STORAGE__SNAPSHOTS_PATH=str(snapshots), **SETTINGS) as server:
        keeper = Keeper(server, snapshots)
        collection = keeper.client.create("c", vectors={"size": 64, "distance": "Dot"})
        collection.upsert(*block(1.0))
        made = keeper.create("c")
        collection.upsert(*block(2.0))
        former = folders(server)
        recover = threading.Thread(target=recover_until_killed, args=(server, snapshots / "c" / made["name"]))
        recover.start()
        if moment == "unpacking":
            until(lambda: any((folder / "collection.sqlite").exists() for folder in folders(server) - former))
        elif moment == "opened":
            until(
                lambda: any(any((folder / "segments").glob("*/manifest.json")) for folder in folders(server) - former)
            )
        server.process.kill()
        server.process.wait()
        recover.join()
        keeper.close()
    with serving(storage, VDB__STORAGE__SNAPSHOTS_PATH=str(snapshots), **SETTINGS) as server:
        keeper = Keeper(server, snapshots)
        found = Collection(keeper.client, "c")
        points = found.all()
        assert len(points) == POINTS
        assert {point["vector"][0] for point in points} in ({1.0}, {2.0})
        assert keeper.left_behind() == []
        keeper.recover("c", keeper.location("c", made["name"]), checksum=made["checksum"])
        assert {point["vector"][0] for point in found.all()} == {1.0}
        keeper.close()


def test_what_a_killed_server_had_received_is_removed_and_what_others_work_on_is_not(tmp_path: Path) -> None:
    snapshots = tmp_path / "snapshots"
    with serving(tmp_path / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(snapshots)) as server:
        half = iter([b'--b\r\nContent-Disposition: form-data; name="snapshot"; filename="x"\r\n\r\n', bytes(3_000_000)])

        def content() -> object:
            yield from half
            until(lambda: any(path.stat().st_size for path in snapshots.glob(".*.tmp/received")))
            server.process.kill()
            server.process.wait()
            yield b"more"

        form = {"content-type": "multipart/form-data; boundary=b"}
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{server.url}/collections/c/snapshots/upload", headers=form, content=content(), timeout=30)  # type: ignore[arg-type]
    assert list(snapshots.glob(".*.tmp/received"))
    foreign = snapshots / ".0123456789ab-0000.tmp"
    foreign.mkdir()
    with serving(tmp_path / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(snapshots)):
        assert list(snapshots.glob(".*.tmp")) == [foreign]


def folders(server: RunningServer) -> set[Path]:
    return set((server.storage / "collections").iterdir())


def recover_until_killed(server: RunningServer, path: Path) -> None:
    try:
        httpx.put(f"{server.url}/collections/c/snapshots/recover", json={"location": path.as_uri()}, timeout=60)
    except httpx.TransportError:
        return
