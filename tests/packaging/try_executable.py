"""Tries the executable: ``python -m tests.packaging.try_executable dist/vdb``. Linux; root for the clean folder.

Serves from a folder that holds the executable, the C library and nothing else (``chroot``), with an empty environment;
writes, builds a graph, searches, stops and is killed in every way. Prints size, time to the first answer and memory.
Fails if an answer is wrong, or a process or an unpacked folder stays behind. Times are printed, not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from tests.http.running_server import until

DIM: Final = 32
POINTS: Final = 3_000
STARTS: Final = 5

# What a glibc system has of itself; everything else must come out of the executable.
C_LIBRARY: Final = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1")


class World:
    """A folder to serve in: ``root`` for the server, which sees it as ``/`` if ``isolated``."""

    def __init__(self, folder: Path, executable: Path, *, isolated: bool) -> None:
        self.root = folder
        self.isolated = isolated
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        shutil.copy(executable, folder / "vdb")
        if isolated:
            _copy_c_library(folder, executable)

    def forget(self) -> None:
        """Takes the executable out of the page cache, as after a start of the machine."""
        with (self.root / "vdb").open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def command(self, port: int) -> list[str]:
        base = "/" if self.isolated else f"{self.root}/"
        served = [f"{base}vdb", "serve", "--port", str(port), "--storage-path", f"{base}storage"]
        return [_which("chroot"), str(self.root), *served] if self.isolated else served

    def unpacked(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir()]


class Server:
    """``launcher`` unpacked the program, ``inner`` is the program."""

    def __init__(self, world: World) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        environment = {} if world.isolated else {"TMPDIR": str(world.temporary)}
        began = time.monotonic()
        with (world.root / "log").open("ab") as log:
            self.process = subprocess.Popen(world.command(port), env=environment, cwd=world.root, stderr=log)
        until(self._answers)
        self.start_s = time.monotonic() - began
        self.launcher = self.process.pid
        (self.inner,) = children(self.launcher)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def memory_mib(self) -> float:
        """Resident memory of both processes; what they share counts once."""
        found = 0
        for process in (self.launcher, self.inner):
            text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
            found += int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0])
        return found / 1024

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the executable left"
        try:
            return self.http.get("/collections").status_code == 200
        except httpx.TransportError:
            return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executable", type=Path)
    executable = parser.parse_args().executable.resolve()
    isolated = os.geteuid() == 0
    print("a clean folder (chroot)" if isolated else "an empty environment; as root, in a clean folder too")
    print(f"size {executable.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="vdb-try-") as folder:
        world = World(Path(folder), executable, isolated=isolated)
        measure(world)
        use(world)
        for victims in ("SIGTERM", "launcher", "inner", "both", "inner while it builds"):
            end(world, victims)
            print(f"{victims}: nothing stays behind")
    return 0


def measure(world: World) -> None:
    memories = []
    for cold in (True, False):
        starts = []
        for _ in range(STARTS):
            if cold:
                world.forget()
            with serving(world) as server:
                starts.append(server.start_s)
                memories.append(server.memory_mib())
        spread = f"{min(starts):.2f} to {max(starts):.2f} s, median {statistics.median(starts):.2f} s"
        print(f"{'not' if cold else 'already'} in the page cache: first answer after {spread}")
    print(f"memory at rest {max(memories):.0f} MiB; load of the machine {os.getloadavg()[0]:.1f}")


def use(world: World) -> None:
    """A graph is built by a child process out of the same unpacked folder, and kept over a restart."""
    with serving(world) as server:
        fill(server)
        until(lambda: server.ask("GET", "/collections/tried")["indexed_vectors_count"] >= POINTS, 60.0)
        assert len(world.unpacked()) == 1, world.unpacked()
    with serving(world) as server:
        found = server.ask("POST", "/collections/tried/points/query", {"query": vector(77), "limit": 1})
        assert found["points"][0]["id"] == 77, found
    print("graph built, found again after a restart")


def end(world: World, victims: str) -> None:
    """Ends a server in one way: what it leaves is gone soon, or with the next start if both were killed."""
    server = Server(world)
    group = [server.launcher, server.inner]
    match victims:
        case "SIGTERM":
            server.process.terminate()
        case "launcher":
            os.kill(server.launcher, signal.SIGKILL)
        case "inner":
            os.kill(server.inner, signal.SIGKILL)
        case "both":
            os.kill(server.launcher, signal.SIGSTOP)  # so that it cannot clean up in between
            os.kill(server.inner, signal.SIGKILL)
            os.kill(server.launcher, signal.SIGKILL)
        case _:
            server.ask("DELETE", "/collections/tried")
            fill(server, count=20_000)
            group += until(lambda: children(server.inner))
            os.kill(server.inner, signal.SIGKILL)
    server.process.wait()
    try:
        until(lambda: not any(runs(process) for process in group))
    finally:
        for process in filter(runs, group):
            os.kill(process, signal.SIGKILL)
    if victims == "both":
        with serving(world):
            assert len(world.unpacked()) == 1, world.unpacked()
    until(lambda: not world.unpacked())


@contextlib.contextmanager
def serving(world: World) -> Iterator[Server]:
    server = Server(world)
    try:
        yield server
        server.process.terminate()
        assert server.process.wait(15) == 0
    finally:
        server.process.kill()
        server.process.wait()
    until(lambda: not world.unpacked())


def fill(server: Server, count: int = POINTS) -> None:
    optimizers = {"indexing_threshold": 1, "default_segment_number": 1}
    body = {"vectors": {"size": DIM, "distance": "Cosine"}, "optimizers_config": optimizers}
    server.ask("PUT", "/collections/tried", body)
    for start in range(0, count, 1_000):
        points = [{"id": number, "vector": vector(number)} for number in range(start, min(start + 1_000, count))]
        server.ask("PUT", "/collections/tried/points?wait=true", {"points": points})


def vector(number: int) -> list[float]:
    """Different for every number, and cheap."""
    return [((number * 2_654_435_761 + place * 40_503) >> place) % 1_000 / 1_000 for place in range(DIM)]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()]


def runs(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return False


def _copy_c_library(root: Path, executable: Path) -> None:
    listed = subprocess.run([_which("ldd"), executable], check=True, capture_output=True, text=True).stdout
    needed = [Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", listed, re.MULTILINE)]
    system = next(path.parent for path in needed if path.name == "libc.so.6")
    for library in {*needed, *(system / name for name in C_LIBRARY)}:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _which(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is not on the PATH"
    return found


if __name__ == "__main__":
    sys.exit(main())
