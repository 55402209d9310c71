"""Search threads that can tell when all that was on its way is over: then files may go that only old reads use."""

from __future__ import annotations

from typing import Any

import trio

from vdb.collection.threads import Together, WorkerThreads


class DrainableThreads(WorkerThreads):
    """Owned by the server's root task, like WorkerThreads."""

    def __init__(self, count: int, name: str) -> None:
        super().__init__(count, name)
        self._generation = _Generation()
        self._closing: set[_Generation] = set()

    async def _run(self, work: Any, together: Together | None) -> Any:
        generation = self._generation
        generation.running += 1
        try:
            return await super()._run(work, together)
        finally:
            generation.running -= 1
            self._end(generation)

    async def drained(self) -> None:
        """Returns when all jobs are over that were given before now."""
        # A handler that has its collection and has not yet begun to read begins in this round of the loop.
        await trio.lowlevel.checkpoint()
        former, self._generation = self._generation, _Generation()
        self._closing.add(former)
        self._end(former)
        for generation in list(self._closing):  # of earlier calls too, where their jobs are still running
            await generation.over.wait()

    def _end(self, generation: _Generation) -> None:
        if not generation.running and generation in self._closing:
            self._closing.remove(generation)
            generation.over.set()


class _Generation:
    """Jobs that were given between two calls of ``drained``."""

    def __init__(self) -> None:
        self.running = 0
        self.over = trio.Event()
