"""The optimizer of one collection: watches its segments, and rebuilds sets of them in child processes.

Guarantees
    A build that fails or is cancelled leaves nothing behind and changes nothing; it is tried again, after a pause that
    grows.
    Cancelling ``run`` (shutdown, deletion of the collection) ends the child processes before it returns.
Assumes
    One ``run`` per collection. The actor alone changes segments: this module asks it to.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import trio

from vdb.collection.child_process import Builder, BuildFailed, build_segment
from vdb.collection.collection import Collection
from vdb.collection.state import SlotView
from vdb.errors import CollectionBroken, Corrupt, OutcomeUnknown, TryLater
from vdb.files import fsync_dir
from vdb.optimizer.history import Build, History
from vdb.optimizer.job import prepare
from vdb.optimizer.policy import Limits, Plan, plan
from vdb.segment.manifest import MANIFEST_NAME
from vdb.segment.sealed import SealedSegment, open_segment

logger = logging.getLogger(__name__)

IDLE_AFTER_S: Final = 0.5  # without a write for so long, rows left in memory are sealed and segments merged
PAUSE_FIRST_S: Final = 1.0  # after a failed build; doubled each time
PAUSE_MAX_S: Final = 60.0
QUEUED_MAX: Final = 64  # plans that are told of in advance: each looks at all segments


@dataclass(slots=True)
class Budget:
    """What all optimizers of the server share: child processes at once, and threads that prepare their files."""

    processes: trio.CapacityLimiter
    threads: trio.CapacityLimiter
    cpus: int


class Optimizer:
    """Owned by the collection's nursery. ``running`` and ``error`` are for collection info."""

    def __init__(self, collection: Collection, budget: Budget, builder: Builder = build_segment) -> None:
        self._collection = collection
        self._budget = budget
        self._builder = builder
        self.running: tuple[Plan, ...] = ()  # what is being built, or waits for a free process
        self.history = History()
        self._failure: str | None = None  # what the newest failed build said, until one succeeds
        self._pause_s = PAUSE_FIRST_S
        self._retry_at = -math.inf
        self._waiting = trio.CancelScope()  # of ``run``, for something to do; a build that ends cancels it

    @property
    def error(self) -> str | None:
        """What keeps segments from being as they should be."""
        damaged = self._collection.damaged
        return self._failure or (f"{damaged[0]}: a restart rebuilds its segment" if damaged else None)

    @property
    def enabled(self) -> bool:
        return self._builds_max > 0

    @property
    def _builds_max(self) -> int:
        """Builds of this collection at once: as many as asked for, and never more than there are processes for."""
        wanted = self._collection.view.config.optimizer_config.max_optimization_threads
        processes = int(self._budget.processes.total_tokens)
        return processes if wanted is None else min(wanted, processes)

    def pending(self) -> Plan | None:
        """What is being built, or would be once writing pauses."""
        return self.running[0] if self.running else self.next_plan(idle=True)

    def next_plan(self, idle: bool) -> Plan | None:
        """What is to be built beside that which is being built; ``idle`` is True when no write has come for a while."""
        config = self._collection.view.config
        busy = frozenset(number for running in self.running for number in running.inputs)
        return plan(self._collection.slots, config, Limits.of(config, self._budget.cpus), idle, busy)

    def queued_plans(self) -> list[Plan]:
        """What would be built one after another if no more writes came, an estimate."""
        config = self._collection.view.config
        limits = Limits.of(config, self._budget.cpus)
        busy = frozenset(number for running in self.running for number in running.inputs)
        queued: list[Plan] = []
        while len(queued) < QUEUED_MAX and (chosen := plan(self._collection.slots, config, limits, True, busy)):
            queued.append(chosen)
            busy |= frozenset(chosen.inputs)
        return queued

    async def run(self) -> None:
        """Until cancelled; builds nothing more once the collection is broken."""
        actor = self._collection.actor
        async with trio.open_nursery() as nursery:
            while not actor.stopped.is_set():
                published, now, wake_at = actor.published, trio.current_time(), math.inf
                if len(self.running) < self._builds_max:
                    idle_at = actor.written_at + IDLE_AFTER_S
                    if now < self._retry_at:
                        wake_at = self._retry_at
                    elif (chosen := self.next_plan(idle=now >= idle_at)) is not None:
                        self.running = (*self.running, chosen)
                        nursery.start_soon(self._attempt, chosen)
                        continue
                    elif now < idle_at:
                        wake_at = idle_at
                with trio.move_on_at(wake_at) as self._waiting:
                    await published.wait()

    async def _attempt(self, chosen: Plan) -> None:
        """One build. A failure is named, and pauses all further builds of this collection."""
        try:
            async with self._budget.processes:
                await self.rebuild(chosen)
        except CollectionBroken:
            pass  # the actor has said why; collection info shows it
        except (BuildFailed, OSError, TryLater, Corrupt, OutcomeUnknown) as error:
            self._failure = f"{chosen.optimizer}: {error}"
            logger.warning("collection %s: %s", self._collection.name, self._failure)
            self._retry_at = trio.current_time() + self._pause_s
            self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
        else:
            self._failure = None
            self._pause_s = PAUSE_FIRST_S
        finally:
            self.running = tuple(running for running in self.running if running is not chosen)
            self._waiting.cancel()

    async def rebuild(self, chosen: Plan) -> None:
        """Carries out a plan; raises BuildFailed, OSError, TryLater, Corrupt, OutcomeUnknown, CollectionBroken."""
        collection = self._collection
        slots = await collection.actor.freeze() if chosen.freeze else collection.slots
        built_from_seq = collection.view.seq
        by_number = {slot.number: slot for slot in slots}
        if not by_number.keys() >= set(chosen.inputs):
            raise TryLater("Segments have changed since this was planned")
        inputs = [by_number[number] for number in chosen.inputs]
        folder = collection.segments_folder
        name = str(uuid4())
        scratch, output, final = folder / f".{name}.job", folder / f".{name}.new", folder / name
        unused = [scratch, output]
        build = self.history.begin(name, chosen.optimizer, inputs)
        try:
            try:
                segment = await self._build(build, inputs, scratch, output, final, built_from_seq)
            except BaseException:
                unused.append(final)  # nobody was told of it yet
                raise
            build.begin("swap")
            try:
                await collection.actor.swap(chosen.inputs, segment, built_from_seq)
            except TryLater:
                unused.append(final)  # the database has refused it
                raise
        except BaseException as error:
            self.history.end(build, error)
            raise
        else:
            self.history.end(build)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, unused)
        logger.info(
            "collection %s: %s made %s of %d segments",
            collection.name,
            chosen.optimizer,
            f"segment {name} ({sum(slot.points_count for slot in inputs)} points)" if segment else "nothing",
            len(inputs),
        )

    async def _build(
        self, build: Build, inputs: list[SlotView], scratch: Path, output: Path, final: Path, built_from_seq: int
    ) -> SealedSegment | None:
        view = self._collection.view
        vector_ids = {name: vector.vector_id for name, vector in view.vectors.items()}

        def make_job() -> Path | None:
            scratch.mkdir()
            output.mkdir()
            return prepare(scratch, output, view.config, vector_ids, inputs)

        build.begin("prepare")
        job = await trio.to_thread.run_sync(make_job, limiter=self._budget.threads)
        if job is None:
            return None
        build.begin("build")
        await self._builder(job)
        build.begin("open")
        return await trio.to_thread.run_sync(
            partial(_adopt, self._collection.next_segment_id(), output, final, built_from_seq),
            limiter=self._budget.threads,
        )


def _adopt(segment_id: int, output: Path, final: Path, built_from_seq: int) -> SealedSegment:
    """Gives a finished folder its name, durably, and opens it. The database's manifest does not name it yet."""
    manifest = (output / MANIFEST_NAME).read_text(encoding="utf-8")
    output.rename(final)
    fsync_dir(final.parent)
    return open_segment(segment_id, final, built_from_seq, manifest, verify_files=False)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
