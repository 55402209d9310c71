"""A server on a disk that fails: system calls that strace lets fail, a small file system, a limit on the size of files.

Whatever was acknowledged is there after a kill and a restart, whatever was refused is not, reads go on meanwhile, and
writes do by themselves once the disk does.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.vdb_process import VdbProcess, serving

WITHIN_S: Final = 20.0
TEXT: Final = "x" * 60_000  # a payload of several pages
TMPFS_BYTES: Final = 24 * 2**20

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="NOT TESTED: disk errors need strace (apt-get install strace)"
)
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="NOT TESTED: a small file system needs Linux and root to mount"
)
needs_prlimit = pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux limits other processes")


@dataclass(slots=True)
class Client:
    """Writes points, and sorts them by what it was told."""

    server: VdbProcess
    there: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    newest: int = 0

    def create(self) -> None:
        self.server.call("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}})

    def write(self) -> tuple[int, str]:
        """The status and the error of one more point."""
        self.newest += 1
        point = {"id": self.newest, "vector": [1.0, self.newest], "payload": {"text": TEXT}}
        status, message = send(self.server, "PUT", "/collections/c/points?wait=true", {"points": [point]})
        if status == 200 or "may be lost in a power cut" in message:
            self.there.add(self.newest)
        elif status == 507:
            self.absent.add(self.newest)
        else:
            assert status == 500, message
            assert "whether it was applied is not known" in message
            self.unknown.add(self.newest)
        return status, message

    def write_until(self, status: int, times: int = 400) -> str:
        for _ in range(times):
            found, message = self.write()
            if found == status:
                return message
        raise AssertionError(f"no write was answered {status}")

    def check(self) -> None:
        """Scroll, count and search agree with what was told."""
        page = self.server.call("POST", "/collections/c/points/scroll", {"limit": 10_000})
        found = {point["id"] for point in page["points"]}
        assert self.there <= found <= self.there | self.unknown
        assert found.isdisjoint(self.absent)
        assert self.server.call("POST", "/collections/c/points/count", {})["count"] == len(found)
        hits = self.server.call("POST", "/collections/c/points/query", {"query": [0, 1], "limit": 10_000})["points"]
        assert {hit["id"] for hit in hits} == found

    def check_after_kill(self) -> None:
        self.server.kill()
        with serving(self.server.storage) as self.server:
            self.check()
            assert self.write()[0] == 200
            self.check()


def send(server: VdbProcess, method: str, path: str, body: object) -> tuple[int, str]:
    """Status and error of any answer; errors must come in the envelope."""
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"content-type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            envelope: dict[str, Any] = json.load(error)
        assert envelope.keys() == {"status", "time"}
        return error.code, envelope["status"]["error"]


@contextlib.contextmanager
def failing(server: VdbProcess, calls: str, error: str, when: str) -> Iterator[None]:
    """Within this block system calls of the running server fail as strace's ``when`` says."""
    log = server.storage.with_name("strace.log")
    arguments = ["-f", "-p", str(server.process.pid), "-o", os.devnull, "-e", f"trace={calls}"]
    inject = ["-e", f"inject={calls}:error={error}:when={when}"]
    with (
        log.open("wb") as output,
        subprocess.Popen(["strace", *arguments, *inject], stderr=output, stdin=subprocess.DEVNULL) as strace,
    ):
        try:
            # Not "attached" alone: the message comes when all threads are.
            server.wait_for(lambda: "attached" in log.read_text() or None, WITHIN_S, f"let strace in: {log}")
            yield
        finally:
            strace.send_signal(signal.SIGTERM)  # it lets go of the server and ends
            strace.wait(WITHIN_S)


@needs_strace
def test_a_write_whose_flush_failed_is_decided_without_another_one_and_stays_so_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path / "storage") as server:
        client = Client(server)
        client.create()
        assert client.write()[0] == 200
        with failing(server, "fdatasync,fsync", "EIO", when="1+"):
            assert client.write()[0] == 500
        decided = "the transaction was not applied"
        server.wait_for(lambda: decided in server.log_text() or None, WITHIN_S, "find out what became of the write")
        # Its frames are whole in SQLite's log: a recovery would find them, had nothing been put in their place.
        client.absent |= client.unknown
        client.check_after_kill()


@needs_strace
@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ("fdatasync,fsync", "EIO"),
        ("pwrite64", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EROFS"),
        ("ftruncate", "EIO"),
    ],
)
def test_while_the_disk_fails_nothing_is_lost_and_afterwards_writes_go_on(
    tmp_path: Path, calls: str, error: str
) -> None:
    assert error in errno.errorcode.values()
    with serving(tmp_path / "storage") as server:
        client = Client(server)
        client.create()
        for _ in range(3):
            assert client.write()[0] == 200
        with failing(server, calls, error, when="2+"):
            for _ in range(6):
                client.write()
            client.check()
        client.write_until(200, times=20)
        client.check()
        client.check_after_kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={TMPFS_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: mount refused: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@needs_root
def test_a_full_disk_is_507_reads_go_on_and_room_is_enough_to_recover(small_disk: Path, tmp_path: Path) -> None:
    with serving(small_disk / "storage") as server:
        client = Client(server)
        client.create()
        assert client.write()[0] == 200
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert "No space left on device" in client.write_until(507)
        client.check()
        info = server.call("GET", "/collections/c")
        assert "No space left on device" in info["optimizer_status"]["error"]
        status, message = send(server, "PUT", "/collections/d", {"vectors": {"size": 2, "distance": "Dot"}})
        assert (status, "space" in message) == (507, True), message
        status, message = send(server, "PUT", "/collections/c/index", {"field_name": "text", "field_schema": "keyword"})
        assert status == 507, message
        ballast.unlink()
        assert client.write()[0] == 200
        client.check()
        server.call("PUT", "/collections/d", {"vectors": {"size": 2, "distance": "Dot"}})
        assert server.call("GET", "/collections/c")["optimizer_status"] == "ok"
        client.check_after_kill()


@needs_prlimit
def test_a_limit_on_the_size_of_files_refuses_writes_until_it_is_lifted(tmp_path: Path) -> None:
    import resource

    with serving(tmp_path / "storage") as server:
        client = Client(server)
        client.create()
        assert client.write()[0] == 200
        pid = server.process.pid
        assert sys.platform == "linux"
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (400_000, unlimited[1]))
        client.write_until(507)
        client.check()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        assert client.write()[0] == 200
        client.check()
        client.check_after_kill()
