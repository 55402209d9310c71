"""Where the time of a request goes: ``python benchmarks/request_profile.py [--data PATH.npz]`` prints a Markdown table.

A sampling profiler (py-spy, ``pip install py-spy``) looks at a server under the load of 8 connections some hundred
times a second. A sample counts for the innermost of its frames that one of the rows below names, and only if its
thread runs or holds the interpreter: a thread that sleeps costs nothing. A row's share of the samples, times the CPU
time of the server for each request, is what that row costs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


import numpy as np

from benchmarks.bench import COLLECTION, ENVIRONMENT, SERVER, Bench
from benchmarks.load import http_request
from scripts.dataset import generate, load
from scripts.vdb_process import VdbProcess, serving

RATE: Final = 500  # samples a second
OTHER: Final = "event loop, threads, the rest"
# What a row is called, and parts of the paths (with the function after a colon) whose frames belong to it. The first
# row that names a frame has it.
ROWS: Final[dict[str, tuple[str, ...]]] = {
    "graph search (usearch)": ("usearch/",),
    "rescoring, comparing rows": ("vdb/segment/distance.py", "_gather", "_scan", "vdb/query/nearest.py"),
    "filter": ("vdb/query/selection.py", "vdb/query/filter.py", "vdb/query/field_filter.py", "fields/bitmaps.py"),
    "payloads (SQLite)": ("vdb/storage/",),
    "answer as JSON": ("vdb/query/points_json.py", "vdb/query/identities.py", "vdb/query/execute.py", "envelope.py"),
    "request from JSON, the query's vector": (
        "vdb/api/app.py:_decode",
        "vdb/model/",
        "msgspec",
        "vdb/query/dense.py",
        "vdb/query/examples.py",
    ),
    "plan and group": ("vdb/query/", "vdb/collection/", "vdb/segment/"),
    "routes, limits, metrics (vdb/api)": ("vdb/api/", "vdb/door.py", "vdb/server.py"),
    "Quart": ("quart", "werkzeug", "flask", "blinker"),
    "HTTP (Hypercorn, h11, sockets)": ("hypercorn", "h11/", "vdb/connections.py", "trio/_socket", "trio/_highlevel"),
}


def row_of(stack: list[str]) -> str:
    """The row that the innermost named frame belongs to; frames look like ``function (path:line)``."""
    for frame in reversed(stack):
        function, _, place = frame.partition(" (")
        known = f"{place.rpartition(':')[0]}:{function}"
        for row, parts in ROWS.items():
            if any(part in known for part in parts):
                return row
    return OTHER


def profile(server: VdbProcess, bench: Bench, name: str, requests: list[bytes], seconds: float) -> dict[str, Any]:
    """µs of CPU a request by row, and requests a second; the load runs twice, as profiling slows what it looks at."""
    bench.load(server, name, 8, 1.0, requests)
    alone = bench.load(server, name, 8, seconds)
    output = bench.folder / f"{name}.stacks"
    options = {"pid": server.process.pid, "rate": RATE, "duration": round(seconds), "format": "raw", "output": output}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    profiler = subprocess.Popen(["py-spy", "record", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bench.load(server, name, 8, seconds + 1)
    if profiler.wait() != 0:
        raise SystemExit("py-spy failed: is it installed, and may it look at other processes?")
    samples: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not _waits(frames[-1]):
            samples[row_of(frames)] += int(count)
    request_us = alone["server_cpu_share"] / alone["per_second"] * 1e6
    total = sum(samples.values())
    return {
        "per_second": alone["per_second"],
        "cpu_us": request_us,
        "rows_us": {row: request_us * samples[row] / total for row in (*ROWS, OTHER)},
    }


def _waits(frame: str) -> bool:
    """True for a thread that waits for work: py-spy takes some of them for running."""
    return frame.startswith(("WorkerThreads._work", "_worker", "wait (threading", "get_events", "run (aiosqlite"))


def table(figures: dict[str, Any]) -> str:
    """Markdown: a column a kind of request."""
    lines = ["| µs of the server's CPU a request | " + " | ".join(figures) + " |", "| --- |" + " ---: |" * len(figures)]
    for row in (*ROWS, OTHER):
        lines.append(f"| {row} | " + " | ".join(f"{each['rows_us'][row]:.0f}" for each in figures.values()) + " |")
    lines.append("| **all** | " + " | ".join(f"**{each['cpu_us']:.0f}**" for each in figures.values()) + " |")
    rates = " | ".join(f"{each['per_second']:,.0f}" for each in figures.values())
    return "\n".join([*lines, f"| requests a second | {rates} |"])


def twentieth(payloads: Sequence[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """A field of whole numbers, and a filter by it that lets a twentieth of the points through."""
    field = next(key for key, value in payloads[0].items() if type(value) is int)
    below = float(np.quantile([payload[field] for payload in payloads if field in payload], 0.05))
    return field, {"must": [{"key": field, "range": {"lt": below}}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument("--points", type=int, default=20_000, help="how many vectors to make up without --data")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each profile")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    arguments.batch, arguments.no_payload, arguments.rounds, arguments.round_seconds = 500, False, 1, arguments.seconds
    data = load(arguments.data) if arguments.data else generate(arguments.points, 384, 500)
    path = f"/collections/{COLLECTION}/points"
    queries = [query.tolist() for query in data.queries]
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "constant answer": ("floor", {}),
        "query": ("query", {}),
        "query with payload": ("query", {"with_payload": True}),
    }
    if data.payloads is not None:
        field, condition = twentieth(data.payloads)
        kinds["query with a filter"] = ("query", {"filter": condition})
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder:
        bench = Bench(data, Path(folder), arguments)
        with serving(bench.storage, ENVIRONMENT, SERVER) as server:
            bench.fill(server)
            if data.payloads is not None:
                body = {"field_name": field, "field_schema": "integer"}
                server.call("PUT", f"/collections/{COLLECTION}/index?wait=true", body)
            figures = {}
            for number, (kind, (route, more)) in enumerate(kinds.items()):
                bodies = [json.dumps({"query": query, "limit": 10, **more}).encode() for query in queries]
                requests = [http_request("POST", f"{path}/{route}", body) for body in bodies]
                figures[kind] = profile(server, bench, f"profile-{number}", requests, arguments.seconds)
            server.stop()
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
