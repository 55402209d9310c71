"""Moves what was written from SQLite's log into the database file: every ``flush_interval_sec``, and before it grows.

With ``synchronous: FULL`` every acknowledged write is on the medium already. With ``NORMAL`` this is what brings it
there: a power cut takes what came within the last interval, at most.

SQLite checkpoints by itself too, whenever its log has grown by some megabytes. But the log starts again at its head
only when nobody reads from it, and where searches overlap that moment never comes. So when the log is beyond its bound
reads wait, for as long as those under way take to end.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from vdb.collection.actor import Actor
from vdb.errors import CollectionBroken, TryLater
from vdb.storage.sqlite import WAL_BYTES_MAX, Readers

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0  # between two looks at the size of the log, and at an interval that may have been changed
_READER_PAUSE_S: Final = 30.0  # after somebody read from the log for very long (a snapshot does), until the next try


class Flusher:
    """``run`` is a task of the collection; ``database`` is its file."""

    def __init__(self, actor: Actor, readers: Readers, database: Path) -> None:
        self._actor = actor
        self._readers = readers
        self._log = database.with_name(database.name + "-wal")
        self._whole_from = 0.0  # not before this time is the log emptied

    async def run(self) -> None:
        """Until cancelled, or until the collection is broken."""
        actor = self._actor
        flushed = actor.view.seq
        while actor.failure is None:
            published, dirty_since = actor.published, trio.current_time()
            if actor.view.seq == flushed:
                await published.wait()
                continue
            while not self._is_due(dirty_since):  # noqa: ASYNC110 - the log grows, and the interval changes, unasked
                await trio.sleep(min(_LOOK_S, max(0.0, dirty_since + self._interval_s - trio.current_time())))
            newest, whole = actor.view.seq, self._is_too_long()
            try:
                done = await actor.flush(self._readers if whole else None)
            except TryLater as error:
                logger.warning("collection %s: what was written stays in SQLite's log: %s", actor.name, error)
                await trio.sleep(_LOOK_S)
            except CollectionBroken:
                return
            else:
                flushed = newest
                if whole and not done:
                    self._whole_from = trio.current_time() + _READER_PAUSE_S

    @property
    def _interval_s(self) -> float:
        return self._actor.view.config.optimizer_config.flush_interval_sec

    def _is_due(self, dirty_since: float) -> bool:
        return trio.current_time() >= dirty_since + self._interval_s or self._is_too_long()

    def _is_too_long(self) -> bool:
        if trio.current_time() < self._whole_from:
            return False
        try:
            return self._log.stat().st_size > WAL_BYTES_MAX
        except OSError:
            return False
