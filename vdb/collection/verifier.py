"""Reads segment files beside everything else: new ones, so that the next start need not, and once all of them.

A start trusts files that were verified and have not changed since (``segment/verified.py``). What that cannot see, a
medium that loses bits under a file that nobody touches, is found here: every file is read again once the collection has
been open for a while. Slowly, as nobody waits for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import trio

from vdb.collection.actor import Actor
from vdb.errors import Corrupt
from vdb.segment.manifest import FileEntry, checksum_in_steps
from vdb.segment.sealed import SealedSegment
from vdb.segment.verified import SETTLED_S, Fingerprint, VerifiedFiles

logger = logging.getLogger(__name__)

# Seconds after a segment appeared: its files must have settled before what they are can be told from what they become,
# and while segments are merged all the time most are gone by then.
_NEW_AFTER_S: Final = SETTLED_S + 3.0
_ALL_AFTER_S: Final = 600.0  # a server that has been up for so long has time; those that come and go read nothing
_STEP_PAUSE_S: Final = 0.05  # between two blocks of 4 MiB: at most 80 MB/s


class SegmentVerifier:
    """``run`` is a task of the collection; ``close`` comes after it. ``damaged`` is what was found."""

    def __init__(self, actor: Actor, verified: VerifiedFiles) -> None:
        self._actor = actor
        self._verified = verified
        self._limiter = trio.CapacityLimiter(1)
        self._scope = trio.CancelScope()
        self.damaged: list[Corrupt] = []

    async def run(self) -> None:
        """Until cancelled or closed."""
        with self._scope:
            await self._run()

    async def _run(self) -> None:
        all_at = trio.current_time() + _ALL_AFTER_S
        known: set[str] = set()  # folders of which every file is listed
        while True:
            published = self._actor.published
            fresh = [segment for segment in self._segments() if segment.folder.name not in known]
            if fresh:
                await trio.sleep(_NEW_AFTER_S)
                for segment in self._segments():
                    if segment.folder.name not in known and await self._verify(segment, trusting=True):
                        known.add(segment.folder.name)
                known &= {segment.folder.name for segment in self._segments()}
                await self._save(clean=False)
            elif trio.current_time() >= all_at:
                all_at = math.inf
                for segment in self._segments():
                    await self._verify(segment, trusting=False)
                await self._save(clean=False)
            else:
                with trio.move_on_at(all_at):
                    await published.wait()

    async def close(self, write: bool) -> None:
        """Ends ``run``; then says on disk, where asked, that nothing was cut short."""
        self._scope.cancel()
        if write:
            await self._save(clean=True)

    def _segments(self) -> Iterator[SealedSegment]:
        """Held while they are read, so that their files stay."""
        return iter([slot.sealed for slot in self._actor.slots if slot.sealed is not None])

    async def _verify(self, segment: SealedSegment, trusting: bool) -> bool:
        """False where a file has to be looked at again later."""
        settled = True
        for vector in segment.manifest.vectors:
            for file in vector.files:
                path = segment.folder / file.name
                try:
                    settled &= await self._verify_file(path, file, trusting)
                except Corrupt as error:
                    logger.error("collection %s: %s: the next start rebuilds this segment", self._actor.name, error)
                    self._verified.forget(path)
                    self.damaged.append(error)
        return settled

    async def _verify_file(self, path: Path, file: FileEntry, trusting: bool) -> bool:
        try:
            before = Fingerprint.of(path)
            if trusting and self._verified.holds(path):
                return True
            steps = checksum_in_steps(path)
            found: str | None = None
            while found is None:
                found = await trio.to_thread.run_sync(partial(next, steps), limiter=self._limiter)
                await trio.sleep(_STEP_PAUSE_S)
            if before.size_bytes != file.size_bytes or found != file.xxh3:
                raise Corrupt(path, "does not match its checksum")
            return self._verified.note(path, before)
        except OSError as error:
            raise Corrupt(path, error.strerror or str(error)) from error

    async def _save(self, clean: bool) -> None:
        self._verified.keep(segment.folder.name for segment in self._segments())
        try:
            await trio.to_thread.run_sync(partial(self._verified.save, clean), limiter=self._limiter)
        except OSError as error:
            logger.warning("collection %s: what was verified is forgotten: %s", self._actor.name, error)
