"""kill -9 at the points where it would hurt most: what was acknowledged is there, and nothing is half applied."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scripts.vdb_process import ServerFailed, VdbProcess, serving
from tests.crash.crash_loop import BUILD_MAX_S, FAIL_POINTS, CrashLoop, create
from tests.crash.recording import COLLECTION
from vdb.fail_points import VARIABLE, FailPoint

DIED = -signal.SIGKILL


def dying_at(storage: Path, name: FailPoint, times: int = 1) -> VdbProcess:
    return VdbProcess(storage, {**environment(storage), VARIABLE: f"{name}:{times}"})


def environment(storage: Path) -> dict[str, str]:
    return {**os.environ, "VDB__STORAGE__SNAPSHOTS_PATH": str(storage.with_name("snapshots"))}


@pytest.fixture
def loop(tmp_path: Path) -> CrashLoop:
    """Some clients, and a storage with a collection of theirs that holds nothing yet."""
    loop = CrashLoop(tmp_path / "storage", seed=5)
    with serving(loop.storage) as server:
        create(server)
        assert server.stop() == 0
    return loop


def check(loop: CrashLoop) -> None:
    with serving(loop.storage) as server:
        loop.check(server)
        assert server.stop() == 0


@pytest.mark.parametrize("name", FAIL_POINTS)
def test_a_server_that_dies_while_it_writes(loop: CrashLoop, name: FailPoint) -> None:
    assert loop.die_at(name, min(7, FAIL_POINTS[name]), within_s=BUILD_MAX_S)
    check(loop)


def test_a_builder_that_dies_changes_nothing_and_the_server_goes_on(loop: CrashLoop) -> None:
    """Every builder dies here; the server is killed as well once the first one has."""
    said = f"the builder exited with {DIED}"
    assert not loop.die_at("in-build", or_logs=said, within_s=BUILD_MAX_S)
    assert said in loop.storage.with_name("storage.log").read_text()
    check(loop)


@pytest.mark.parametrize("times", [1, 2])
def test_a_migration_that_is_cut_short_is_done_again(tmp_path: Path, times: int) -> None:
    """First the catalog's, then the first collection's: the start, or the request, can be repeated."""
    storage = tmp_path / "storage"
    server = dying_at(storage, "in-migration", times)
    try:
        if times == 1:
            with pytest.raises(ServerFailed):
                server.wait_until_listening()
        else:
            server.wait_until_listening()
            with pytest.raises(OSError):
                create(server)
        assert server.process.wait(BUILD_MAX_S) == DIED
    finally:
        server.kill()
    with serving(storage) as server:
        assert server.call("GET", "/collections")["collections"] == []
        create(server)
        assert server.call("GET", f"/collections/{COLLECTION}")["points_count"] == 0
        assert len(list(storage.glob("collections/*"))) == 1, "what the catalog does not name is swept"
        assert server.stop() == 0


def test_a_recovery_from_a_snapshot_that_is_cut_short_leaves_the_old_collection(loop: CrashLoop) -> None:
    assert loop.die_at("after-commit", 20, within_s=BUILD_MAX_S)
    with serving(loop.storage, environment(loop.storage)) as server:
        loop.check(server)
        name = server.call("POST", f"/collections/{COLLECTION}/snapshots")["name"]
        archive = urllib.request.urlopen(f"{server.url}/collections/{COLLECTION}/snapshots/{name}").read()
        assert server.stop() == 0
    assert loop.die_at("after-commit", 20, within_s=BUILD_MAX_S)
    server = dying_at(loop.storage, "in-restore")
    try:
        server.wait_until_listening()
        boundary = b"boundary"
        head = b'--boundary\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'
        request = urllib.request.Request(
            f"{server.url}/collections/{COLLECTION}/snapshots/upload",
            head + archive + b"\r\n--" + boundary + b"--\r\n",
            {"content-type": "multipart/form-data; boundary=boundary"},
            method="POST",
        )
        with pytest.raises((OSError, urllib.error.URLError)):
            urllib.request.urlopen(request, timeout=BUILD_MAX_S)
        assert server.process.wait(BUILD_MAX_S) == DIED
    finally:
        server.kill()
    assert len(list(loop.storage.glob("collections/*"))) == 2
    check(loop)
    assert len(list(loop.storage.glob("collections/*"))) == 1
