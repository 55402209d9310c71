"""One phase of one peer, in a process of its own: ``python -m benchmarks.peers.worker JOB.json``.

=========== ==========================================================================================================
phase       what it does
=========== ==========================================================================================================
fill        a new collection, all points in durable batches, until indexed; leaves it closed in its folder
measure     opens that again: memory, searches, recall, batches, filters
brief       memory, recall and searches by eight clients at defaults only
cold        from the start of the process that holds the database to its first answer
writes      single points, each durable: a second, and flushes for each
crash       writes batches and prints how many points are acknowledged, until it is killed
count       what is there after that
=========== ==========================================================================================================

The last line on standard output is a JSON object. Phases share nothing but the folder.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.peers import load_generator, processes
from benchmarks.peers.dataset_folder import DatasetFolder
from benchmarks.peers.http_peer import HttpPeer
from benchmarks.peers.peer import Filter, Peer, Unsupported
from benchmarks.peers.registry import PEERS

Figures = dict[str, Any]

INGEST_BATCH: Final = 500  # points in one write
CRASH_BATCH: Final = 50
WARM_UP: Final = 5  # searches before each load
MANY: Final = 8  # clients
BATCH: Final = 100  # queries in one call
ENOUGH: Final = 0.99  # of recall@10
SINGLE_WRITES: Final = 100
CRASH_WAIT_S: Final = 60.0
SINGLE_WRITES_MAX_S: Final = 5.0
RECALL_QUERIES_MIN: Final = 20
RECALL_MAX_S: Final = 8.0  # a slow peer's recall is told from fewer queries


class Phases:
    def __init__(self, job: Figures) -> None:
        self.job = job
        self.seconds: float = job["seconds"]
        self.data = DatasetFolder.open(Path(job["data"]))
        self.own_bytes = processes.memory_bytes([os.getpid()])
        self.peer: Peer = PEERS[job["peer"]].load()(Path(job["folder"]), self.data.queries.shape[1], self.data.fields)

    def run(self) -> Figures:
        phase: Callable[[], Figures] = getattr(self, self.job["phase"])
        return phase()

    def fill(self) -> Figures:
        payloads = self.data.payloads()
        starts = range(0, len(self.data.vectors), INGEST_BATCH)

        def write(start: int) -> None:
            rows = np.ascontiguousarray(self.data.vectors[start : start + INGEST_BATCH])
            self.peer.write(start, rows, payloads[start : start + INGEST_BATCH])

        self.peer.open(create=True)
        try:
            started = time.perf_counter()
            if self.peer.ingest_clients == 1:
                for start in starts:
                    write(start)
            else:
                with ThreadPoolExecutor(self.peer.ingest_clients) as clients:
                    list(clients.map(write, starts))
            written = time.perf_counter()
            self.peer.finish()
            green = time.perf_counter()
        finally:
            self.peer.close()
        return {
            "points_per_second": len(payloads) / (written - started),
            "ingest_s": written - started,
            "green_s": green - written,
            "disk_bytes": processes.disk_bytes(self.peer.folder),
        }

    def brief(self) -> Figures:
        self.peer.open(create=False)
        try:
            return {
                "memory_bytes": self._memory(),
                "recall": self._recall(),
                "many": self._load(MANY),
            }
        finally:
            self.peer.close()

    def measure(self) -> Figures:
        self.peer.open(create=False)
        try:
            figures: Figures = {"memory_bytes": self._memory()}
            figures["defaults"] = self._point(None, one=True)
            curve = [{"width": width, **self._point(width, one=False)} for width in self.peer.widths]
            figures["curve"] = curve
            figures["width_name"] = self.peer.width_name
            figures["enough"] = self._enough(figures["defaults"], curve)
            figures["batch"] = self._batch()
            figures["filters"] = {name: self._filtered(name, wanted) for name, wanted in self.data.filters.items()}
            return figures
        finally:
            self.peer.close()

    def _enough(self, defaults: Figures, curve: list[Figures]) -> Figures | None:
        """The cheapest width that finds enough; None where none does. Exact peers have one way only."""
        if not curve:
            return {"width": None, **defaults} if (defaults["recall"] or 0) >= ENOUGH else None
        for point in curve:
            if point["recall"] >= ENOUGH:
                return {**point, "one": self._load(1, point["width"])}
        return None

    def _point(self, width: int | None, one: bool) -> Figures:
        figures: Figures = {"recall": self._recall(width)}
        if one:
            figures["one"] = self._load(1, width)
        return figures | {"many": self._load(MANY, width)}

    def _memory(self) -> int:
        """After 200 searches, so that what searching needs is there."""
        for query in itertools.islice(self.data.queries, 200):
            self.peer.search(query)
        gc.collect()
        pids = self.peer.server_pids()
        if pids:
            return processes.memory_bytes(pids)
        return max(0, processes.memory_bytes([os.getpid()]) - self.own_bytes)

    def _recall(self, width: int | None = None, filter_name: str | None = None) -> float | None:
        """None of a limit that answers constants."""
        if self.job["peer"] == "floor":
            return None
        wanted = None if filter_name is None else self.data.filters[filter_name]
        found: list[list[int]] = []
        until = time.monotonic() + RECALL_MAX_S
        for query in self.data.queries[: self.job["recall_queries"]]:
            found.append(self.peer.search(query, width, wanted))
            if time.monotonic() > until and len(found) >= RECALL_QUERIES_MIN:
                break
        return self.data.recall(found, filter_name)

    def _load(self, clients: int, width: int | None = None, wanted: Filter | None = None) -> Figures:
        """With ``cpu_ms``: what one search costs the process that holds the database, whoever else is busy."""
        queries = self.data.queries
        if isinstance(self.peer, HttpPeer):
            requests = [self.peer.prepared(query[None], width, wanted) for query in queries]
            measured = functools.partial(self._over_http, requests, clients)
        else:
            calls = [functools.partial(self.peer.search, query, width, wanted) for query in queries]
            measured = functools.partial(load_generator.by_threads, calls, clients, self.seconds)
        for query in queries[:WARM_UP]:  # another width may mean another server, with nothing loaded
            self.peer.search(query, width, wanted)
        pids = self.peer.server_pids() or [os.getpid()]
        before_s = processes.cpu_seconds(pids)
        figures: Figures = {**measured()}
        figures["cpu_ms"] = (processes.cpu_seconds(pids) - before_s) * 1000 / figures["searches"]
        return figures

    def _over_http(self, requests: list[bytes], clients: int) -> load_generator.Figures:
        assert isinstance(self.peer, HttpPeer)
        scratch = self.peer.folder.with_name(f"{self.peer.folder.name}.requests")
        return load_generator.over_http(self.peer.port, requests, clients, self.seconds, scratch)

    def _batch(self) -> Figures | None:
        """Queries a second, one call after the other."""
        batches = [
            self.data.queries[start : start + BATCH] for start in range(0, len(self.data.queries) - BATCH + 1, BATCH)
        ]
        try:
            self.peer.search_batch(batches[0])
            if isinstance(self.peer, HttpPeer):
                figures = self._over_http([self.peer.prepared(batch) for batch in batches], 1)
            else:
                calls = [functools.partial(self.peer.search_batch, batch) for batch in batches]
                figures = load_generator.by_threads(calls, 1, self.seconds)
        except Unsupported:
            return None
        return {"queries_per_second": figures["per_second"] * BATCH, "p50_ms": figures["p50_ms"]}

    def _filtered(self, name: str, wanted: Filter) -> Figures | None:
        try:
            return {"recall": self._recall(None, name), "many": self._load(MANY, None, wanted)}
        except Unsupported:
            return None

    def cold(self) -> Figures:
        """In process: from the start of this process, as the job tells it. A server: from its own."""
        started: float = self.job["spawned_at"]
        if isinstance(self.peer, HttpPeer) or self.peer.kind == "socket":
            started = time.monotonic()
        self.peer.open(create=False)
        try:
            self.peer.search(self.data.queries[0])
            return {"first_answer_s": time.monotonic() - started}
        finally:
            self.peer.close()

    def writes(self) -> Figures:
        payloads = self.data.payloads()
        numbers = itertools.count()

        def write_single() -> None:
            row = next(numbers)
            self.peer.write(row, np.ascontiguousarray(self.data.vectors[row : row + 1]), payloads[row : row + 1])

        def write_many(limit_s: float) -> tuple[int, float]:
            started = time.perf_counter()
            for done in range(SINGLE_WRITES):
                if time.perf_counter() - started > limit_s:
                    return done, time.perf_counter() - started
                write_single()
            return SINGLE_WRITES, time.perf_counter() - started

        self.peer.open(create=True)
        try:
            write_single()
            done, elapsed_s = write_many(SINGLE_WRITES_MAX_S)
            counted: list[int] = []
            calls = processes.flushes(
                self.peer.server_pids() or [os.getpid()],
                lambda: counted.append(write_many(SINGLE_WRITES_MAX_S)[0]),
            )
        finally:
            self.peer.close()
        flushes = None if calls is None else sum(calls.values()) / counted[0]
        return {"singles_per_second": done / elapsed_s, "flushes_per_write": flushes, "flush_calls": calls}

    def crash(self) -> Figures:
        payloads = self.data.payloads()
        self.peer.open(create=True)
        print(json.dumps({"pids": self.peer.server_pids() or [os.getpid()]}), flush=True)
        try:
            for start in range(0, len(payloads), CRASH_BATCH):
                rows = np.ascontiguousarray(self.data.vectors[start : start + CRASH_BATCH])
                self.peer.write(start, rows, payloads[start : start + CRASH_BATCH])
                print(json.dumps({"acknowledged": start + len(rows)}), flush=True)
            threading.Event().wait(CRASH_WAIT_S)  # to be killed while everything is acknowledged
        finally:
            # A dead server stays in the table of processes until its parent has asked for it: PostgreSQL looks there.
            self.peer.close()
        return {}

    def count(self) -> Figures:
        self.peer.open(create=False)
        try:
            return {"found": self.peer.count()}
        finally:
            self.peer.close()


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_bytes())
    figures = Phases(job).run()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
