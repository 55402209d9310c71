"""The figures of vdb, one command: ``python benchmarks/bench.py [--data PATH.npz] [--only ingest,search]``.

======== =============================================================================================================
part     what it measures
======== =============================================================================================================
ingest   PUT /points?wait=true, batches of 500, two connections, every batch durable; then the time until green
recall   recall@10 at default parameters, and whether `exact` equals the exact answers
search   searches a second over HTTP beside the same server answering a constant, 8 keep-alive connections, limit 10,
         without and with payload, in alternating rounds: what slows the machine slows both
writes   durable writes of single points, by one client and by 64
start    from starting the process to its first answer, after an orderly stop and after kill -9
======== =============================================================================================================

Without ``--data`` it makes up clustered vectors. The load comes from a process of its own (`load.py`). Ratios of one
run compare well between machines, and between busy moments of one; absolute figures do not. ``cpu_share`` is the CPU
time of the load generator per second, ``server_cpu_share`` that of the server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.load import http_request, write_requests
from scripts.dataset import Dataset, generate, load
from scripts.vdb_process import VdbProcess, serving

HERE: Final = Path(__file__).resolve().parent
COLLECTION: Final = "bench"
SCRATCH: Final = "writes"  # the collection that single points are written to
PARTS: Final = ("ingest", "recall", "search", "writes", "start")
SERVER: Final = (sys.executable, str(HERE / "floor_server.py"))
# The floor's server imports numpy before vdb can tell it this.
ENVIRONMENT: Final = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

Figures = dict[str, Any]


class Bench:
    """One server over one folder, and what was measured so far."""

    def __init__(self, data: Dataset, folder: Path, arguments: argparse.Namespace) -> None:
        self.data = data
        self.folder = folder
        self.batch: int = arguments.batch
        self.rounds: int = arguments.rounds
        self.round_s: float = arguments.round_seconds
        self.with_payloads: bool = not arguments.no_payload
        self.figures: Figures = {"data": data.name, "points": len(data.vectors), "dim": data.vectors.shape[1]}

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def load(
        self, server: VdbProcess, name: str, connections: int, seconds: float, requests: Sequence[bytes] | None = None
    ) -> Figures:
        """Runs the load generator over requests of that name, which are written the first time; its figures."""
        path = self.folder / f"{name}.requests"
        if requests is not None:
            write_requests(path, list(requests))
        at = urlsplit(server.url)
        cpu = _cpu_seconds(server.process.pid)
        finished = subprocess.run(
            [
                sys.executable,
                str(HERE / "load.py"),
                str(at.hostname),
                str(at.port),
                str(connections),
                str(seconds),
                path,
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
        figures: Figures = json.loads(finished.stdout)
        figures["server_cpu_share"] = (_cpu_seconds(server.process.pid) - cpu) / figures["seconds"]
        if figures["failed"]:
            raise SystemExit(f"{name}: {figures['failed']} of {figures['requests']} requests failed")
        return figures

    def fill(self, server: VdbProcess) -> None:
        """Part `ingest`; every other part needs it."""
        size = self.data.vectors.shape[1]
        server.call("PUT", f"/collections/{COLLECTION}", {"vectors": {"size": size, "distance": "Cosine"}})
        path = f"/collections/{COLLECTION}/points?wait=true"
        bodies = [
            http_request("PUT", path, _points_body(self.data, start, self.batch, self.with_payloads))
            for start in range(0, len(self.data.vectors), self.batch)
        ]
        figures = self.load(server, "ingest", 2, 0, bodies)
        (self.folder / "ingest.requests").unlink()
        figures["points_per_second"] = len(self.data.vectors) / figures["seconds"]
        figures["body_bytes"] = statistics.mean(map(len, bodies))
        figures["green_after_s"] = server.wait_until_green(COLLECTION)
        info = server.call("GET", f"/collections/{COLLECTION}")
        figures |= {key: info[key] for key in ("points_count", "indexed_vectors_count", "segments_count")}
        self.figures["ingest"] = figures

    def recall(self, server: VdbProcess) -> None:
        figures: Figures = {}
        for name, params in (("default", {}), ("exact", {"exact": True})):
            found = [[hit["id"] for hit in self._query(server, query.tolist(), params)] for query in self.data.queries]
            figures[name] = self.data.recall(found)
        self.figures["recall"] = figures

    def _query(self, server: VdbProcess, query: list[float], params: dict[str, Any]) -> list[dict[str, Any]]:
        body = {"query": query, "limit": 10, "params": params}
        hits: list[dict[str, Any]] = server.call("POST", f"/collections/{COLLECTION}/points/query", body)["points"]
        return hits

    def search(self, server: VdbProcess) -> None:
        figures: Figures = {}
        for name, with_payload in (("no_payload", False), ("payload", True)):
            bodies = [
                json.dumps({"query": query.tolist(), "limit": 10, "with_payload": with_payload}).encode()
                for query in self.data.queries
            ]
            places = {
                "bare": "/bare",
                "floor": f"/collections/{COLLECTION}/points/floor",
                "search": f"/collections/{COLLECTION}/points/query",
            }
            for place in ("floor", "search", "bare"):
                requests = [http_request("POST", places[place], body) for body in bodies]
                self.load(server, f"{name}-{place}", 8, min(1.0, self.round_s), requests)
            rounds: dict[str, list[Figures]] = {place: [] for place in places}
            for _ in range(self.rounds):
                for place, measured in rounds.items():
                    measured.append(self.load(server, f"{name}-{place}", 8, self.round_s))
            figures[name] = {place: _median_of(measured) for place, measured in rounds.items()}
            for floor in ("floor", "bare"):
                figures[name][f"ratio_to_{floor}"] = statistics.median(
                    there["per_second"] / alone["per_second"]
                    for there, alone in zip(rounds["search"], rounds[floor], strict=True)
                )
        self.figures["search"] = figures

    def writes(self, server: VdbProcess) -> None:
        size = self.data.vectors.shape[1]
        server.call("PUT", f"/collections/{SCRATCH}", {"vectors": {"size": size, "distance": "Cosine"}})
        path = f"/collections/{SCRATCH}/points?wait=true"
        count = min(len(self.data.vectors), 2_000)
        requests = [
            http_request("PUT", path, _points_body(self.data, row, 1, self.with_payloads)) for row in range(count)
        ]
        self.figures["writes"] = {
            "one_client": _median_of(
                [self.load(server, "write", 1, self.round_s, requests) for _ in range(self.rounds)]
            ),
            "64_clients": _median_of(
                [self.load(server, "write", 64, self.round_s, requests) for _ in range(self.rounds)]
            ),
        }
        server.call("DELETE", f"/collections/{SCRATCH}")

    def start(self) -> None:
        """Each start follows the kind of end that it is named after."""
        ends: dict[str, Callable[[VdbProcess], object]] = {"after_stop": VdbProcess.stop, "after_kill": VdbProcess.kill}
        measured: dict[str, list[float]] = {name: [] for name in ends}
        for _ in range(self.rounds):
            for name, end in ends.items():
                with serving(self.storage) as server:
                    end(server)
                measured[name].append(self._first_answer_s())
        self.figures["start"] = {f"{name}_s": statistics.median(seconds) for name, seconds in measured.items()}

    def _first_answer_s(self) -> float:
        server = VdbProcess(self.storage)
        try:
            server.wait_until_listening()
            hits = self._query(server, self.data.queries[0].tolist(), {})
            elapsed = time.perf_counter() - server.started_at
            assert len(hits) == 10
            server.stop()
        finally:
            server.kill()
        return elapsed

    def run(self, parts: Sequence[str]) -> None:
        with serving(self.storage, ENVIRONMENT, SERVER) as server:
            self.fill(server)
            for part in ("recall", "search", "writes"):
                if part in parts:
                    getattr(self, part)(server)
            server.stop()
        if "start" in parts:
            self.start()


def _points_body(data: Dataset, start: int, count: int, with_payloads: bool) -> bytes:
    """The body that qdrant-client sends: float32 values as Python floats, no spaces."""
    rows = data.vectors[start : start + count]
    points = [{"id": start + number, "vector": row} for number, row in enumerate(rows.tolist())]
    if with_payloads and data.payloads is not None:
        for point, payload in zip(points, data.payloads[start : start + count], strict=True):
            point["payload"] = payload
    return json.dumps({"points": points}, separators=(",", ":"), ensure_ascii=False).encode()


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median_of(rounds: Sequence[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def print_table(figures: Figures) -> None:
    table = Table(title=f"vdb, {figures['points']} × {figures['dim']} ({figures['data']})")
    table.add_column("figure")
    table.add_column("value", justify="right")

    def add(prefix: str, tree: Figures) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                add(f"{prefix}{key} ", value)
            else:
                table.add_row(
                    f"{prefix}{key}", f"{value:,.4g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
                )

    add("", {part: figures[part] for part in PARTS if part in figures})
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument("--points", type=int, default=20_000, help="how many vectors to make up without --data")
    parser.add_argument("--only", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--batch", type=int, default=500, help="points in one request of the ingest")
    parser.add_argument("--no-payload", action="store_true", help="store the vectors without payloads")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many rounds")
    parser.add_argument("--round-seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    data = load(arguments.data) if arguments.data else generate(arguments.points, 384, 1_000)
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder:
        bench = Bench(data, Path(folder), arguments)
        bench.run(parts)
    print_table(bench.figures)
    text = json.dumps(bench.figures, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
