"""The event loop stays free: during ingest, builds and searches nothing keeps it for longer than 20 ms."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from benchmarks.load import http_request, write_requests
from scripts.vdb_process import VdbProcess, serving
from tests.watchdog.loop_watch import Report

HERE: Final = Path(__file__).resolve().parent
LOAD: Final = HERE.parents[1] / "benchmarks" / "load.py"
BLOCKED_MAX_MS: Final = 20.0
# A neighbour of the virtual machine, or a server thread that the kernel put aside while it held the interpreter lock,
# looks like a blocked loop and happens now and then; code that blocks does so in every attempt.
ATTEMPTS: Final = 3
POINTS: Final = 6_000
BATCH: Final = 500
DIM: Final = 384
INDEXING_KIB: Final = 4_000  # a graph every 2,700 points: builds, swaps and merges go on during the ingest
SEARCH_S: Final = 3.0


def test_ingest_builds_and_searches_never_keep_the_event_loop(tmp_path: Path) -> None:
    points, searches = tmp_path / "points", tmp_path / "searches"
    _write_load(points, searches)
    reports: list[Report] = []
    for attempt in range(ATTEMPTS):
        reports.append(_measure(tmp_path / str(attempt), points, searches))
        if reports[-1].steps == [] or reports[-1].steps[0].blocked_ms <= BLOCKED_MAX_MS:
            return
    longest = "\n".join(str(step) for report in reports for step in report.steps[:5])
    pytest.fail(f"steps of the event loop, the longest of each attempt:\n{longest}")


def _write_load(points: Path, searches: Path) -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(POINTS, DIM)).astype(np.float32)
    bodies = [
        {
            "points": [
                {
                    "id": start + row,
                    "vector": vector,
                    "payload": {"name": f"point {start + row}", "tags": [row, "x" * 80]},
                }
                for row, vector in enumerate(vectors[start : start + BATCH].tolist())
            ]
        }
        for start in range(0, POINTS, BATCH)
    ]
    path = "/collections/watched/points"
    write_requests(points, [http_request("PUT", f"{path}?wait=true", json.dumps(body).encode()) for body in bodies])
    queries = [json.dumps({"query": vector, "limit": 10, "with_payload": True}) for vector in vectors[:100].tolist()]
    write_requests(searches, [http_request("POST", f"{path}/query", query.encode()) for query in queries])


def _measure(storage: Path, points: Path, searches: Path) -> Report:
    """Everything at once: two connections write, two search, segments are built and merged until all is green."""
    report = storage.with_name(storage.name + ".report")
    with serving(storage, command=[sys.executable, str(HERE / "watched_server.py"), str(report)]) as server:
        server.call(
            "PUT",
            "/collections/watched",
            {
                "vectors": {"size": DIM, "distance": "Cosine"},
                "optimizers_config": {"indexing_threshold": INDEXING_KIB},
                "hnsw_config": {"full_scan_threshold": INDEXING_KIB},
            },
        )
        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(_run_load, server, 2, 0, points)
            searching = pool.submit(_run_load, server, 2, SEARCH_S, searches)
            writing.result()
            searching.result()
        server.wait_until_green("watched")
        assert server.call("POST", "/collections/watched/points/count", {})["count"] == POINTS
        assert server.stop() == 0, server.log_text()
    return msgspec.json.decode(report.read_bytes(), type=Report)


def _run_load(server: VdbProcess, connections: int, seconds: float, requests: Path) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    finished = subprocess.run(
        [sys.executable, str(LOAD), host, port, str(connections), str(seconds), str(requests)],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(finished.stdout)["failed"] == 0
