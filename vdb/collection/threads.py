"""Threads that run searches: a queue of jobs, and one wake-up of the event loop for all that are done.

A hop through ``trio.to_thread`` costs more than a search: it wakes the loop for every single job. Here a thread drains
what waits, and the loop is woken once for whatever was finished meanwhile. Jobs of one kind that wait at the same time
are run together.

Guarantees
    A job runs at most once, on one of ``count`` threads. A caller that is cancelled stops waiting at once; its job is
    skipped if it has not begun.
Assumes
    Jobs never touch state that a task owns; what they raise reaches the caller.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

import outcome
import trio

from vdb.errors import Busy

T = TypeVar("T")

HOLD_MAX_S: Final = 0.003  # a busy loop does not keep a search waiting for much longer
TOGETHER_MAX: Final = 32  # jobs: the first of them waits for the last
JOBS_WAITING_MAX: Final = 4_096  # beyond this a request is told to come back later


Together = Callable[[list[Any]], Sequence[outcome.Outcome[Any]]]


@dataclass(slots=True, eq=False)
class _Job:
    """``together`` runs jobs that have the same one, given their ``work``; else ``work`` is called."""

    work: Any
    together: Together | None
    task: trio.lowlevel.Task
    abandoned: bool = False


_Group = list[_Job]  # jobs that run together, or a single one


class _Handover(trio.abc.Instrument):
    """Hands jobs to the threads when the event loop is about to sleep, or after ``HOLD_MAX_S``.

    A thread that begins while the loop still has work competes with it for the interpreter lock, and each of the two
    pays for every exchange. Handed over together, jobs run while the loop waits.
    """

    def __init__(self, waiting: SimpleQueue[_Group | None]) -> None:
        self._waiting = waiting
        self._held: list[_Job] = []
        self._held_since = 0.0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, job: _Job) -> None:
        if not self._held:
            self._held_since = time.perf_counter()
        self._held.append(job)

    def flush(self) -> None:
        held, self._held = self._held, []
        groups: dict[Together, _Group] = {}
        for job in held:
            if job.together is None:
                self._waiting.put([job])
            else:
                groups.setdefault(job.together, []).append(job)
        for group in groups.values():
            for start in range(0, len(group), TOGETHER_MAX):
                self._waiting.put(group[start : start + TOGETHER_MAX])

    def before_io_wait(self, timeout: float) -> None:
        if self._held and (timeout > 0 or time.perf_counter() - self._held_since > HOLD_MAX_S):
            self.flush()


class WorkerThreads:
    """Owned by the server's root task: ``start`` before the first job, ``stop`` after the last."""

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._name = name
        self._waiting: SimpleQueue[_Group | None] = SimpleQueue()
        self._done: deque[tuple[_Job, outcome.Outcome[Any]]] = deque()
        self._wake_lock = threading.Lock()
        self._wake_pending = False
        self._handover = _Handover(self._waiting)
        self._token: trio.lowlevel.TrioToken | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.add_instrument(self._handover)
        for number in range(self.count):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Lets the jobs that wait finish and ends the threads."""
        trio.lowlevel.remove_instrument(self._handover)
        self._handover.flush()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun; those that run together and were handed over count as one."""
        return self._waiting.qsize() + len(self._handover)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs ``work`` on a thread and returns what it returns; raises Busy when too much is waiting."""
        return cast(T, await self._run(work, None))

    async def run_together(self, item: Any, together: Together) -> Any:
        """What ``together`` makes of ``item``: it gets the items of all jobs that wait with it, and answers them in
        order. Must be the same object for jobs of one kind. Raises Busy when too much is waiting.
        """
        return await self._run(item, together)

    async def _run(self, work: Any, together: Together | None) -> Any:
        if self.waiting >= JOBS_WAITING_MAX:
            raise Busy("Too many requests are waiting to be searched")
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work, together, trio.lowlevel.current_task())
        self._handover.add(job)

        def abandon(_raise_cancel: Any) -> trio.lowlevel.Abort:
            job.abandoned = True
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abandon)

    def _work(self) -> None:
        while (group := self._waiting.get()) is not None:
            self._run_group(group)
            del group  # a thread that waits must keep no View alive, and jobs hold theirs

    def _run_group(self, group: _Group) -> None:
        jobs = [job for job in group if not job.abandoned]
        if not jobs:
            return
        self._done.extend(zip(jobs, _results(jobs), strict=True))
        with self._wake_lock:
            wake, self._wake_pending = not self._wake_pending, True
        if wake:
            assert self._token is not None
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        """On the loop: hands out every result that is there."""
        with self._wake_lock:
            self._wake_pending = False
        while self._done:
            job, result = self._done.popleft()
            if not job.abandoned:
                trio.lowlevel.reschedule(job.task, result)


def _results(jobs: _Group) -> Sequence[outcome.Outcome[Any]]:
    together = jobs[0].together
    if together is None:
        return [outcome.capture(job.work) for job in jobs]
    try:
        results = together([job.work for job in jobs])
    except Exception as error:
        return [outcome.Error(error) for _ in jobs]  # an outcome is unwrapped once
    assert len(results) == len(jobs), "every job has a result"
    return results
