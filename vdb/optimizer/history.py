"""What the optimizer of a collection did and does: every build with its steps, the newest ``KEPT_MAX`` that ended.

Guarantees
    A build is among the running ones from its begin to its end, and then among the ended ones: done, failed with the
    reason, or cancelled.
Assumes
    One thread, the loop's. Whoever begins a build ends it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import trio

from vdb.collection.state import SlotView
from vdb.model.collection_results import OptimizationCancelled, OptimizationFailed, TrackerStatus

KEPT_MAX: Final = 64  # ended builds; each is about a kilobyte
ERROR_CHARACTERS_MAX: Final = 500  # of a failed build's reason


@dataclass(slots=True)
class Step:
    """``duration_s`` is by the monotonic clock, None while it runs."""

    name: str
    started_at: datetime
    finished_at: datetime | None = None
    duration_s: float | None = None
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(cls, name: str) -> Step:
        return cls(name, datetime.now(UTC))

    def end(self) -> None:
        self.finished_at = datetime.now(UTC)
        self.duration_s = time.monotonic() - self._began


@dataclass(frozen=True, slots=True)
class Input:
    """A segment that goes in, as it was then."""

    number: int
    uuid: str
    points_count: int


@dataclass(slots=True)
class Build:
    """``uuid`` is the segment that comes out. ``whole`` spans all ``steps``."""

    uuid: str
    optimizer: str
    inputs: Sequence[Input]
    status: TrackerStatus = "optimizing"
    steps: list[Step] = field(default_factory=list)
    whole: Step = field(default_factory=lambda: Step.begin("optimization"))

    def begin(self, step: str) -> None:
        """Ends the step before, if there is one."""
        self._end_step()
        self.steps.append(Step.begin(step))

    def _end_step(self) -> None:
        if self.steps and self.steps[-1].finished_at is None:
            self.steps[-1].end()

    def end(self, status: TrackerStatus) -> None:
        self._end_step()
        self.whole.end()
        self.status = status


class History:
    """Owned by the optimizer. ``counts`` are builds that ended, by optimizer and ``done``, ``failed``, ``cancelled``.

    ``points_optimized`` counts the points that went into builds that were done.
    """

    def __init__(self) -> None:
        self.running: tuple[Build, ...] = ()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.points_optimized = 0
        self.duration_s = 0.0
        self._ended: deque[Build] = deque(maxlen=KEPT_MAX)

    @property
    def ended(self) -> list[Build]:
        """The newest first."""
        return list(reversed(self._ended))

    def begin(self, uuid: str, optimizer: str, inputs: Sequence[SlotView]) -> Build:
        build = Build(uuid, optimizer, [Input(slot.number, slot.uuid, slot.points_count) for slot in inputs])
        self.running = (*self.running, build)
        return build

    def end(self, build: Build, error: BaseException | None = None) -> None:
        """Once for every build that was begun; ``error`` is what ended it."""
        match error:
            case None:
                self.points_optimized += sum(segment.points_count for segment in build.inputs)
                self._end(build, "done", "done")
            case trio.Cancelled():
                self._end(build, OptimizationCancelled(cancelled="the collection was closed"), "cancelled")
            case _:
                reason = str(error)[:ERROR_CHARACTERS_MAX] or type(error).__name__
                self._end(build, OptimizationFailed(error=reason), "failed")

    def _end(self, build: Build, status: TrackerStatus, outcome: str) -> None:
        build.end(status)
        self.running = tuple(running for running in self.running if running is not build)
        self._ended.append(build)
        self.counts[build.optimizer, outcome] += 1
        self.duration_s += build.whole.duration_s or 0.0
