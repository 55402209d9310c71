"""The actor: the only writer of a collection.

It drains its mailbox, commits everything that waits in one transaction, applies it to memory, publishes a new View, and
replies. Draining is the group commit: the more clients write at once, the more writes share one flush of the disk.

Guarantees
    A reply to a write comes after its transaction is durable and after the View that shows it is published.
    Views are published whole: one assignment, after everything that they name is in place.
    A caller's cancellation never cancels a write.
    A disk that is full or fails stops nobody: the write is answered with an error, reads go on, and writes do as soon
    as the disk does (``transactions.py``).
    Any other error that is not the client's stops the actor: the collection is broken (``failure``), its View stays,
    and other collections go on. What was committed is on disk; a restart recovers it.
Assumes
    One ``run`` per actor, in the collection's nursery.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import trio

from vdb.collection.commit import (
    Committed,
    adopt_index,
    change_indexes,
    commit,
    reconfigure,
    swap_segments,
)
from vdb.collection.mailbox import Mailbox
from vdb.collection.messages import (
    AdoptCompaction,
    AdoptIndex,
    AnyCompaction,
    ChangeIndexes,
    Flush,
    Freeze,
    Message,
    Reconfigure,
    Swap,
    Write,
    WriteInOrder,
)
from vdb.collection.payload_memory import read_all_payloads
from vdb.collection.state import SlotView, State
from vdb.collection.transactions import Transactions
from vdb.errors import BadRequest, CollectionBroken, CollectionClosing, NotFound, OutcomeUnknown, TryLater, VdbError
from vdb.fail_points import fail_point
from vdb.model.collection_config import CollectionConfig
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation, size_bytes
from vdb.query.targets import Resolve
from vdb.query.view import View
from vdb.segment.fields.index import FieldIndex
from vdb.segment.rows import RowNumbers
from vdb.segment.sealed import SealedSegment
from vdb.storage import log
from vdb.storage.points import Nums
from vdb.storage.segments import SegmentRow
from vdb.storage.sqlite import Readers, Writer, checkpoint

logger = logging.getLogger(__name__)

T = TypeVar("T")
ReadThread = Callable[[Resolve], Awaitable[PointOperation]]

GROUP_OPERATIONS_MAX: Final = 512  # one transaction's operations: bounds the wait of the first of them
GROUP_BYTES_MAX: Final = 16 * 2**20  # and its vectors and payloads
FREEZE_BYTES: Final = 8 * 2**20  # a segment in memory takes rows up to this size: its scan stays about a millisecond
_LOG_CAPACITY_PARTS: Final = 4  # the log is cut when it is beyond such a part of its capacity
SETTLE_RETRY_S: Final = 1.0  # between two looks at a disk that would not tell whether a transaction is there


class Actor:
    """Owns the State and the writer connection. ``view`` and ``slots`` are for everybody: plain attributes."""

    def __init__(
        self,
        name: str,
        state: State,
        writer: Writer,
        log_bytes: int,
        remove: Callable[[Path], None],
        read: ReadThread,
    ) -> None:
        self.name = name
        self.mailbox: Mailbox[Message] = Mailbox()
        self.published = trio.Event()  # set, and replaced by a new one, whenever a View is published
        self.failure: CollectionBroken | None = None
        self.stopped = trio.Event()
        self.written_at = -math.inf  # trio.current_time() of the last write that changed something
        self._state = state
        self._writer = writer
        self._log_bytes = log_bytes
        self._remove = remove
        self._read = read
        self._transactions = Transactions(name, writer)
        self.compactions: dict[str | int, AnyCompaction] = {}  # work on indexes that waits for somebody to take it
        self._compacting: set[str | int] = set()
        self._stopping = False
        self.points_applied = 0  # changes of points that the View's field indexes have seen since the start
        self.view: View
        self.slots: tuple[SlotView, ...]
        self.view, self.slots = state.publish()

    @property
    def trouble(self) -> VdbError | None:
        """Why the last transaction failed, until one succeeds."""
        return self._transactions.trouble

    @property
    def log_bytes(self) -> int:
        """About what the log of operations holds."""
        return self._log_bytes

    async def write(self, operation: PointOperation) -> int:
        """Applies ``operation`` durably and visibly; returns its seq.

        Raises BadRequest, NotFound, Busy, and where the disk fails TryLater (nothing is applied) or OutcomeUnknown.
        """
        message = Write(operation)
        await self._send(message, size_bytes(operation))
        return await message.reply.wait()

    async def write_in_order(self, planned: Sequence[PointOperation | Resolve]) -> list[int]:
        """Several writes with nothing in between; returns their seqs. Raises what the first refused one raises."""
        message = WriteInOrder(planned)
        await self._send(message, sum(0 if callable(operation) else size_bytes(operation) for operation in planned))
        return await message.reply.wait()

    async def change_indexes(self, operation: CreateIndex | DeleteIndex) -> int:
        """Makes the change durable and returns its seq; a new index answers once it is built."""
        message = ChangeIndexes(operation)
        await self._send(message, 0)
        return await message.reply.wait()

    async def adopt_index(self, path: str, index: FieldIndex, built_from_seq: int) -> bool:
        message = AdoptIndex(path, index, built_from_seq)
        self._tell(message)
        return await message.reply.wait()

    async def adopt_compaction(self, index: str | int, job: AnyCompaction) -> None:
        message = AdoptCompaction(index, job)
        try:
            self._tell(message)
            await message.reply.wait()
        except TryLater:
            self._compacting.discard(index)  # whoever publishes next asks for it again
            raise

    async def reconfigure(self, config: CollectionConfig) -> None:
        message = Reconfigure(config)
        await self._send(message, 0)
        await message.reply.wait()

    async def flush(self, readers: Readers | None = None) -> bool:
        """Moves what was written into the database file and to the medium; with ``readers`` SQLite's log is emptied.

        False where somebody who reads was in the way.
        """
        message = Flush(readers)
        self._tell(message)
        return await message.reply.wait()

    async def freeze(self) -> tuple[SlotView, ...]:
        message = Freeze()
        self._tell(message)
        return await message.reply.wait()

    async def swap(self, inputs: tuple[int, ...], output: SealedSegment | None, built_from_seq: int) -> None:
        message = Swap(inputs, output, built_from_seq)
        self._tell(message)
        await message.reply.wait()

    def check(self) -> None:
        """Raises CollectionBroken where nothing is written any more."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # every raise adds to the one that it has
        if self._stopping:
            raise CollectionClosing(self.name)

    def _tell(self, message: Message) -> None:
        """For the collection's own messages: a mailbox full of writes must not keep them out."""
        self.check()
        self.mailbox.send_nowait(message)

    async def _send(self, message: Message, size: int) -> None:
        self.check()
        await self.mailbox.send(message, size)
        if self.stopped.is_set():  # it stopped while this message waited for room: nobody else will answer
            self._fail_waiting()

    def fail(self, error: Exception) -> None:
        """Stops writes for good: somebody found that the database is damaged. What waits is refused."""
        if self.failure is None:
            self._break(error)
            self.stop()

    def _break(self, error: Exception) -> None:
        self.failure = CollectionBroken(f"Collection `{self.name}` stopped: {error}")
        self.failure.__cause__ = error
        logger.error("collection %s stopped: %s", self.name, error, exc_info=error)

    def stop(self) -> None:
        """Takes no new messages; ``run`` returns after those that wait are done."""
        self._stopping = True
        self.mailbox.wake()

    async def run(self) -> None:
        """Handles messages until ``stop`` or an error of vdb's own."""
        try:
            with trio.CancelScope(shield=True):
                while self.failure is None:
                    if self._transactions.in_doubt:
                        with trio.move_on_after(SETTLE_RETRY_S):
                            await self.mailbox.wait(lambda: self._stopping)
                        applied = await self._transactions.settle()
                        if applied is None:
                            self._fail_waiting(self.trouble)
                            if self._stopping:
                                return  # the next start reads what is there
                            continue
                        if applied:
                            self._publish_written()
                    else:
                        await self.mailbox.wait(lambda: self._stopping)
                    if len(self.mailbox) and self.failure is None:
                        await self._handle_next()
                    elif self._stopping:
                        return
        except Exception as error:
            self._break(error)
        finally:
            self.stopped.set()
            self._fail_waiting()
            self._tell_published()  # whoever waits for more learns that there will be none

    def _fail_waiting(self, error: VdbError | None = None) -> None:
        error = error or self.failure or CollectionClosing(self.name)
        while len(self.mailbox):
            message, _ = self.mailbox.take()
            message.reply.fail(error)

    async def _handle_next(self) -> None:
        first = self.mailbox.peek()
        if isinstance(first, Write):
            await self._write_group(*self._take_group())
            return
        message, _ = self.mailbox.take()
        try:
            match message:
                case WriteInOrder():
                    message.reply.answer(await self._write_in_order(message.planned))
                case ChangeIndexes(operation=operation):
                    await self._change(lambda connection: change_indexes(connection, operation, self._state))
                    self._publish()
                    message.reply.answer(self._state.seq)
                case AdoptIndex(path=path, index=index):
                    wanted = self._state.fields.is_building(path, index.schema, message.built_from_seq)
                    if wanted:
                        await self._writer.run(lambda connection: adopt_index(connection, index, path, self._state))
                        self._publish()
                    message.reply.answer(wanted)
                case AdoptCompaction(index=key, job=job):
                    self._compacting.discard(key)
                    # On the writer's thread: points that changed since are put right there, and long texts take time.
                    await self._writer.run(lambda connection: self._state.take_compaction(key, job))
                    self._publish()
                    message.reply.answer(None)
                case Reconfigure():
                    await self._place_payloads(message.config.params.cold_payload)
                    config = message.config
                    await self._change(lambda connection: reconfigure(connection, config, self._state))
                    self._publish()
                    message.reply.answer(None)
                case Flush(readers=readers):
                    message.reply.answer(await self._writer.run(lambda connection: checkpoint(connection, readers)))
                case Freeze():
                    if self._state.active_size_bytes():
                        self._state.open_appendable()
                        self._publish()
                    message.reply.answer(self.slots)
                case Swap():
                    await self._swap(message)
                    message.reply.answer(None)
        except (BadRequest, NotFound, TryLater, OutcomeUnknown) as error:
            message.reply.fail(error)
        except BaseException as error:
            broken = CollectionBroken(f"Collection `{self.name}` stopped: {error}")
            message.reply.fail(error if isinstance(error, VdbError) else broken)
            raise

    async def _place_payloads(self, cold: bool) -> None:
        """Reads all payloads into memory, while writes wait and reads go on, or lets go of them."""
        if cold:
            self._state.payloads = None
        elif self._state.payloads is None:
            self._state.payloads = await self._writer.run(read_all_payloads)

    async def _write_in_order(self, planned: Sequence[PointOperation | Resolve]) -> list[int]:
        seqs: list[int] = []
        for entry in planned:
            operation = await self._read(entry) if callable(entry) else entry
            (result,) = await self._commit([operation])
            self._log_bytes += size_bytes(operation)
            if not isinstance(result, int):
                raise result
            seqs.append(result)
        await self._trim_log()
        return seqs

    def _take_group(self) -> tuple[list[Write], int]:
        """The writes at the head of the mailbox, as many as one transaction takes, and their size in bytes."""
        group: list[Write] = []
        total = 0
        while len(group) < GROUP_OPERATIONS_MAX and total < GROUP_BYTES_MAX and isinstance(self.mailbox.peek(), Write):
            message, size = self.mailbox.take()
            assert isinstance(message, Write)
            group.append(message)
            total += size
        return group, total

    async def _write_group(self, group: Sequence[Write], size: int) -> None:
        try:
            results = await self._commit([write.operation for write in group])
        except (TryLater, OutcomeUnknown) as error:
            for write in group:
                write.reply.fail(error)
            return
        except BaseException as error:
            failure = error if isinstance(error, VdbError) else CollectionBroken(f"The write failed: {error}")
            for write in group:
                write.reply.fail(failure)
            raise
        for write, result in zip(group, results, strict=True):
            if isinstance(result, int):
                write.reply.answer(result)
            else:
                write.reply.fail(result)
        self._log_bytes += size
        await self._trim_log()

    async def _commit(self, operations: Sequence[PointOperation]) -> Sequence[int | BadRequest | NotFound]:
        """Makes operations durable and visible; an entry each, as in ``Committed``."""
        committed: Committed = await self._change(lambda connection: commit(connection, operations, self._state))
        if committed.changed:
            self._publish_written()
        return committed.outcomes

    def _publish_written(self) -> None:
        self.written_at = trio.current_time()
        if self._state.active_size_bytes() >= FREEZE_BYTES:
            self._state.open_appendable()
        self._publish()

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``Transactions.run``; what the disk did not confirm and holds all the same is published."""
        try:
            return await self._transactions.run(work)
        except OutcomeUnknown as error:
            if error.applied:
                self._publish_written()
            raise

    async def _trim_log(self) -> None:
        """Cuts the log long before its capacity: what it frees in the database file is used again and not given back,
        so that the file would stay larger by all that the log has ever held.
        """
        bound = self._state.config.wal_config.wal_capacity_mb * 2**20 // _LOG_CAPACITY_PARTS
        if self._log_bytes > bound:
            try:
                self._log_bytes = await self._writer.run(lambda connection: log.trim(connection, bound // 2))
            except TryLater as error:  # whether the old entries are there or not, nothing depends on them
                logger.warning("collection %s: the log is not cut: %s", self.name, error)
                self._transactions.trouble = error
                with suppress(TryLater):
                    await self._writer.renew()

    async def _swap(self, swap: Swap) -> None:
        """Sealed under the actor's turn: a delete between the build and the swap would resurrect the point."""
        state, output = self._state, swap.output
        newest = max(state.slots)
        if any(number not in state.slots and number < newest for number in swap.inputs):
            # Another swap of them was in doubt when this build began, and turned out to be there.
            raise TryLater("Segments have changed since this one was built")
        inputs = [state.slots[number] for number in swap.inputs]
        if any(slot.appendable for slot in inputs):
            raise TryLater("A segment that was to be rebuilt takes new rows")
        dead = state.dead_rows_for_swap(output, swap.inputs) if output is not None else {}
        row: SegmentRow | None = None
        sealed_nums = {}
        if output is not None:
            row = SegmentRow(
                output.segment_id, output.folder.name, swap.built_from_seq, output.manifest.to_json(), dead
            )
            sealed_nums = {vid: _living(rows.nums, dead.get(vid)) for vid, rows in output.rows.items()}
        input_ids = [slot.sealed.segment_id for slot in inputs if slot.sealed is not None]

        def adopt() -> None:
            if output is not None:
                state.attach(output, dead)
            for segment in state.detach(swap.inputs):
                segment.retire(self._remove)

        fail_point("before-swap")
        try:
            await self._change(lambda connection: swap_segments(connection, input_ids, row, sealed_nums, adopt))
        except OutcomeUnknown as error:
            if not error.applied:
                raise
        fail_point("after-swap")
        self._publish()

    def _publish(self) -> None:
        for index, job in self._state.compactions(self._compacting):
            self._compacting.add(index)
            self.compactions[index] = job
        self.view, self.slots = self._state.publish()
        self.points_applied = self._state.fields.points_applied
        self._tell_published()

    def _tell_published(self) -> None:
        published, self.published = self.published, trio.Event()
        published.set()


def _living(nums: Nums, dead: RowNumbers | None) -> Nums:
    return np.asarray(nums) if dead is None else np.delete(np.asarray(nums), dead)
