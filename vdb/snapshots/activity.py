"""What goes on with the snapshots of each collection, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class SnapshotActivity:
    """By the collection's name: snapshots being made, recoveries under way, and snapshots made since the start.

    Owned by the event loop.
    """

    def __init__(self) -> None:
        self.creating: Counter[str] = Counter()
        self.recovering: Counter[str] = Counter()
        self.created: Counter[str] = Counter()

    @contextmanager
    def creation(self, name: str) -> Iterator[None]:
        """Counts as made what the block ends without an error."""
        with _while(self.creating, name):
            yield
        self.created[name] += 1

    @contextmanager
    def recovery(self, name: str) -> Iterator[None]:
        with _while(self.recovering, name):
            yield


@contextmanager
def _while(running: Counter[str], name: str) -> Iterator[None]:
    running[name] += 1
    try:
        yield
    finally:
        running[name] -= 1
        if not running[name]:
            del running[name]
