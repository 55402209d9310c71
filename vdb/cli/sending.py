"""Batches of points on their way to a server, over several connections at once.

Guarantees
    What ``confirmed`` names is on the server, and so is everything before it: a later run may begin there.
    Batches may overtake each other. A file in which an id stands twice therefore may leave either point; exports have
    each id once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from vdb.cli.client import Server, ServerError, collection_path
from vdb.errors import VdbError

Position = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """``body`` is the JSON of an upsert; ``position`` is where the next batch begins; ``where`` is for people."""

    body: bytes
    count: int
    position: Position
    where: str


class BatchRefused(VdbError):
    """The server did not take a batch."""

    def __init__(self, where: str, error: ServerError) -> None:
        super().__init__(f"{where}: {error}")


class Sender:
    """Owned by one thread, which calls ``send_all``; the threads of the connections live as long as that runs."""

    def __init__(self, server: Server, collection: str, connections: int, on_progress: Callable[[int], None]) -> None:
        self._server = server
        self._path = f"{collection_path(collection)}/points"
        self._connections = connections
        self._on_progress = on_progress
        # Two batches a connection: one on its way, one ready.
        self._queue: queue.Queue[tuple[int, Batch] | None] = queue.Queue(connections * 2)
        self._lock = threading.Lock()
        self._done: dict[int, Batch] = {}
        self._next = 0
        self._failure: VdbError | None = None
        self.confirmed: Position | None = None
        self.confirmed_points = 0  # up to there
        self.points = 0  # all that the server has taken, in whatever order

    def send_all(self, batches: Iterable[Batch]) -> None:
        """Returns when the server has confirmed every batch; raises BatchRefused at the first that it does not take."""
        threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self._connections)]
        for thread in threads:
            thread.start()
        try:
            for number, batch in enumerate(batches):
                if not self._put((number, batch)):
                    break
        finally:
            # Also after Ctrl+C: what is on its way is waited for, so that `confirmed` tells the truth.
            for _ in threads:
                self._put(None)
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def _put(self, item: tuple[int, Batch] | None) -> bool:
        """False once a batch has failed: nobody takes anything from the queue any more."""
        while self._failure is None:
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _run(self) -> None:
        try:
            with self._server.connect() as client:
                while self._failure is None and (item := self._take()) is not None:
                    number, batch = item
                    try:
                        client.call("PUT", self._path, batch.body, wait="true")
                    except ServerError as error:
                        raise BatchRefused(batch.where, error) from error
                    self._confirm(number, batch)
        except VdbError as error:
            with self._lock:
                self._failure = self._failure or error

    def _take(self) -> tuple[int, Batch] | None:
        while self._failure is None:
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _confirm(self, number: int, batch: Batch) -> None:
        with self._lock:
            self._done[number] = batch
            while (first := self._done.pop(self._next, None)) is not None:
                self.confirmed = first.position
                self.confirmed_points += first.count
                self._next += 1
            self.points += batch.count
            self._on_progress(self.points)
