"""What snapshots cost: ``python benchmarks/snapshot.py [--points 50000] [--dim 384]``.

========= ============================================================================================================
part      what it measures
========= ============================================================================================================
beside    p99 of reads by 4 clients and of durable writes by 2, without and with snapshots being made one after another,
          in alternating rounds: what slows the machine slows both
memory    growth of the server's resident memory while a snapshot is downloaded, uploaded (and refused at its end, for a
          checksum that is wrong), and recovered from; anonymous memory beside it, which no page of a file is part of
restore   whether the recovered collection gives the same answers
========= ============================================================================================================

Only Linux tells the memory of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.load import http_request, write_requests
from scripts.dataset import Dataset, generate
from scripts.vdb_process import VdbProcess, serving

LOAD: Final = Path(__file__).resolve().parent / "load.py"
COLLECTION: Final = "bench"
COPY: Final = "copy"
READERS: Final = 4
WRITERS: Final = 2
BATCH: Final = 500
_SAMPLE_S: Final = 0.01

Figures = dict[str, Any]


class Bench:
    def __init__(self, data: Dataset, folder: Path, server: VdbProcess, arguments: argparse.Namespace) -> None:
        self.data = data
        self.folder = folder
        self.server = server
        self.rounds: int = arguments.rounds
        self.round_s: float = arguments.round_seconds
        self.http = httpx.Client(base_url=server.url, timeout=600)
        self.figures: Figures = {"points": len(data.vectors), "dim": data.vectors.shape[1]}

    def run(self) -> None:
        self.fill()
        self.beside()
        self.memory_and_restore()

    def fill(self) -> None:
        size = self.data.vectors.shape[1]
        self.server.call("PUT", f"/collections/{COLLECTION}", {"vectors": {"size": size, "distance": "Cosine"}})
        for start in range(0, len(self.data.vectors), BATCH):
            self._put(range(start, min(start + BATCH, len(self.data.vectors)))).raise_for_status()
        self.server.wait_until_green(COLLECTION)

    def _put(self, rows: range) -> httpx.Response:
        return self.http.put(f"/collections/{COLLECTION}/points?wait=true", content=self._points(rows))

    def _points(self, rows: range) -> bytes:
        points = [
            {"id": row, "vector": self.data.vectors[row].tolist(), "payload": {"row": row, "text": f"point {row}"}}
            for row in rows
        ]
        return json.dumps({"points": points}).encode()

    def beside(self) -> None:
        queries = [json.dumps({"query": query.tolist(), "limit": 10}).encode() for query in self.data.queries]
        write_requests(
            self.folder / "reads",
            [http_request("POST", f"/collections/{COLLECTION}/points/query", body) for body in queries],
        )
        path = f"/collections/{COLLECTION}/points?wait=true"
        rows = range(min(1_000, len(self.data.vectors)))
        write_requests(
            self.folder / "writes", [http_request("PUT", path, self._points(range(row, row + 1))) for row in rows]
        )
        alone: list[Figures] = []
        beside: list[Figures] = []
        made: list[float] = []
        self._load(min(2.0, self.round_s))
        for _ in range(self.rounds):
            alone.append(self._load(self.round_s))
            with self._snapshots(made):
                beside.append(self._load(self.round_s))
            self.server.wait_until_green(COLLECTION)
        self.figures["beside"] = {
            kind: {
                "p99_ms_alone": _median(alone, kind, "p99_ms"),
                "p99_ms_beside": _median(beside, kind, "p99_ms"),
                "p99_ratio": statistics.median(
                    one[kind]["p99_ms"] / other[kind]["p99_ms"] for one, other in zip(beside, alone, strict=True)
                ),
                "per_second_ratio": statistics.median(
                    one[kind]["per_second"] / other[kind]["per_second"]
                    for one, other in zip(beside, alone, strict=True)
                ),
                "failed": sum(one[kind]["failed"] for one in (*alone, *beside)),
                "requests": sum(one[kind]["requests"] for one in (*alone, *beside)),
            }
            for kind in ("reads", "writes")
        }
        self.figures["beside"]["snapshots"] = len(made)
        self.figures["beside"]["snapshot_s"] = statistics.median(made)

    def _load(self, seconds: float) -> Figures:
        at = urlsplit(self.server.url)
        running = {
            kind: Popen(
                [
                    sys.executable,
                    str(LOAD),
                    str(at.hostname),
                    str(at.port),
                    str(clients),
                    str(seconds),
                    self.folder / kind,
                ],
                stdout=PIPE,
            )
            for kind, clients in (("reads", READERS), ("writes", WRITERS))
        }
        return {kind: json.loads(process.communicate()[0]) for kind, process in running.items()}

    @contextmanager
    def _snapshots(self, made: list[float]) -> Iterator[None]:
        """Makes and deletes snapshots during this block; how long each took goes to ``made``."""
        stop = threading.Event()

        def work() -> None:
            with httpx.Client(base_url=self.server.url, timeout=600) as client:
                while not stop.is_set():
                    started = time.perf_counter()
                    answer = client.post(f"/collections/{COLLECTION}/snapshots").raise_for_status()
                    made.append(time.perf_counter() - started)
                    name = answer.json()["result"]["name"]
                    client.delete(f"/collections/{COLLECTION}/snapshots/{name}").raise_for_status()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def memory_and_restore(self) -> None:
        made = self.server.call("POST", f"/collections/{COLLECTION}/snapshots")
        memory: Figures = {"snapshot_mib": made["size"] / 2**20}
        path = self.folder / "downloaded"
        with self._growth(memory, "download"):
            self._download(made["name"], path)
        upload = f"/collections/{COPY}/snapshots/upload"
        with self._growth(memory, "upload"), path.open("rb") as file:
            answer = self.http.post(upload, params={"checksum": "0" * 64}, files={"snapshot": file})
            assert answer.status_code == 400, answer.text
        started = time.perf_counter()
        with self._growth(memory, "recover"), path.open("rb") as file:
            self.http.post(upload, params={"checksum": made["checksum"]}, files={"snapshot": file}).raise_for_status()
        memory["recover_s"] = time.perf_counter() - started
        self.figures["memory"] = memory
        self.figures["restore"] = self._compare()

    def _download(self, name: str, path: Path) -> None:
        with self.http.stream("GET", f"/collections/{COLLECTION}/snapshots/{name}") as answer, path.open("wb") as file:
            for piece in answer.raise_for_status().iter_bytes():
                file.write(piece)

    @contextmanager
    def _growth(self, figures: Figures, what: str) -> Iterator[None]:
        """How much resident and anonymous memory grows at most during the block, in MiB."""
        stop = threading.Event()
        before = _memory_kib(self.server.process.pid)
        peak = dict(before)

        def sample() -> None:
            while not stop.wait(_SAMPLE_S):
                for kind, size in _memory_kib(self.server.process.pid).items():
                    peak[kind] = max(peak[kind], size)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        figures[what] = {kind: (peak[kind] - before[kind]) / 1024 for kind in before}

    def _compare(self) -> Figures:
        def same(ask: Callable[[str], Any]) -> bool:
            return bool(ask(COLLECTION) == ask(COPY))

        def exact(name: str) -> list[list[Any]]:
            return [
                [(hit["id"], hit["version"], hit["payload"], round(hit["score"], 5)) for hit in hits]
                for query in self.data.queries[:50]
                for hits in [self._query(name, {"query": query.tolist(), "params": {"exact": True}})]
            ]

        def all_points(name: str) -> Any:
            request = {"limit": len(self.data.vectors), "with_payload": True, "with_vector": False}
            return self.server.call("POST", f"/collections/{name}/points/scroll", request)["points"]

        def sample_vectors(name: str) -> Any:
            request = {"ids": list(range(0, len(self.data.vectors), 500)), "with_vector": True}
            return self.server.call("POST", f"/collections/{name}/points", request)

        figures: Figures = {"exact": same(exact), "points": same(all_points), "vectors": same(sample_vectors)}
        figures["green_after_s"] = self.server.wait_until_green(COPY)
        return figures

    def _query(self, name: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        body = {"limit": 10, "with_payload": True, **request}
        hits: list[dict[str, Any]] = self.server.call("POST", f"/collections/{name}/points/query", body)["points"]
        return hits


def _median(rounds: list[Figures], kind: str, figure: str) -> float:
    return statistics.median(float(one[kind][figure]) for one in rounds)


def _memory_kib(pid: int) -> dict[str, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return {"resident_mib": int(lines["VmRSS"].split()[0]), "anonymous_mib": int(lines["RssAnon"].split()[0])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vdb-snapshot-") as name:
        folder = Path(name)
        environment = {**os.environ, "VDB__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots")}
        with serving(folder / "storage", environment) as server:
            bench = Bench(generate(arguments.points, arguments.dim, queries=500), folder, server, arguments)
            bench.run()
            server.stop()
    print(json.dumps(bench.figures, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
