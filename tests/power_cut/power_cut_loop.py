"""Cut the power, mount, serve, compare: nothing is lost with ``synchronous: FULL``, and a suffix with ``NORMAL``.

Each round serves the folder on the disk that the last one left, compares everything with the clients' records, writes
on, and cuts the power at a moment that the seed decides: after a number of answers, while a segment is built, after the
log was moved into the database, or during the recovery. The server is killed; the disk is mounted anew.

Every answer tells the number that the write has in the log, and the log that is found afterwards ends at a number. So
what must be there is known exactly: all writes up to that number, none after it. What was in flight may be there.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from scripts.vdb_process import VdbProcess, serving
from tests.crash.crash_loop import BUILD_MAX_S, WRITING_MAX_S, CrashLoop, create, enough_after
from tests.crash.recording import ANSWER_MAX_S, COLLECTION, Points, Step, Writer, exchange
from tests.power_cut.disk import CuttableDisk
from vdb.storage.sqlite import Synchronous

KINDS: Final = ("writes", "build", "flush", "recovery")
WRITES_MAX: Final = 120  # in one round, before the cut
JITTER_MAX_S: Final = 0.05
FLUSH_INTERVAL_S: Final = 1  # so that SQLite's log is moved into the database again and again
FLUSHES_MAX_S: Final = 2.5
RECOVERY_MAX_S: Final = 1.0  # within so long after a start a cut hits imports, recovery, or the first answers
_BROKEN: Final = ("cannot be opened", "Traceback")
_DAMAGED: Final = (*_BROKEN, "damaged segment")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Told:
    """One operation that was acknowledged before the cut, and when (``time.perf_counter()``)."""

    step: Step
    seq: int
    at_s: float


@dataclass(slots=True)
class CutWriter:
    """A client that stops with the power. ``writer`` holds its record, which ``told`` is part of since ``base``."""

    writer: Writer
    base: Points = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def begin(self) -> None:
        self.base, self.told = deepcopy(self.writer.points), []

    def write_until_cut(self, url: str, disk: CuttableDisk, on_acknowledged: Callable[[], None]) -> None:
        """Writes until the power is gone; raises AssertionError for an answer before that is not what it should be."""
        writer = self.writer
        assert writer.pending is None, "settle() comes first"
        at = urlsplit(url)
        connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=ANSWER_MAX_S)
        try:
            while True:
                request = writer.pending = writer.next_request()
                try:
                    status, text = exchange(connection, request)
                except (OSError, http.client.HTTPException):
                    assert disk.is_cut, f"no answer to {request.method} {request.path}"
                    return
                if disk.is_cut:
                    # It may be there, whatever was answered, unless the answer denies it.
                    if status == 507:
                        writer.pending = None
                    return
                assert status == (request.refused_with or 200), f"{request.method} {request.path}: {status} {text!r}"
                if not request.refused_with:
                    self._note(request.steps, json.loads(text)["result"])
                writer.pending = None
                writer.acknowledged += 1
                on_acknowledged()
        finally:
            connection.close()

    def _note(self, steps: Any, result: Any) -> None:
        answers = result if isinstance(result, list) else [result]
        for step, answer in zip(steps, answers, strict=True):
            step(self.writer.points)
            self.told.append(Told(step, answer["operation_id"], time.perf_counter()))

    def settle(self, head: int) -> list[Told]:
        """Brings the record to a log that ends at ``head``; what was acknowledged and is not there."""
        lost = [told for told in self.told if told.seq > head]
        if lost:
            points = deepcopy(self.base)
            for told in self.told:
                if told.seq <= head:
                    told.step(points)
            self.writer.points, self.writer.pending = points, None  # what came after it is lost as well
        self.begin()
        return lost


@dataclass(slots=True)
class PowerCutLoop:
    """``run`` raises AssertionError where the disk has not what it must have. ``lost`` counts acknowledged writes that
    were lost, ``oldest_lost_s`` how long before the cut the first of them was answered."""

    disk: CuttableDisk
    folder: Path  # for the server's log and snapshots, on a disk that stays
    seed: int
    synchronous: Synchronous = "FULL"
    say: Say = lambda line: None
    lost: int = 0
    rounds_with_losses: int = 0
    oldest_lost_s: float = 0.0
    acknowledged: int = 0
    random: random.Random = field(default_factory=random.Random)

    def run(self, rounds: int) -> None:
        self.random = random.Random(f"power cut {self.seed}")
        checking = CrashLoop(self.disk.path, self.seed)
        writers = [CutWriter(writer) for writer in checking.writers]
        with self._serving() as server:
            create(server)
            body = {"optimizers_config": {"flush_interval_sec": FLUSH_INTERVAL_S}}
            server.call("PATCH", f"/collections/{COLLECTION}", body)
            assert server.stop() == 0
        cut_at_s = 0.0
        for number in range(rounds):
            kind = KINDS[number % len(KINDS)]
            if kind == "recovery":
                self._cut_recovery()
                self._power_is_back()
            with self._serving() as server:
                lost = self._check(server, checking, writers)
                if lost:
                    self.oldest_lost_s = max(self.oldest_lost_s, cut_at_s - min(told.at_s for told in lost))
                before = sum(each.writer.acknowledged for each in writers)
                cut_at_s = self._write_and_cut(server, writers, kind)
                server.kill()
            written = sum(each.writer.acknowledged for each in writers) - before
            self.acknowledged += written
            points = sum(len(each.writer.points) for each in writers)
            self.say(f"round {number}: {len(lost)} lost; cut ({kind}) after {written} writes, {points} points")
            self._power_is_back()
        with self._serving() as server:
            self._check(server, checking, writers)
            assert server.stop() == 0, server.log_text()

    def _serving(self) -> Any:
        return serving(self.disk.path, self._environment())

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "VDB__STORAGE__SYNCHRONOUS": self.synchronous,
            "VDB__STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
        }

    def _check(self, server: VdbProcess, checking: CrashLoop, writers: list[CutWriter]) -> list[Told]:
        """Everything against the records; what was acknowledged and lost, which with FULL must be nothing."""
        head = read_head(self.disk.path)
        lost = [told for each in writers for told in each.settle(head)]
        assert not lost or self.synchronous == "NORMAL", f"{len(lost)} acknowledged writes are beyond the log's {head}"
        self.lost += len(lost)
        self.rounds_with_losses += bool(lost)
        checking.check(server)
        for each in writers:
            each.begin()
        # Files are flushed before the database names them, and go after it names them no more: with FULL none has to be
        # made again. With NORMAL the database may name files again that had gone.
        for word in _DAMAGED if self.synchronous == "FULL" else _BROKEN:
            assert word not in server.log_text(), server.log_text()
        return lost

    def _cut_recovery(self) -> None:
        server = VdbProcess(self.disk.path, self._environment())
        try:
            threading.Event().wait(self.random.uniform(0, RECOVERY_MAX_S))
            self.disk.cut()
        finally:
            server.kill()

    def _power_is_back(self) -> None:
        self.disk.unmount()
        self.disk.mount()
        for path in self.disk.path.glob("collections/*/verified.json"):
            # A machine that starts anew has a new number for it; this one goes on.
            known = json.loads(path.read_bytes())
            path.write_text(json.dumps(known | {"boot": str(uuid4())}))

    def _write_and_cut(self, server: VdbProcess, writers: list[CutWriter], kind: str) -> float:
        """When the power went."""
        enough, count_down = enough_after(self.random.randint(1, WRITES_MAX))
        jitter_s = self.random.uniform(0, FLUSHES_MAX_S if kind == "flush" else JITTER_MAX_S)
        with ThreadPoolExecutor(len(writers)) as pool:
            tasks = [pool.submit(each.write_until_cut, server.url, self.disk, count_down) for each in writers]
            for task in tasks:
                task.add_done_callback(lambda _: enough.set())  # one that fails must not keep the others for ever
            try:
                enough.wait(WRITING_MAX_S)
                if kind == "build":
                    server.wait_for(self._is_building, BUILD_MAX_S, "build a segment")
                threading.Event().wait(jitter_s)
            finally:
                cut_at_s = time.perf_counter()
                self.disk.cut()
                # One answer each at most: it does not count, but a 507 must be true. Then they leave by themselves.
                for task in tasks:
                    task.exception(timeout=ANSWER_MAX_S * 2)
            for task in tasks:
                task.result()
        return cut_at_s

    def _is_building(self) -> bool | None:
        return True if list(self.disk.path.glob("collections/*/segments/.*")) else None


def read_head(storage: Path) -> int:
    """The newest seq in the log of the only collection."""
    (path,) = storage.glob("collections/*/collection.sqlite")
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        head: int | None = connection.execute("SELECT max(seq) FROM log").fetchone()[0]
    finally:
        connection.close()
    return -1 if head is None else head
