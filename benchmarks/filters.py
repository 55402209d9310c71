"""Filters and field indexes, one command: ``python benchmarks/filters.py [--data PATH.npz] [--queries PATH.json]``.

============ =========================================================================================================
part         what it measures
============ =========================================================================================================
unindexed    each filter before any index is there: the first query, which reads payloads, and those after it
building     four indexes built one after the other while 4 clients search: the slowest search beside the median before
filtered     searches a second with each filter beside the HTTP floor, 8 connections; recall@10 against `exact`
reading      scroll of all points with payload, count and facet with an index
writing      set_payload by filter on at least 10,000 points, durable
============ =========================================================================================================

``--queries`` is a JSON file with ``{"filters": {name: filter}}``; without it, filters over the payload's whole numbers
that let half, a twentieth and a two-hundredth of the points through.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench import COLLECTION, ENVIRONMENT, SERVER, Bench, Figures
from benchmarks.load import http_request
from scripts.dataset import Dataset, generate, load
from scripts.vdb_process import VdbProcess, serving

PATH: Final = f"/collections/{COLLECTION}/points"
INDEXES: Final = 4
PAGE: Final = 1_000
SEARCHING: Final = 4  # clients while indexes are built
SHARES: Final = {"half": 0.5, "five": 0.05, "half_percent": 0.005}
KINDS: Final = {str: "keyword", int: "integer", float: "float", bool: "bool"}


class Filters:
    """The parts, over one filled server."""

    def __init__(self, bench: Bench, server: VdbProcess, filters: Mapping[str, Any], round_s: float) -> None:
        self.bench = bench
        self.server = server
        self.filters = filters
        self.round_s = round_s
        assert bench.data.payloads is not None, "filters need payloads"
        self.fields = {
            field: KINDS[type(value)] for field, value in bench.data.payloads[0].items() if type(value) in KINDS
        }

    def query(self, row: int, **more: Any) -> list[int]:
        body = {"query": self.bench.data.queries[row].tolist(), "limit": 10, **more}
        return [hit["id"] for hit in self.server.call("POST", f"{PATH}/query", body)["points"]]

    def unindexed(self) -> Figures:
        figures: Figures = {}
        for name, condition in self.filters.items():
            first_ms = _milliseconds(lambda wanted=condition: self.query(0, filter=wanted))
            after = [
                _milliseconds(lambda row=row, wanted=condition: self.query(row, filter=wanted)) for row in range(20)
            ]
            figures[name] = {"first_ms": first_ms, "p50_ms": statistics.median(after)}
        return figures

    def building(self) -> Figures:
        self.bench.load(self.server, "four", SEARCHING, 0.5, self.requests({}))
        before = self.bench.load(self.server, "four", SEARCHING, self.round_s)
        with ThreadPoolExecutor(1) as pool:
            searching = pool.submit(self.bench.load, self.server, "four", SEARCHING, self.round_s + 2)
            seconds = {field: self.build(field) for field in list(self.fields)[:INDEXES]}
            during = searching.result()
        for field in list(self.fields)[INDEXES:]:
            self.build(field)
        return {
            "build_s": seconds,
            "p50_ms_before": before["p50_ms"],
            "max_ms_before": before["max_ms"],
            "p99_ms_during": during["p99_ms"],
            "max_ms_during": during["max_ms"],
            "slowest_to_median_before": during["max_ms"] / before["p50_ms"],
        }

    def build(self, field: str) -> float:
        body = {"field_name": field, "field_schema": self.fields[field]}
        path = f"/collections/{COLLECTION}/index?wait=true"
        return _milliseconds(lambda: self.server.call("PUT", path, body)) / 1000

    def requests(self, more: Mapping[str, Any], route: str = "query") -> list[bytes]:
        bodies = ({"query": query.tolist(), "limit": 10, **more} for query in self.bench.data.queries)
        return [http_request("POST", f"{PATH}/{route}", json.dumps(body).encode()) for body in bodies]

    def filtered(self) -> Figures:
        figures: Figures = {}
        self.bench.load(self.server, "floor", 8, 1.0, self.requests({}, "floor"))
        for name, condition in self.filters.items():
            self.bench.load(self.server, name, 8, 1.0, self.requests({"filter": condition}))
            rounds = []
            for _ in range(self.bench.rounds):
                floor = self.bench.load(self.server, "floor", 8, self.round_s)["per_second"]
                found = self.bench.load(self.server, name, 8, self.round_s)
                rounds.append((found["per_second"] / floor, found["per_second"], found["p50_ms"]))
            ratio, per_second, p50_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
            figures[name] = {
                "recall": self.recall(condition),
                "per_second": per_second,
                "p50_ms": p50_ms,
                "ratio_to_floor": ratio,
            }
        return figures

    def recall(self, condition: Any) -> float:
        right = wanted = 0
        for row in range(len(self.bench.data.queries)):
            exact = self.query(row, filter=condition, params={"exact": True})
            right += len(set(exact) & set(self.query(row, filter=condition)))
            wanted += len(exact)
        return right / wanted

    def reading(self) -> Figures:
        started, offset, count = time.perf_counter(), None, 0
        while True:
            page = self.server.call("POST", f"{PATH}/scroll", {"limit": PAGE, "offset": offset, "with_payload": True})
            count += len(page["points"])
            offset = page["next_page_offset"]
            if offset is None:
                break
        scrolled_s = time.perf_counter() - started
        assert count == len(self.bench.data.vectors)
        condition = next(iter(self.filters.values()))
        payloads = self.bench.data.payloads or ()
        texts = [field for field, kind in self.fields.items() if kind == "keyword"]
        keyword = min(texts, key=lambda field: abs(len({payload[field] for payload in payloads}) - 50))
        facet = f"/collections/{COLLECTION}/facet"
        counting = [http_request("POST", f"{PATH}/count", json.dumps({"filter": condition}).encode())]
        faceting = [http_request("POST", facet, json.dumps({"key": keyword, "limit": 100}).encode())]
        return {
            "scrolled_per_second": count / scrolled_s,
            "count_p50_ms": self.bench.load(self.server, "count", 1, self.round_s, counting)["p50_ms"],
            "facet_p50_ms": self.bench.load(self.server, "facet", 1, self.round_s, faceting)["p50_ms"],
        }

    def writing(self) -> Figures:
        condition = next(iter(self.filters.values()))
        points = self.server.call("POST", f"{PATH}/count", {"filter": condition})["count"]
        body = {"payload": {"seen": True}, "filter": condition}
        seconds = _milliseconds(lambda: self.server.call("POST", f"{PATH}/payload?wait=true", body)) / 1000
        return {"points": points, "seconds": seconds, "points_per_second": points / seconds}

    def run(self) -> Figures:
        parts: list[Callable[[], Figures]] = [
            *(self.unindexed, self.building, self.filtered, self.reading, self.writing)
        ]
        return {part.__name__: part() for part in parts}


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def made_up(data: Dataset) -> dict[str, Any]:
    """Ranges over the row number, which payloads of made-up data hold as ``size``."""
    return {
        name: {"must": [{"key": "size", "range": {"lt": share * len(data.vectors)}}]} for name, share in SHARES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument("--queries", type=Path, help="JSON with `filters`")
    parser.add_argument("--points", type=int, default=20_000, help="how many vectors to make up without --data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    data = load(arguments.data) if arguments.data else generate(arguments.points, 384, 500)
    filters = json.loads(arguments.queries.read_bytes())["filters"] if arguments.queries else made_up(data)
    arguments.batch, arguments.no_payload = 500, False
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder:
        bench = Bench(data, Path(folder), arguments)
        with serving(bench.storage, ENVIRONMENT, SERVER) as server:
            bench.fill(server)
            wanted = {name: condition for name, condition in filters.items() if condition}
            figures = Filters(bench, server, wanted, arguments.round_seconds).run()
            server.stop()
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
