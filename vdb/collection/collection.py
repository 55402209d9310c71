"""A collection as the rest of the server sees it: writes go to its actor, reads to its View."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import outcome
import trio

from vdb.collection.actor import Actor
from vdb.collection.field_files import FIELDS_NAME
from vdb.collection.field_keeper import FieldKeeper, built
from vdb.collection.flusher import Flusher
from vdb.collection.recovery import DATABASE_NAME, SEGMENTS_NAME, Recovered, recover
from vdb.collection.remover import Remover
from vdb.collection.state import SlotView
from vdb.collection.threads import WorkerThreads
from vdb.collection.verifier import SegmentVerifier
from vdb.errors import Busy, Corrupt
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import PayloadFieldSchema
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.model.queries import QueryRequest
from vdb.query.deadline import Deadline
from vdb.query.targets import Resolve
from vdb.query.together import query_together
from vdb.query.view import View
from vdb.storage import log
from vdb.storage.sqlite import Readers, Synchronous, Writer, one_state

T = TypeVar("T")

_MOMENT_LOOKS_MAX: Final = 200
_MOMENT_PAUSE_S: Final = 0.001


class Collection:
    """Made by ``open_collection``."""

    def __init__(
        self,
        name: str,
        folder: Path,
        actor: Actor,
        threads: WorkerThreads,
        readers: Readers,
        recovered: Recovered,
    ) -> None:
        self.name = name
        self.folder = folder
        self.actor = actor
        self.rebuilt = recovered.rebuilt
        self.damaged: Sequence[Corrupt] = ()  # files that lost bits while the collection was open
        self.discarded = False  # set before it is closed for good, so that nothing is written that would be deleted
        self._readers = readers
        self._threads = threads
        self._next_segment_id = recovered.next_segment_id
        self._query_together = self._answer_together  # one object: the threads know by it what belongs together

    @property
    def view(self) -> View:
        return self.actor.view

    @property
    def slots(self) -> tuple[SlotView, ...]:
        return self.actor.slots

    @property
    def segments_folder(self) -> Path:
        return self.folder / SEGMENTS_NAME

    def next_segment_id(self) -> int:
        number, self._next_segment_id = self._next_segment_id, self._next_segment_id + 1
        return number

    async def write(self, operation: PointOperation) -> int:
        """The seq of the operation, once it is durable and visible."""
        return await self.actor.write(operation)

    async def write_in_order(self, planned: Sequence[PointOperation | Resolve]) -> list[int]:
        """Several writes with nothing in between; a Resolve makes its operation when its turn has come."""
        return await self.actor.write_in_order(planned)

    async def create_index(self, path: str, schema: PayloadFieldSchema, wait: bool) -> int:
        """The seq of the operation, once it is durable, and once the index answers where ``wait`` is set."""
        if path in self.view.fields and self.view.fields[path].schema == schema:
            return self.view.seq
        if self.view.building.get(path) == schema:  # asked for again, as clients that lose patience do
            seq = self.view.seq
        else:
            seq = await self.actor.change_indexes(CreateIndex(path, schema))
        if wait:
            await built(self.actor, path)
        return seq

    async def delete_index(self, path: str) -> int:
        return await self.actor.change_indexes(DeleteIndex(path))

    async def read(self, work: Callable[[View, sqlite3.Connection], T], *, of_one_moment: bool = False) -> T:
        """Runs ``work`` in a search thread on the newest View and a read-only connection.

        The database may know of a write that the View does not show yet. ``of_one_moment`` keeps to one state of both;
        raises Busy where writes follow each other too fast for that.
        """
        view = self.actor.view

        def job() -> T:
            with self._readers.borrow() as connection:
                if not of_one_moment:
                    return work(view, connection)
                with self._moment(connection) as shown:
                    return work(shown, connection)

        with self._damage_ends_writes():
            return await self._threads.run(job)

    async def query(self, request: QueryRequest) -> str:
        """``query_points`` for a plain request, on the newest View, together with those that wait at the same time."""
        with self._damage_ends_writes():
            answer: str = await self._threads.run_together(request, self._query_together)
        return answer

    @contextmanager
    def _moment(self, connection: sqlite3.Connection) -> Iterator[View]:
        """The View of exactly what ``connection`` reads in this block; a View follows its transaction by moments."""
        for _ in range(_MOMENT_LOOKS_MAX):
            with one_state(connection):
                head, view = log.head(connection), self.actor.view
                if view.seq == head:
                    yield view
                    return
            time.sleep(_MOMENT_PAUSE_S)
        raise Busy("The collection is being written to: try again")

    @contextmanager
    def _damage_ends_writes(self) -> Iterator[None]:
        """A damaged page that a read met: more writes could only make it worse."""
        try:
            yield
        except Corrupt as error:
            self.actor.fail(error)
            raise

    def _answer_together(self, requests: list[QueryRequest]) -> Sequence[outcome.Outcome[str]]:
        with self.reader() as (view, connection):
            return query_together(view, connection, requests, Deadline(), self._threads.count)

    @contextmanager
    def reader(self) -> Iterator[tuple[View, sqlite3.Connection]]:
        """The newest View and a read-only connection for this block; for work that is in a search thread already."""
        with self._readers.borrow() as connection:
            yield self.actor.view, connection


@asynccontextmanager
async def open_collection(
    name: str,
    folder: Path,
    config: CollectionConfig,
    threads: WorkerThreads,
    synchronous: Synchronous,
    processes: trio.CapacityLimiter | None = None,
) -> AsyncIterator[Collection]:
    """Recovers the collection and runs its actor until the block ends; what was accepted by then is finished.

    ``processes`` limits how many field indexes are built at once, those of other collections among them.
    Raises Corrupt where its database is damaged.
    """
    database = folder / DATABASE_NAME
    writer = Writer(database, synchronous)
    await writer.open()
    readers = Readers(database)
    try:
        recovered = await writer.run(lambda connection: recover(connection, name, folder, config))

        remover = Remover()

        async def resolve(work: Resolve) -> PointOperation:
            return await collection.read(work)

        actor = Actor(name, recovered.state, writer, recovered.log_bytes, remover.remove, resolve)
        collection = Collection(name, folder, actor, threads, readers, recovered)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(actor.run)
            nursery.start_soon(remover.run)
            keeper = FieldKeeper(
                actor, readers, database, folder / FIELDS_NAME, recovered.reread, processes or trio.CapacityLimiter(1)
            )
            nursery.start_soon(keeper.run)
            verifier = SegmentVerifier(actor, recovered.verified)
            nursery.start_soon(verifier.run)
            collection.damaged = verifier.damaged
            nursery.start_soon(Flusher(actor, readers, database).run)
            try:
                yield collection
            finally:
                actor.stop()
                with trio.CancelScope(shield=True):
                    await actor.stopped.wait()
                    await keeper.close(write=not collection.discarded)
                    await verifier.close(write=not collection.discarded)
                nursery.cancel_scope.cancel()
    finally:
        readers.close()  # before the writer: whoever closes last writes everything into the database file
        await writer.close()
