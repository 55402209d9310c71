"""A collection that is measured: filled once, changed by PATCH, and asked over HTTP by a load generator beside it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.load import http_request, write_requests
from scripts.dataset import Dataset, generate, load
from scripts.vdb_process import VdbProcess

COLLECTION: Final = "bench"
BATCH: Final = 100  # searches in one request
GREEN_MAX_S: Final = 1_800.0
_INGEST_POINTS: Final = 500  # in one request

Figures = dict[str, Any]


class Served:
    """One collection of a running server."""

    def __init__(self, server: VdbProcess, data: Dataset, folder: Path) -> None:
        self.server = server
        self.data = data
        self._folder = folder

    def fill(self, create: Figures) -> None:
        """Makes the collection, writes all vectors and waits until it is green."""
        size = self.data.vectors.shape[1]
        self.server.call(
            "PUT", f"/collections/{COLLECTION}", {"vectors": {"size": size, "distance": "Cosine"}} | create
        )
        requests = []
        for start in range(0, len(self.data.vectors), _INGEST_POINTS):
            rows = self.data.vectors[start : start + _INGEST_POINTS].tolist()
            points = [{"id": start + number, "vector": row} for number, row in enumerate(rows)]
            body = json.dumps({"points": points}, separators=(",", ":")).encode()
            requests.append(http_request("PUT", f"/collections/{COLLECTION}/points?wait=true", body))
        self._send("ingest", requests, connections=2, seconds=0)
        self.server.wait_until_green(COLLECTION, GREEN_MAX_S)

    def change(self, change: Figures) -> None:
        """PATCHes the collection and waits until its segments are as that wants them."""
        self.server.call("PATCH", f"/collections/{COLLECTION}", change)
        self.server.wait_until_green(COLLECTION, GREEN_MAX_S)

    @property
    def segments(self) -> int:
        """Segments that hold points."""
        count: int = self.server.call("GET", f"/collections/{COLLECTION}")["segments_count"]
        return count - 1

    def recall(self, params: Figures) -> float:
        """recall@10 of all queries."""
        found: list[Sequence[int]] = []
        bodies = self._bodies(params)
        for start in range(0, len(bodies), BATCH):
            asked = {"searches": bodies[start : start + BATCH]}
            answers = self.server.call("POST", f"/collections/{COLLECTION}/points/query/batch", asked)
            found += [[hit["id"] for hit in answer["points"]] for answer in answers]
        return self.data.recall(found)

    def load(self, connections: int, seconds: float, params: Figures | None = None) -> Figures:
        """Single searches, for so long; with 0 seconds each query once."""
        path = f"/collections/{COLLECTION}/points/query"
        requests = [http_request("POST", path, json.dumps(body).encode()) for body in self._bodies(params or {})]
        return self._send("search", requests, connections, seconds)

    def load_batches(self, seconds: float) -> float:
        """Searches a second, BATCH of them in a request, over one connection."""
        path, bodies = f"/collections/{COLLECTION}/points/query/batch", self._bodies({})
        requests = [
            http_request("POST", path, json.dumps({"searches": bodies[start : start + BATCH]}).encode())
            for start in range(0, len(bodies) - BATCH + 1, BATCH)
        ]
        per_second: float = self._send("batch", requests, 1, seconds)["per_second"]
        return per_second * BATCH

    def _bodies(self, params: Figures) -> list[Figures]:
        return [{"query": query, "limit": 10, "params": params} for query in self.data.queries.tolist()]

    def _send(self, name: str, requests: Sequence[bytes], connections: int, seconds: float) -> Figures:
        path, at = self._folder / f"{name}.requests", urlsplit(self.server.url)
        write_requests(path, list(requests))
        program = str(Path(__file__).with_name("load.py"))
        command = [sys.executable, program, str(at.hostname), str(at.port), str(connections), str(seconds), str(path)]
        figures: Figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        path.unlink()
        if figures["failed"]:
            raise SystemExit(f"{name}: {figures['failed']} of {figures['requests']} requests failed")
        return figures


def parser_of(description: str | None, points: int, dim: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument("--points", type=int, default=points, help=f"vectors to make up without --data ({points})")
    parser.add_argument("--dim", type=int, default=dim, help=f"their dimensions ({dim})")
    parser.add_argument("--seconds", type=float, default=5.0, help="each load lasts so long (5)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser


def data_of(arguments: argparse.Namespace) -> Dataset:
    return load(arguments.data) if arguments.data else generate(arguments.points, arguments.dim, 1_000)


def report(title: str, rows: Sequence[Figures], path: Path | None) -> None:
    """A table with a row each, and the same as JSON."""
    table = Table(title=title)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)
    if path is not None:
        path.write_text(json.dumps({"title": title, "rows": list(rows)}, indent=2) + "\n", encoding="utf-8")
