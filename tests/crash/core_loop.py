"""Kill, recover, compare, without a server: thousands of rounds of kill -9 on a collection's actor and its SQLite.

Every round is a forked child: it opens the folder that the last one left, compares all of it with the record, writes,
and dies at a named point of the program (``vdb/fail_points.py``), or by a kill at a moment that the seed decides:
after a number of answers, during the recovery, or while it closes. The parent keeps the record of what was answered.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash.core_child import run_child
from tests.crash.core_record import INDEXER, WRITERS, Life, Record, Round, operations
from tests.model_run.points import Points

ROUND_MAX_S: Final = 60.0  # longer means that it hangs

Say = Callable[[str], None]


@dataclass(slots=True)
class CoreLoop:
    """``run`` raises AssertionError where the core has lost, made up or half applied anything.

    ``before`` is then what the round began with. ``ends`` counts how rounds ended, ``written`` what was acknowledged,
    ``settled`` what was in flight and turned out to be there.
    """

    folder: Path
    seed: int
    say: Say = lambda line: None
    ends: Counter[str] = field(default_factory=Counter)
    written: int = 0
    settled: int = 0

    @property
    def collection(self) -> Path:
        return self.folder / "collection"

    @property
    def before(self) -> Path:
        return self.folder / "before"

    def run(self, rounds: int, first: int = 0) -> None:
        record: Record | None = None
        for number in range(first, first + rounds):
            round = Round.of(self.seed, number)
            if record is None or (number and round.life != Round.of(self.seed, number - 1).life):
                shutil.rmtree(self.collection, ignore_errors=True)
                self.collection.mkdir(parents=True)
                record = Record(Points(Life.of(self.seed, round.life).names()))
            shutil.rmtree(self.before, ignore_errors=True)
            shutil.copytree(self.collection, self.before)
            try:
                self._run(round, record)
            except AssertionError as error:
                raise AssertionError(f"{round}: {error}") from error
            self.say(f"{round}; {len(record.points.by_id)} points, seq {record.head}")

    def _run(self, round: Round, record: Record) -> None:
        """One child, from its fork to its end; brings the record up to what it said."""
        ours, theirs = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            run_child(round, self.collection, record, theirs)
        os.close(theirs)
        asked = {writer: operations(round, writer) for writer in (*range(WRITERS), INDEXER)}
        compared = False
        said: list[Any] = []
        try:
            for said in _lines(ours, child, round, started):
                match said:
                    case ["found", writer, seq]:
                        record.take(record.next.pop(writer), seq)
                        self.settled += 1
                    case ["compared"]:
                        compared = True
                        record.next = {writer: next(asked[writer]) for writer in asked}
                    case ["done", writer, seq]:
                        record.take(record.next[writer], seq)
                        record.next[writer] = next(asked[writer])
                        self.written += 1
                    case ["refused", writer]:
                        record.next[writer] = next(asked[writer])
                    case ["failed", why]:
                        raise AssertionError(why)
        finally:
            os.close(ours)
            _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or said == ["closed"], f"the child ended with {status}, and said {said} at last"
        what = "killed" if killed and not round.fail_point else f"died at {round.fail_point}" if killed else "closed"
        self.ends[what + ("" if compared else " before it had compared")] += 1


def _lines(pipe: int, child: int, round: Round, started: float) -> Iterator[list[Any]]:
    """What the child says until it is dead; the kill that the round asks for comes from here."""
    kill_at = started + ROUND_MAX_S
    hangs = True
    if round.end == "killed in recovery":
        kill_at, hangs = started + round.after, False
    answers, rest = 0, b""
    if round.end == "killed" and not round.after:
        os.kill(child, signal.SIGKILL)
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, kill_at - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            assert not hangs, f"the child does not end within {ROUND_MAX_S:g} s"
            kill_at = started + ROUND_MAX_S * 2
            continue
        piece = os.read(pipe, 65_536)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            yield said
            answers += said[0] == "done"
            ending = said[0] == "closing" and round.end == "killed in closing"
            if ending or (round.end == "killed" and hangs and said[0] == "done" and answers >= round.after):
                kill_at, hangs = time.monotonic() + round.jitter_s * (4 if ending else 1), False
