"""Moves what was written from SQLite's log into the database file: every ``flush_interval_sec``, and before it grows.

With ``synchronous: FULL`` every acknowledged write is on the medium already. With ``NORMAL`` this is what brings it
there: a power cut takes what came within the last interval, at most.

SQLite checkpoints by itself too, whenever its log has grown by some megabytes. But the log starts again at its head
only when nobody reads from it, and where searches overlap that moment never comes. So when the log is beyond its bound
reads wait, for as long as those under way take to end. They do so too when nothing was written for an interval: then
the log gives its space back.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from vdb.collection.actor import Actor
from vdb.errors import CollectionBroken, Corrupt, TryLater
from vdb.storage.sqlite import WAL_BYTES_MAX, Readers

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0  # between two looks at the size of the log, and at an interval that may have been changed
_READER_PAUSE_S: Final = 30.0  # after somebody read from the log for very long (a snapshot does), until the next try
_IDLE_BYTES: Final = 2**20  # a log that is smaller may stay: the next writes would only make it grow again


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
                with trio.move_on_after(max(self._interval_s, _LOOK_S)) as quiet:
                    await published.wait()
                if quiet.cancelled_caught:
                    if self._is_longer_than(_IDLE_BYTES):
                        await self._flush(whole=True)
                    await published.wait()
                continue
            while not self._is_due(dirty_since):  # noqa: ASYNC110 - the log grows, and the interval changes, unasked
                await trio.sleep(min(_LOOK_S, max(0.0, dirty_since + self._interval_s - trio.current_time())))
            newest = actor.view.seq
            if await self._flush(whole=self._is_too_long()):
                flushed = newest
            else:
                await trio.sleep(_LOOK_S)

    async def _flush(self, *, whole: bool) -> bool:
        """False where the disk has no room for it now. ``whole`` empties the log as well, unless somebody reads on."""
        actor = self._actor
        try:
            done = await actor.flush(self._readers if whole else None)
        except TryLater as error:
            logger.warning("collection %s: what was written stays in SQLite's log: %s", actor.name, error)
            return False
        except (CollectionBroken, Corrupt):  # which ends `run`
            return False
        if whole and not done:
            self._whole_from = trio.current_time() + _READER_PAUSE_S
        return True

    @property
    def _interval_s(self) -> float:
        return self._actor.view.config.optimizer_config.flush_interval_sec

    def _is_due(self, dirty_since: float) -> bool:
        return trio.current_time() >= dirty_since + self._interval_s or self._is_too_long()

    def _is_too_long(self) -> bool:
        return trio.current_time() >= self._whole_from and self._is_longer_than(WAL_BYTES_MAX)

    def _is_longer_than(self, size_bytes: int) -> bool:
        try:
            return self._log.stat().st_size > size_bytes
        except OSError:
            return False
