"""The optimizer of one collection: watches its segments, and rebuilds one set of them at a time in a child process.

Guarantees
    A build that fails or is cancelled leaves nothing behind and changes nothing; it is tried again, after a pause that
    grows.
    Cancelling ``run`` (shutdown, deletion of the collection) ends the child process before it returns.
Assumes
    One ``run`` per collection. The actor alone changes segments: this module asks it to.
"""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import trio

from vdb.collection.collection import Collection
from vdb.collection.state import SlotView
from vdb.errors import CollectionBroken
from vdb.files import fsync_dir, self_command
from vdb.optimizer.job import prepare
from vdb.optimizer.policy import Limits, Plan, plan
from vdb.segment.manifest import MANIFEST_NAME
from vdb.segment.sealed import SealedSegment, open_segment

logger = logging.getLogger(__name__)

IDLE_AFTER_S: Final = 0.5  # without a write for so long, rows left in memory are sealed and segments merged
_PAUSE_FIRST_S: Final = 1.0  # after a failed build; doubled each time
_PAUSE_MAX_S: Final = 60.0
_STDERR_BYTES_MAX: Final = 4_000  # of a failed child, what goes into the log


class BuildFailed(Exception):
    """The builder's process ended with an error."""


@dataclass(slots=True)
class Budget:
    """What all optimizers of the server share: child processes at once, and threads that prepare their files."""

    processes: trio.CapacityLimiter
    threads: trio.CapacityLimiter
    cpus: int


class Optimizer:
    """Owned by the collection's nursery. ``running`` and ``error`` are for collection info."""

    def __init__(self, collection: Collection, budget: Budget) -> None:
        self._collection = collection
        self._budget = budget
        self.running: Plan | None = None
        self.error: str | None = None

    @property
    def enabled(self) -> bool:
        return self._collection.view.config.optimizer_config.max_optimization_threads != 0

    def pending(self) -> Plan | None:
        """What is being built, or would be once writing pauses."""
        return self.running or self._plan(idle=True)

    def _plan(self, idle: bool) -> Plan | None:
        config = self._collection.view.config
        return plan(self._collection.slots, config, Limits.of(config, self._budget.cpus), idle)

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = _PAUSE_FIRST_S
        while True:
            published = self._collection.actor.published
            pause_left_s = self._collection.actor.written_at + IDLE_AFTER_S - trio.current_time()
            chosen = self._plan(idle=pause_left_s <= 0) if self.enabled else None
            if chosen is None:
                with trio.move_on_after(pause_left_s if pause_left_s > 0 else math.inf):
                    await published.wait()
                continue
            try:
                async with self._budget.processes:
                    self.running = chosen
                    await self._rebuild(chosen)
            except CollectionBroken:
                return
            except (BuildFailed, OSError) as error:
                self.error = f"{chosen.optimizer}: {error}"
                logger.warning("collection %s: %s", self._collection.name, self.error)
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            else:
                self.error = None
                pause_s = _PAUSE_FIRST_S
            finally:
                self.running = None

    async def _rebuild(self, chosen: Plan) -> None:
        collection = self._collection
        slots = await collection.actor.freeze() if chosen.freeze else collection.slots
        built_from_seq = collection.view.seq
        by_number = {slot.number: slot for slot in slots}
        inputs = [by_number[number] for number in chosen.inputs]
        folder = collection.segments_folder
        name = str(uuid4())
        scratch, output = folder / f".{name}.job", folder / f".{name}.new"
        try:
            segment = await self._build(inputs, scratch, output, folder / name, built_from_seq)
            await collection.actor.swap(chosen.inputs, segment, built_from_seq)
        finally:
            for path in (scratch, output):
                shutil.rmtree(path, ignore_errors=True)
        logger.info(
            "collection %s: %s made %s of %d segments",
            collection.name,
            chosen.optimizer,
            f"segment {name} ({inputs_rows(inputs)} points)" if segment else "nothing",
            len(inputs),
        )

    async def _build(
        self, inputs: list[SlotView], scratch: Path, output: Path, final: Path, built_from_seq: int
    ) -> SealedSegment | None:
        view = self._collection.view
        vector_ids = {name: vector.vector_id for name, vector in view.vectors.items()}

        def make_job() -> Path | None:
            scratch.mkdir()
            output.mkdir()
            return prepare(scratch, output, view.config, vector_ids, inputs)

        job = await trio.to_thread.run_sync(make_job, limiter=self._budget.threads)
        if job is None:
            return None
        result = await trio.run_process(
            self_command("build-segment", str(job)),
            stdin=subprocess.DEVNULL,
            capture_stderr=True,
            check=False,
        )
        if result.returncode != 0:
            assert result.stderr is not None
            raise BuildFailed(
                f"the builder exited with {result.returncode}: "
                + result.stderr[-_STDERR_BYTES_MAX:].decode(errors="replace").strip()
            )
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


def inputs_rows(inputs: list[SlotView]) -> int:
    return sum(slot.points_count for slot in inputs)
