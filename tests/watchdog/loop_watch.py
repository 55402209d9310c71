"""An instrument that tells how long the event loop was kept by one thing.

What it measures
    Every step of every task: from the moment the loop hands over to a task until the task waits again. While a step
    runs, nobody else on the loop does. A step is long in wall time for one of four reasons:

    ============================================== ======= =========================================================
    the loop's thread                              counted told by
    ============================================== ======= =========================================================
    computes                                       yes     its CPU time
    waits for the interpreter lock, and a thread   yes     nobody was kept waiting by the kernel
    of the server computes with it
    waits for a disk                               yes     nobody was kept waiting by the kernel
    is ready and the kernel runs others, or waits  no      ``run_delay`` in the threads' schedstat
    for a thread of the server that is
    ============================================== ======= =========================================================

    ``blocked`` is what the first three add up to, at least: which thread held the interpreter lock is not told, so the
    longest delay of any other thread is taken off. The last line is the neighbours' doing on a loaded machine.

    Lag: how late a task wakes that sleeps for ``TICK_S``, without the ``run_delay`` of the loop's own thread. It also
    sees many short steps in a row. It is reported, for people: no limit is kept, as it cannot tell a loop that is
    blocked from one that is busy.

Assumes
    Linux, whose kernel keeps schedstat; without it ``run_delay`` counts as 0 and a loaded machine looks blocked. What
    the host of a virtual machine takes away is seen by nobody in it.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import trio

TICK_S: Final = 0.002
SLOW_MS: Final = 4.0  # steps below this are counted and forgotten
LOOK_STEPS: Final = 500  # between two looks for new threads
KEPT: Final = 30  # slow steps, the longest ones
_TASKS: Final = Path("/proc/self/task")


class Step(msgspec.Struct, frozen=True, order=True):
    """Milliseconds of one step. ``place`` is where the task waits afterwards, innermost function last.

    ``process_cpu_ms`` is of all threads, ``delay_ms`` the run_delay of the loop's thread, ``other_delay_ms`` that of
    the thread that had the most.
    """

    blocked_ms: float
    wall_ms: float
    cpu_ms: float
    process_cpu_ms: float
    delay_ms: float
    other_delay_ms: float
    task: str
    place: str


class Report(msgspec.Struct):
    """``steps`` and ``lags_ms`` are the worst ones, longest first."""

    count: int
    steps: list[Step]
    lags_ms: list[float]


class RunDelays:
    """For how long threads of this process were ready and not run. The one that makes this is the loop's."""

    def __init__(self) -> None:
        self._loop = threading.get_native_id()
        self._files: dict[int, int] = {}
        self.look_for_threads()

    def look_for_threads(self) -> None:
        """Threads come and go; a new one counts from the next look on."""
        try:
            there = {int(path.name) for path in _TASKS.iterdir()}
        except OSError:
            return
        for thread in self._files.keys() - there:
            os.close(self._files.pop(thread))
        for thread in there - self._files.keys():
            with contextlib.suppress(OSError):
                self._files[thread] = os.open(_TASKS / str(thread) / "schedstat", os.O_RDONLY)

    def read(self) -> dict[int, int]:
        """Nanoseconds so far, by thread."""
        delays = {}
        for thread, file in self._files.items():
            with contextlib.suppress(OSError):  # it has ended
                delays[thread] = int(os.pread(file, 64, 0).split()[1])
        return delays

    def since_ms(self, earlier: dict[int, int]) -> tuple[float, float]:
        """Milliseconds of the loop's thread, and of that other thread which waited longest."""
        since = {thread: now - earlier[thread] for thread, now in self.read().items() if thread in earlier}
        own = since.pop(self._loop, 0)
        return own / 1e6, max(since.values(), default=0) / 1e6


class LoopWatch(trio.abc.Instrument):
    """Owned by the loop's thread."""

    def __init__(self) -> None:
        self._delays = RunDelays()
        self._started: tuple[dict[int, int], float, float, float] | None = None
        self._count = 0
        self._slow: list[Step] = []
        self._lags: list[float] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._started = (self._delays.read(), time.process_time(), time.thread_time(), time.perf_counter())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._started is None:  # the step in which the watch began
            return
        delays, process_cpu_s, cpu_s, started = self._started
        wall_ms = (time.perf_counter() - started) * 1000
        self._count += 1
        if self._count % LOOK_STEPS == 0:
            self._delays.look_for_threads()
        if wall_ms < SLOW_MS:
            return
        cpu_ms = (time.thread_time() - cpu_s) * 1000
        process_cpu_ms = (time.process_time() - process_cpu_s) * 1000
        own_ms, other_ms = self._delays.since_ms(delays)
        kept_ms = wall_ms - own_ms
        blocked_ms = max(cpu_ms, kept_ms - other_ms)
        step = Step(blocked_ms, wall_ms, cpu_ms, process_cpu_ms, own_ms, other_ms, task.name, _place(task.coro))
        _keep(self._slow, step)

    async def tick(self) -> None:
        """Measures lag until cancelled."""
        while True:
            delays, started = self._delays.read(), time.perf_counter()
            await trio.sleep(TICK_S)
            late_ms = (time.perf_counter() - started - TICK_S) * 1000
            _keep(self._lags, late_ms - self._delays.since_ms(delays)[0])

    def report(self) -> Report:
        return Report(self._count, sorted(self._slow, reverse=True), sorted(self._lags, reverse=True))


def _keep(worst: list[Any], value: Any) -> None:
    heapq.heappush(worst, value)
    if len(worst) > KEPT:
        heapq.heappop(worst)


def _place(coroutine: Any) -> str:
    """Functions that a suspended task is in, outermost first; empty for one that has ended."""
    names: list[str] = []
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        names.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return " > ".join(names[-6:])
