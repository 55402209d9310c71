"""Kill, restart, compare: a server is killed with -9 while clients write, and must hold what it had acknowledged.

Each round starts a server on the folder that the last one left, compares everything with the clients' records, searches
against brute force, writes on, and is killed at a moment that the seed decides: after a number of writes, during the
build of a segment, during the recovery itself, or at a named point of the program (``vdb/fail_points.py``). Now and
then a segment's file is damaged before the restart.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.vdb_process import POLL_S, STOP_MAX_S, VdbProcess, serving
from tests.crash.recording import COLLECTION, VECTORS, Point, PointId, Points, Writer, as_vector
from vdb.fail_points import VARIABLE, FailPoint

WRITERS: Final = 3
IDS: Final = 240  # of one writer
INDEXING_KIB: Final = 40  # low, so that segments are built, merged and cleaned all the time
PAGE: Final = 100
QUERIES: Final = 10
LIMIT: Final = 10
RECALL_MIN: Final = 0.95  # of the graphs; `exact` must be right to the last point
SCORE_TOLERANCE: Final = 1e-4
TIE_TOLERANCE: Final = 2e-6  # of two points so near to each other float32 does not tell which is nearer
WRITES_MAX: Final = 80  # in one round, before the kill
BUILD_MAX_S: Final = 60.0  # so long may take what must come, builds among it: a busy machine is slow
WRITING_MAX_S: Final = 10.0  # after so long a round ends, whatever was written by then
JITTER_MAX_S: Final = 0.15  # into a build
UUID_ORDER: Final = 3  # points.id_order of UUIDs; all below are numbers
RECOVERY_MAX_S: Final = 1.0  # within so long after a start a kill hits imports, recovery, or the first answers
# Points that writing comes to, and the largest number of times before the kill.
FAIL_POINTS: Final[dict[FailPoint, int]] = {
    "after-log-append": 60,
    "before-commit": 60,
    "after-commit": 60,
    "before-swap": 2,
    "after-swap": 2,
}

Say = Callable[[str], None]


@dataclass(slots=True)
class CrashLoop:
    """``run`` raises AssertionError where the server has lost, made up or half applied anything."""

    storage: Path
    seed: int
    say: Say = lambda line: None
    writers: list[Writer] = field(default_factory=list)
    random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.writers = [Writer.numbered(number, self.seed, IDS) for number in range(WRITERS)]

    def run(self, rounds: int) -> None:
        for number in range(rounds):
            kind = ("writes", "build", "recovery", "fail point")[number % 4]
            if kind == "recovery":
                self._kill_recovery()
            elif kind == "fail point":
                with serving(self.storage) as server:
                    self.check(server)  # what the last round left in flight is settled before more is written
                name = self.random.choice(list(FAIL_POINTS))
                times = self.random.randint(1, FAIL_POINTS[name])
                died = self.die_at(name, times)
                self.say(f"round {number}: {'died' if died else 'never came to be'} at {name}:{times}")
            with serving(self.storage) as server:
                if number == 0:
                    create(server)
                self.check(server)
                before = sum(writer.acknowledged for writer in self.writers)
                self._write_and_kill(server, during_build=kind == "build")
            written = sum(writer.acknowledged for writer in self.writers) - before
            damaged = self._damage() if self.random.random() < 0.3 else None
            self.say(
                f"round {number}: killed ({kind}) after {written} acknowledged writes, "
                f"{sum(len(writer.points) for writer in self.writers)} points"
                + (f", then damaged {damaged}" if damaged else "")
            )
        with serving(self.storage) as server:
            self.check(server)
            assert server.stop() == 0, server.log_text()

    def run_at(self, name: FailPoint, times: int, rounds: int) -> None:
        """Dies at the same point again and again."""
        with serving(self.storage) as server:
            create(server)
        for number in range(rounds):
            died = self.die_at(name, times)
            self.say(f"round {number}: {'died' if died else 'never came to be'} at {name}:{times}")
            with serving(self.storage) as server:
                self.check(server)

    def die_at(
        self, name: FailPoint, times: int = 1, or_logs: str | None = None, within_s: float = WRITING_MAX_S
    ) -> bool:
        """Writes until the server has come to a point ``times`` times, and died there; ``check`` comes before.

        False where it was killed by this method: it said ``or_logs``, or did not come to the point ``within_s``.
        """
        server = VdbProcess(self.storage, {**os.environ, VARIABLE: f"{name}:{times}"})
        late = threading.Event()

        def end() -> None:
            late.set()
            server.process.kill()

        timer = threading.Timer(within_s, end)

        def look() -> None:
            if or_logs is not None and or_logs in server.log_text():
                end()

        try:
            server.wait_until_listening()
            timer.start()
            with ThreadPoolExecutor(WRITERS) as pool:
                for task in [pool.submit(writer.write_until_gone, server.url, look) for writer in self.writers]:
                    task.result()
            server.process.wait(STOP_MAX_S)
        finally:
            timer.cancel()
            server.kill()
        return not late.is_set()

    def _kill_recovery(self) -> None:
        server = VdbProcess(self.storage)
        threading.Event().wait(self.random.uniform(0, RECOVERY_MAX_S))
        server.kill()

    def _write_and_kill(self, server: VdbProcess, during_build: bool) -> None:
        enough, count_down = enough_after(self.random.randint(1, WRITES_MAX))
        jitter_s = self.random.uniform(0, JITTER_MAX_S if during_build else POLL_S)
        with ThreadPoolExecutor(WRITERS) as pool:
            tasks = [pool.submit(writer.write_until_gone, server.url, count_down) for writer in self.writers]
            for task in tasks:
                task.add_done_callback(lambda _: enough.set())  # one that fails must not keep the others for ever
            enough.wait(WRITING_MAX_S)
            if during_build:
                server.wait_for(lambda: True if self._builds() else None, BUILD_MAX_S, "build a segment")
            threading.Event().wait(jitter_s)
            server.kill()
            for task in tasks:
                task.result()

    def _builds(self) -> list[Path]:
        return list(self.storage.glob("collections/*/segments/.*"))

    def _damage(self) -> str | None:
        """Deletes a segment's file or flips a bit in it; the file's name."""
        files = sorted(path for path in self.storage.glob("collections/*/segments/[!.]*/*") if path.is_file())
        if not files:
            return None
        path = self.random.choice(files)
        content = bytearray(path.read_bytes())
        if not content or self.random.random() < 0.3:
            path.unlink()
        else:
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
            path.write_bytes(content)
        return path.name

    def check(self, server: VdbProcess) -> None:
        """Everything that the server holds against the records, then searches against brute force."""
        found = _scroll_all(server)
        for writer in self.writers:
            mine = {point_id: found.pop(point_id) for point_id in writer.ids if point_id in found}
            states = writer.possible()
            assert mine in states, _difference(mine, states, writer)
            writer.settle(mine)
        assert not found, f"points that nobody has sent: {list(found)[:5]}"
        points = {point_id: point for writer in self.writers for point_id, point in writer.points.items()}
        count = server.call("POST", f"/collections/{COLLECTION}/points/count", {"exact": True})["count"]
        assert count == len(points), f"count says {count}, scroll {len(points)}"
        assert _read_database(self.storage) == points, "the database does not say what the API says"
        server.wait_until_green(COLLECTION, BUILD_MAX_S)
        info = server.call("GET", f"/collections/{COLLECTION}")
        assert info["optimizer_status"] == "ok", info["optimizer_status"]
        assert info["points_count"] == len(points)
        for name, (dim, _) in VECTORS.items():
            self._check_search(server, points, name, dim)

    def _check_search(self, server: VdbProcess, points: Points, name: str, dim: int) -> None:
        ids = [point_id for point_id, point in points.items() if name in point.vectors]
        if not ids:
            return
        matrix = np.array([points[point_id].vectors[name] for point_id in ids], dtype=np.float32)
        right = wanted = 0
        for _ in range(QUERIES):
            query = as_vector([self.random.gauss(0, 1) for _ in range(dim)])
            scores = _scores(name, matrix, query)
            descending = VECTORS[name][1] == "Dot"
            order = np.argsort(-scores if descending else scores, kind="stable")[:LIMIT]
            best = [ids[row] for row in order]
            by_id = dict(zip(ids, scores.tolist(), strict=True))
            for exact in (True, False):
                body = {"query": query, "using": name, "limit": LIMIT, "params": {"exact": exact}}
                hits = server.call("POST", f"/collections/{COLLECTION}/points/query", body)["points"]
                for hit in hits:
                    assert abs(hit["score"] - by_id[hit["id"]]) < SCORE_TOLERANCE * max(1.0, abs(hit["score"]))
                answered = [hit["id"] for hit in hits]
                assert len(answered) == len(set(answered)) == len(best)
                if exact:
                    found = [by_id[point_id] for point_id in answered]
                    near = np.isclose(found, scores[order], rtol=TIE_TOLERANCE, atol=TIE_TOLERANCE)
                    assert near.all(), f"exact search of {name}: {answered}, not {best}"
                else:
                    right += len(set(answered) & set(best))
                    wanted += len(best)
        assert right >= RECALL_MIN * wanted, f"search of {name} found {right} of {wanted}"


def enough_after(calls: int) -> tuple[threading.Event, Callable[[], None]]:
    """An event, and what sets it when threads have called it so many times."""
    enough, lock, left = threading.Event(), threading.Lock(), calls

    def count_down() -> None:
        nonlocal left
        with lock:
            left -= 1
            if left <= 0:
                enough.set()

    return enough, count_down


def _settings() -> dict[str, Any]:
    return {
        "vectors": {name: {"size": dim, "distance": distance} for name, (dim, distance) in VECTORS.items()},
        "optimizers_config": {
            "indexing_threshold": INDEXING_KIB,
            "vacuum_min_vector_number": 100,
            "default_segment_number": 2,
        },
        "hnsw_config": {"full_scan_threshold": 10},
    }


def create(server: VdbProcess) -> None:
    server.call("PUT", f"/collections/{COLLECTION}", _settings())


def _scores(name: str, matrix: np.ndarray[Any, np.dtype[np.float32]], query: Sequence[float]) -> Any:
    """``(n,)`` float64 scores as the collection's distance defines them."""
    wide, asked = matrix.astype(np.float64), np.array(query)
    return wide @ asked if VECTORS[name][1] == "Dot" else np.linalg.norm(wide - asked, axis=1)


def _scroll_all(server: VdbProcess) -> Points:
    found: Points = {}
    offset: PointId | None = None
    while True:
        body = {"limit": PAGE, "offset": offset, "with_payload": True, "with_vector": True}
        page = server.call("POST", f"/collections/{COLLECTION}/points/scroll", body)
        for record in page["points"]:
            assert record["id"] not in found, f"{record['id']} is there twice"
            vectors = {name: as_vector(values) for name, values in record["vector"].items()}
            found[record["id"]] = Point(record["payload"], vectors)
        offset = page["next_page_offset"]
        if offset is None:
            return found


def _read_database(storage: Path) -> Points:
    """What the collection's database says, as an administrator reads it beside the running server."""
    (path,) = storage.glob("collections/*/collection.sqlite")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT num, id_order, id, body FROM points LEFT JOIN payloads USING (num)"
        ).fetchall()
        by_num = {
            num: (stored if order == UUID_ORDER else int(stored), Point(json.loads(body or "{}"), {}))
            for num, order, stored, body in rows
        }
        vectors = connection.execute(
            "SELECT vectors.key & 4294967295, vector_names.name, vectors.data"
            " FROM vectors JOIN vector_names ON vector_names.vector_id = vectors.key >> 32"
        ).fetchall()
        for num, name, data in vectors:
            by_num[num][1].vectors[name] = tuple(np.frombuffer(data, dtype="<f4").tolist())
    finally:
        connection.close()
    return dict(by_num.values())


def _difference(mine: Points, states: Sequence[Points], writer: Writer) -> str:
    """The first point that differs, from the record and from the record with the request in flight."""
    lines = [f"what is stored is none of {len(states)} possible states; in flight: "]
    lines[0] += "nothing" if writer.pending is None else f"{writer.pending.method} {writer.pending.path}"
    for number, state in enumerate(states):
        different = [point_id for point_id in state.keys() | mine.keys() if state.get(point_id) != mine.get(point_id)]
        example = different[0]
        lines.append(
            f"state {number}: {len(different)} points differ, such as {example}:"
            f"\n  recorded {_excerpt(state.get(example))}\n  found    {_excerpt(mine.get(example))}"
        )
    return "\n".join(lines)


def _excerpt(point: Point | None) -> str:
    if point is None:
        return "nothing"
    return f"{point.payload} { ({name: vector[:2] for name, vector in point.vectors.items()}) }"
