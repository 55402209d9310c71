"""Has field indexes built, tidies them and keeps their files near to them, while the actor goes on.

A new index is made by a child process, which writes its file; that of a small collection in a thread. What changes
meanwhile the actor notes, and reads again when it adopts the index.

Files are written again once enough points changed, and when the collection closes. They are caches: one that cannot be
written is named in the log, and the next start reads payloads instead.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from vdb.collection import field_builder
from vdb.collection.actor import Actor
from vdb.collection.child_process import BuildFailed, build_index
from vdb.collection.field_builder import FieldJob
from vdb.collection.field_files import StoredIndex, Unusable, index_file, remove_indexes, write_index
from vdb.errors import CollectionBroken, Corrupt, OutcomeUnknown, TryLater
from vdb.model.field_index import PayloadFieldSchema, encode_schema
from vdb.segment.fields.index import FieldIndex, FieldSnapshot
from vdb.storage.sqlite import Readers

logger = logging.getLogger(__name__)

# What a start may have to read again: a file is written once so many points changed since, and at the end for fewer.
_BEHIND_POINTS_MAX: Final = 10_000
_BEHIND_POINTS_AT_END: Final = 1_000
# While points stream in, of all time so much at most goes into writing files.
_WRITING_SHARE: Final = 0.05
_END_S: Final = 2.0  # a collection that closes begins no file after this: somebody waits for the process to end
# Starting a child takes some tenths of a second: so many points are indexed in less.
IN_THREAD_POINTS_MAX: Final = 2_000
_RETRY_S: Final = 5.0  # after a child or the disk failed, or a page of the database turned out to be damaged
_JOB_NAME: Final = ".building.job"
_OUTPUT_NAME: Final = ".building"  # where a child puts the index until it answers


class FieldKeeper:
    """``run`` is a task of the collection; ``close`` comes after the actor's last write, and ends it."""

    def __init__(
        self,
        actor: Actor,
        readers: Readers,
        database: Path,
        folder: Path,
        reread: Mapping[str, int],
        processes: trio.CapacityLimiter,
    ) -> None:
        """``reread``: how many points behind the files of indexes are that were read at the start, by path.

        ``processes`` limits the children of all collections.
        """
        self._actor = actor
        self._readers = readers
        self._database = database
        self._folder = folder
        self._processes = processes
        self._limiter = trio.CapacityLimiter(1)  # one build, compaction or file at a time
        # By path, the schema that its file has, and the actor's count of changes when that was written.
        self._files: dict[str, tuple[PayloadFieldSchema, int]] = {
            path: (actor.view.fields[path].schema, actor.points_applied - behind) for path, behind in reread.items()
        }
        self._next_write_at = 0.0
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Until cancelled or closed."""
        with self._scope:
            try:
                while True:
                    try:
                        await self._step()
                    except (TryLater, OutcomeUnknown, Corrupt, BuildFailed, Unusable, OSError) as error:
                        logger.warning("collection %s: an index waits: %s", self._actor.name, error)
                        await trio.sleep(_RETRY_S)
            except CollectionBroken:
                return

    async def close(self, write: bool) -> None:
        """Ends ``run``; then writes what is far behind its file, where asked, so that the next start reads little."""
        self._scope.cancel()
        if not write or self._actor.failure is not None:
            return
        self._limiter = trio.CapacityLimiter(1)  # the old one may wait for the thread of a build that was given up
        deadline = trio.current_time() + _END_S
        for path, snapshot in self._behind(_BEHIND_POINTS_AT_END):
            if trio.current_time() < deadline:
                await self._write(path, snapshot)

    async def _step(self) -> None:
        actor, published = self._actor, self._actor.published
        if actor.view.building:
            path, schema = next(iter(actor.view.building.items()))
            if actor.view.points_count > IN_THREAD_POINTS_MAX:
                await self._build_in_process(path, schema)
            else:
                await self._build_in_thread(path, schema)
        elif actor.compactions:
            key, job = actor.compactions.popitem()
            await trio.to_thread.run_sync(job.run, limiter=self._limiter)
            await actor.adopt_compaction(key, job)
        elif self._files.keys() - actor.view.fields.keys():
            await self._remove_files()
        else:
            await self._write_or_wait(published)

    async def _build_in_thread(self, path: str, schema: PayloadFieldSchema) -> None:
        seq = self._actor.view.seq
        work = partial(field_builder.build, self._readers, path, schema, trio.from_thread.check_cancelled)
        index = await trio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)
        await self._adopt(path, index, seq)

    async def _build_in_process(self, path: str, schema: PayloadFieldSchema) -> None:
        """Raises BuildFailed, OSError, and Unusable for a file that is not what was asked for."""
        job_file, output = self._folder / _JOB_NAME, self._folder / _OUTPUT_NAME

        def prepare(job: FieldJob) -> None:
            self._folder.mkdir(exist_ok=True)
            output.unlink(missing_ok=True)
            job_file.write_bytes(msgspec.json.encode(job))

        def read() -> FieldIndex:
            job_file.unlink(missing_ok=True)
            index, _ = StoredIndex(output).index(path, schema, seq)
            return index

        async with self._processes:
            seq, written_at = self._actor.view.seq, self._actor.points_applied
            job = FieldJob(str(self._database), str(output), path, encode_schema(schema), seq)
            await trio.to_thread.run_sync(prepare, job, limiter=self._limiter)
            await build_index(job_file)
            index = await trio.to_thread.run_sync(read, limiter=self._limiter)
        if await self._adopt(path, index, seq):
            await trio.to_thread.run_sync(output.replace, index_file(self._folder, path), limiter=self._limiter)
            self._files[path] = schema, written_at

    async def _adopt(self, path: str, index: FieldIndex, built_from_seq: int) -> bool:
        """False where nobody wants it any more."""
        wanted = await self._actor.adopt_index(path, index, built_from_seq)
        if wanted:
            logger.info("collection %s: indexed %s (%d points)", self._actor.name, path, index.snapshot().points())
        return wanted

    async def _write_or_wait(self, published: trio.Event) -> None:
        """Writes the file of one index that is far behind and whose turn has come, or waits for either."""
        behind = self._behind(_BEHIND_POINTS_MAX)
        if behind and trio.current_time() >= self._next_write_at:
            began = trio.current_time()
            await self._write(*behind[0])
            took_s = trio.current_time() - began
            self._next_write_at = trio.current_time() + took_s * (1 / _WRITING_SHARE - 1)
        else:
            with trio.move_on_at(self._next_write_at if behind else float("inf")):
                await published.wait()

    def _behind(self, points_max: int) -> list[tuple[str, FieldSnapshot]]:
        """Indexes without a file, and those that more than ``points_max`` points changed since."""
        behind = []
        for path, snapshot in self._actor.view.fields.items():
            schema, written_at = self._files.get(path, (None, 0))
            if schema != snapshot.schema or self._actor.points_applied - written_at > points_max:
                behind.append((path, snapshot))
        return behind

    async def _write(self, path: str, snapshot: FieldSnapshot) -> None:
        seq, written_at = self._actor.view.seq, self._actor.points_applied
        try:
            work = partial(write_index, index_file(self._folder, path), path, snapshot, seq)
            await trio.to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            logger.warning("collection %s: the index of %s was not written: %s", self._actor.name, path, error)
        # Also where it failed: a full disk is not asked again before as many points changed once more.
        self._files[path] = snapshot.schema, written_at

    async def _remove_files(self) -> None:
        """Those of indexes that were dropped."""
        kept = set(self._actor.view.fields)
        await trio.to_thread.run_sync(partial(remove_indexes, self._folder, kept), limiter=self._limiter)
        self._files = {path: known for path, known in self._files.items() if path in kept}


async def built(actor: Actor, path: str) -> None:
    """Returns when no index of that path is waiting to be built."""
    while path in actor.view.building:
        actor.check()
        await actor.published.wait()
