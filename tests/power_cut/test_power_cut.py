"""The power goes while a server writes: what was acknowledged is there when it is back.

The long version is `scripts/power_cut.py`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.vdb_process import VdbProcess, serving
from tests.power_cut.disk import FILE_SYSTEMS, CuttableDisk, NoPowerCut
from tests.power_cut.power_cut_loop import PowerCutLoop
from vdb.storage.sqlite import Synchronous

FLUSH_MAX_S: Final = 30.0


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CuttableDisk]:
    """An empty ext4, or the file system that the test asks for."""
    with contextlib.ExitStack() as stack:
        try:
            disk = CuttableDisk(tmp_path, getattr(request, "param", "ext4"))
            stack.callback(disk.close)
            disk.cut()  # a first time, to see whether it can be
            disk.unmount()
            disk.mount()
        except NoPowerCut as error:
            pytest.skip(f"NOT TESTED: the power cannot be cut here: {error}")
        yield disk


@pytest.mark.parametrize("disk", FILE_SYSTEMS, indirect=True)
def test_no_acknowledged_write_is_lost(disk: CuttableDisk, tmp_path: Path) -> None:
    loop = PowerCutLoop(disk, tmp_path, seed=1)
    loop.run(rounds=4)
    assert loop.acknowledged and not loop.lost


def test_with_synchronous_normal_the_newest_writes_are_lost_and_nothing_else(
    disk: CuttableDisk, tmp_path: Path
) -> None:
    PowerCutLoop(disk, tmp_path, seed=2, synchronous="NORMAL").run(rounds=2)


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_collections_and_aliases_are_as_they_were_acknowledged(
    disk: CuttableDisk, tmp_path: Path, synchronous: Synchronous
) -> None:
    """Also with NORMAL: a collection that the catalog forgot would be swept at the next start, with all its points."""
    environment = {
        **os.environ,
        "VDB__STORAGE__SYNCHRONOUS": synchronous,
        "VDB__STORAGE__SNAPSHOTS_PATH": str(tmp_path / "snapshots"),
    }
    with serving(disk.path, environment) as server:
        for name in ("kept", "dropped"):
            create_flushed(server, name)
        server.call("POST", "/collections/kept/snapshots")
        (snapshot,) = (tmp_path / "snapshots/kept").glob("*.snapshot")
        server.call("DELETE", "/collections/dropped")
        server.call("PUT", "/collections/brought/snapshots/recover", {"location": snapshot.as_uri()})
        actions = [{"create_alias": {"collection_name": "brought", "alias_name": "also"}}]
        server.call("POST", "/collections/aliases", {"actions": actions})
        disk.cut()
    disk.unmount()
    disk.mount()
    with serving(disk.path, environment) as server:
        names = {entry["name"] for entry in server.call("GET", "/collections")["collections"]}
        assert names == {"kept", "brought"}
        for name in ("kept", "brought", "also"):
            assert server.call("POST", f"/collections/{name}/points/count", {})["count"] == 2
        assert server.stop() == 0


def create_flushed(server: VdbProcess, name: str) -> None:
    """A collection with two points that are on the medium, with NORMAL too."""
    body: dict[str, Any] = {"vectors": {"size": 2, "distance": "Dot"}, "optimizers_config": {"flush_interval_sec": 1}}
    server.call("PUT", f"/collections/{name}", body)
    points = [{"id": number, "vector": [1.0, number]} for number in range(2)]
    server.call("PUT", f"/collections/{name}/points?wait=true", {"points": points})
    (database,) = server.storage.glob(f"collections/{name}-*/collection.sqlite")
    server.wait_for(lambda: True if stored_points(database) == 2 else None, FLUSH_MAX_S, "flush")


def stored_points(database: Path) -> int:
    """How many points the file itself holds, whatever SQLite's log beside it says."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        count: int = connection.execute("SELECT count(*) FROM points").fetchone()[0]
    except sqlite3.Error:
        return 0  # the file is written while it is read
    finally:
        connection.close()
    return count
