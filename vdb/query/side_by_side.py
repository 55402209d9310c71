"""One query's segments, searched by several threads at once where others have nothing to do.

Whoever is free takes the next item, the asking thread too: where all helpers are busy it does everything itself, and
waits for nobody but those that have begun.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import outcome

I = TypeVar("I")  # noqa: E741 - the type of an item
T = TypeVar("T")


class _Round(Generic[I, T]):
    """The items of one call; each is taken once, by any thread."""

    def __init__(self, work: Callable[[I], T], items: Sequence[I]) -> None:
        self._work = work
        self._items = items
        self._next = itertools.count()  # of CPython: next() on it is atomic
        self._results: list[outcome.Outcome[T] | None] = [None] * len(items)
        self._done = threading.Semaphore(0)

    def take_part(self) -> None:
        """Returns when no item is left to be begun."""
        while (number := next(self._next)) < len(self._items):
            self._results[number] = outcome.capture(self._work, self._items[number])
            self._done.release()

    def results(self) -> list[T]:
        """Waits for all; raises what the first of the items that failed raised."""
        for _ in self._items:
            self._done.acquire()
        return [result.unwrap() for result in self._results if result is not None]


class _Helpers:
    """Daemon threads that come to be when they are first needed, and stay."""

    def __init__(self) -> None:
        self._rounds: SimpleQueue[_Round[Any, Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0

    def ask(self, round_: _Round[Any, Any], count: int) -> None:
        with self._lock:
            for number in range(self._count, count):
                threading.Thread(target=self._help, name=f"search-helper-{number}", daemon=True).start()
            self._count = max(self._count, count)
        for _ in range(count):
            self._rounds.put(round_)

    def _help(self) -> None:
        while True:
            self._rounds.get().take_part()


_helpers = _Helpers()


def side_by_side(work: Callable[[I], T], items: Sequence[I], threads: int) -> list[T]:
    """``[work(item) for item in items]``, on this thread and up to ``threads`` - 1 others.

    ``work`` may run on any of them, and at most once for an item; what it raises is raised here after all have ended.
    """
    helpers = min(threads, len(items)) - 1
    if helpers < 1:
        return [work(item) for item in items]
    round_ = _Round(work, items)
    _helpers.ask(round_, helpers)
    round_.take_part()
    return round_.results()
