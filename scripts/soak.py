"""Mixed load for a long time: ``python scripts/soak.py --minutes 60``. Exits with 1 where something grows.

Two clients write, two read, one makes and deletes snapshots. Meanwhile these are sampled:

============ =========================================================================================================
memory       ``RssAnon``: its median in the last third beside that in the second
descriptors  open files and sockets of the server, likewise
wal_bytes    the ``-wal`` file: never above ``WAL_BYTES_MAX``
log_bytes    operations kept in the log table: never above ``wal_capacity_mb`` and what one trim leaves
quiet_s      from the last write until the collection is green
blocked_ms   the longest that the event loop was kept by one step (``tests/watchdog/loop_watch.py``)
============ =========================================================================================================

The points live in a fixed space of ids, so that what is stored does not grow while they are written, changed and
deleted. In the end, the points that are counted, scrolled and asked of SQLite are those that the writers kept.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from scripts.vdb_process import VdbProcess, serving
from tests.watchdog.loop_watch import Report

COLLECTION: Final = "soak"
PATH: Final = f"/collections/{COLLECTION}"
DIM: Final = 64
IDS: Final = 6_000  # of each writer
BATCH: Final = 100
SAMPLE_S: Final = 0.5
# Operations are 60 KB: some seconds of them fill the log, so that it is trimmed all the time.
WAL_CAPACITY_MB: Final = 8
LOG_BYTES_MAX: Final = 2 * WAL_CAPACITY_MB * 2**20
WAL_BYTES_MAX: Final = 160 * 2**20  # emptied beyond 64 MiB; a checkpoint takes a while, in which writes go on
QUIET_MAX_S: Final = 60.0
MEMORY_GROWTH_MAX: Final = 1.15  # of the last third beside the second: caches fill, and a leak goes on
MEMORY_SLACK_BYTES: Final = 24 * 2**20  # what one build or snapshot more or less makes
DESCRIPTORS_SLACK: Final = 40  # files of one generation of segments more or less
# Of computing, by the clock of the thread, which also runs while the host of a virtual machine runs others: that makes
# a step look long now and then, and code that blocks does so again and again.
BLOCKED_MAX_MS: Final = 20.0
BLOCKED_STEPS_MAX: Final = 2
WATCHED_SERVER: Final = Path(__file__).resolve().parents[1] / "tests" / "watchdog" / "watched_server.py"


class Sample(msgspec.Struct):
    at_s: float
    memory_bytes: int
    descriptors: int
    wal_bytes: int
    log_bytes: int


class Figures(msgspec.Struct):
    """``wrong`` says what must not be."""

    seconds: float
    writes: int
    reads: int
    snapshots: int
    memory_ratio: float
    memory_bytes: int
    descriptors: int
    wal_bytes_max: int
    log_bytes_max: int
    quiet_s: float
    blocked_ms: list[float]  # the five longest steps
    wrong: list[str]


class Client:
    """One keep-alive connection. Owned by one thread."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise AssertionError(f"{method} {path}: {answer.status} {content.decode(errors='replace')[:500]}")
        return json.loads(content)["result"]


class Soak:
    """Load on one server for ``seconds``."""

    def __init__(self, server: VdbProcess, seconds: float, seed: int) -> None:
        self._server = server
        self._seconds = seconds
        self._seed = seed
        self._until = 0.0
        self._failures: list[str] = []
        self.counts = {"writes": 0, "reads": 0, "snapshots": 0}
        self.living: list[set[int]] = [set(), set()]
        self.samples: list[Sample] = []

    def run(self) -> Figures:
        config = {
            "vectors": {"size": DIM, "distance": "Cosine"},
            "optimizers_config": {"indexing_threshold": 300, "vacuum_min_vector_number": 100},
            "hnsw_config": {"full_scan_threshold": 300},
            "wal_config": {"wal_capacity_mb": WAL_CAPACITY_MB},
        }
        self._server.call("PUT", PATH, config)
        self._server.call("PUT", f"{PATH}/index?wait=true", {"field_name": "third", "field_schema": "integer"})
        started = time.monotonic()
        self._until = started + self._seconds
        tasks = [partial(task, number) for task in (self._write, self._read) for number in range(2)]
        threads = [threading.Thread(target=self._guarded, args=(task,)) for task in [*tasks, self._snapshot]]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.samples.append(self._sample(time.monotonic() - started))
            time.sleep(SAMPLE_S)
        quiet_s = self._server.wait_until_green(COLLECTION)
        return self._figures(quiet_s)

    def _guarded(self, task: Callable[[Client], None]) -> None:
        client = Client(self._server.url)
        try:
            task(client)
        except Exception as error:
            self._failures.append(f"{type(error).__name__}: {error}")
        finally:
            client.close()

    def _going_on(self) -> bool:
        return time.monotonic() < self._until and not self._failures

    def _write(self, number: int, client: Client) -> None:
        """Each writer has ids of its own, and knows which of its points live."""
        numbers, living = random.Random(f"{self._seed} {number}"), self.living[number]
        while self._going_on():
            ids = [number * IDS + numbers.randrange(IDS) for _ in range(BATCH)]
            kind = numbers.random()
            if kind < 0.6:
                points = [
                    {
                        "id": point_id,
                        "vector": [numbers.uniform(-1, 1) for _ in range(DIM)],
                        "payload": {"third": point_id % 3, "text": "x" * numbers.randrange(200)},
                    }
                    for point_id in ids
                ]
                client.call("PUT", f"{PATH}/points?wait=true", {"points": points})
                living.update(ids)
            elif kind < 0.8:
                client.call("POST", f"{PATH}/points/delete?wait=true", {"points": ids})
                living.difference_update(ids)
            elif there := [point_id for point_id in ids if point_id in living]:
                body = {"payload": {"seen": numbers.random()}, "points": there}
                client.call("POST", f"{PATH}/points/payload?wait=true", body)
            self.counts["writes"] += 1

    def _read(self, number: int, client: Client) -> None:
        numbers = random.Random(f"{self._seed} reader {number}")
        third = {"must": [{"key": "third", "match": {"value": 1}}]}
        while self._going_on():
            vector = [numbers.uniform(-1, 1) for _ in range(DIM)]
            for body in ({"query": vector}, {"query": vector, "filter": third, "with_payload": True}):
                client.call("POST", f"{PATH}/points/query", body)
            client.call("POST", f"{PATH}/points/scroll", {"limit": 50, "offset": numbers.randrange(2 * IDS)})
            client.call("POST", f"{PATH}/points/count", {"filter": third})
            self.counts["reads"] += 4

    def _snapshot(self, client: Client) -> None:
        while self._going_on():
            made = client.call("POST", f"{PATH}/snapshots")
            client.call("DELETE", f"{PATH}/snapshots/{made['name']}")
            self.counts["snapshots"] += 1
            time.sleep(min(5.0, max(0.0, self._until - time.monotonic())))

    @property
    def _database(self) -> Path:
        (found,) = self._server.storage.glob("collections/*/collection.sqlite")
        return found

    def _sample(self, at_s: float) -> Sample:
        process = Path("/proc") / str(self._server.process.pid)
        status = (process / "status").read_text()
        memory = int(status.partition("RssAnon:")[2].split()[0]) * 1024
        wal = self._database.with_name(self._database.name + "-wal")
        return Sample(
            at_s,
            memory,
            sum(1 for _ in (process / "fd").iterdir()),
            wal.stat().st_size if wal.exists() else 0,
            self._ask("SELECT coalesce(sum(length(body) + coalesce(length(vectors), 0)), 0) FROM log"),
        )

    def _ask(self, statement: str) -> int:
        connection = sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)
        try:
            number: int = connection.execute(statement).fetchone()[0]
        finally:
            connection.close()
        return number

    def _figures(self, quiet_s: float) -> Figures:
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third :]
        memory = [statistics.median(sample.memory_bytes for sample in part) for part in (middle, last)]
        descriptors = [statistics.median(sample.descriptors for sample in part) for part in (middle, last)]
        figures = Figures(
            seconds=self._seconds,
            writes=self.counts["writes"],
            reads=self.counts["reads"],
            snapshots=self.counts["snapshots"],
            memory_ratio=memory[1] / memory[0],
            memory_bytes=int(memory[1]),
            descriptors=int(descriptors[1]),
            wal_bytes_max=max(sample.wal_bytes for sample in self.samples),
            log_bytes_max=max(sample.log_bytes for sample in self.samples),
            quiet_s=quiet_s,
            blocked_ms=[],
            wrong=list(self._failures),
        )
        if memory[1] > memory[0] * MEMORY_GROWTH_MAX + MEMORY_SLACK_BYTES:
            figures.wrong.append(f"memory grows: {memory[0] / 2**20:.0f} to {memory[1] / 2**20:.0f} MiB")
        if descriptors[1] > descriptors[0] + DESCRIPTORS_SLACK:
            figures.wrong.append(f"descriptors grow: {descriptors[0]:.0f} to {descriptors[1]:.0f}")
        if figures.wal_bytes_max > WAL_BYTES_MAX:
            figures.wrong.append(f"the -wal file grew to {figures.wal_bytes_max} bytes")
        if figures.log_bytes_max > LOG_BYTES_MAX:
            figures.wrong.append(f"the log grew to {figures.log_bytes_max} bytes")
        if quiet_s > QUIET_MAX_S:
            figures.wrong.append(f"the optimizers came to rest after {quiet_s:.0f} s")
        figures.wrong += self._compared()
        return figures

    def _compared(self) -> list[str]:
        expected = set().union(*self.living)
        scrolled: set[int] = set()
        offset: int | None = None
        while True:
            page = self._server.call("POST", f"{PATH}/points/scroll", {"limit": 1_000, "offset": offset})
            scrolled.update(point["id"] for point in page["points"])
            offset = page["next_page_offset"]
            if offset is None:
                break
        counted = self._server.call("POST", f"{PATH}/points/count", {})["count"]
        stored = self._ask("SELECT count(*) FROM points")
        wrong = []
        if scrolled != expected:
            wrong.append(
                f"{len(expected - scrolled)} points are missing, {len(scrolled - expected)} should not be there"
            )
        if not counted == stored == len(expected):
            wrong.append(f"{len(expected)} points were kept, {counted} are counted, SQLite has {stored}")
        return wrong


def soak(storage: Path, seconds: float, seed: int) -> Figures:
    """Starts a server, loads it, stops it; Linux only."""
    path = storage.with_name(storage.name + ".report")
    with serving(storage, command=[sys.executable, str(WATCHED_SERVER), str(path)]) as server:
        figures = Soak(server, seconds, seed).run()
        if server.stop() != 0:
            figures.wrong.append("the server did not leave in order")
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    figures.blocked_ms = [step.blocked_ms for step in report.steps[:5]]
    slow = [step for step in report.steps if step.cpu_ms > BLOCKED_MAX_MS]
    if len(slow) > BLOCKED_STEPS_MAX:
        figures.wrong += [f"a step of the event loop computed too long: {step}" for step in slow]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vdb-soak-") as folder:
        figures = soak(Path(folder) / "storage", arguments.minutes * 60, arguments.seed)
    print(json.dumps(msgspec.to_builtins(figures), indent=2))
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
