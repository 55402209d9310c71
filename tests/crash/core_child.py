"""One round of the storage core, in a forked child: recovers, compares, and writes until it dies.

It tells its parent through a pipe, one JSON list a line: ``["found", writer, seq]`` (an operation that was in flight,
and is there), ``["compared"]``, ``["done", writer, seq]``, ``["refused", writer]``, ``["closing"]``, ``["closed"]``,
``["failed", why]``. What was written to a pipe is there for the parent however the child ends.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import sqlite3
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
import trio_asyncio  # type: ignore[import-untyped]

from tests.crash.core_record import ACKNOWLEDGED_MAX, IDS, INDEXER, WRITERS, Life, Record, Round, operations
from tests.model_run.points import Json
from tests.model_run.reading import Reading
from tests.model_run.worlds import Steps, ids_of
from vdb import fail_points
from vdb.api import writes
from vdb.collection.collection import Collection, open_collection
from vdb.collection.recovery import DATABASE_NAME
from vdb.collection.threads import WorkerThreads
from vdb.config import StorageSettings
from vdb.errors import PointNotFound
from vdb.model import collection_config
from vdb.model.collection_config import CollectionConfig, CreateCollection
from vdb.model.decode import decode_hook
from vdb.model.field_index import CreateFieldIndex, encode_schema
from vdb.model.operations import CreateIndex
from vdb.model.points import UpdateOperation
from vdb.optimizer.worker import Budget, Optimizer
from vdb.segment import builder
from vdb.storage import field_indexes, log

VACUUM_MIN: Final = 8  # rows; the API asks for 100 at least, and segments here are smaller than that
UUID_ORDER: Final = 3  # points.id_order of UUIDs; all below are numbers
LOOK_EVERY: Final = 10  # rounds between two comparisons by SQLite's integrity_check, which reads every page


def run_child(round: Round, folder: Path, record: Record, pipe: int) -> None:
    """Never returns: the process ends."""
    code = 1
    try:
        logging.disable(logging.WARNING)
        if round.fail_point is not None:
            # The place reads its variable when its module is loaded.
            os.environ[fail_points.VARIABLE] = f"{round.fail_point}:{round.after:g}"
            importlib.reload(fail_points)
        importlib.reload(builder)  # a builder ends when the parent that it had when it was loaded is gone
        trio.run(_Child(round, folder, record, pipe).run)
        code = 0
    except BaseException:
        _say(pipe, "failed", traceback.format_exc())
    finally:
        os._exit(code)


def _say(pipe: int, *words: Any) -> None:
    os.write(pipe, json.dumps(words).encode() + b"\n")


class _Child:
    def __init__(self, round: Round, folder: Path, record: Record, pipe: int) -> None:
        self._round = round
        self._folder = folder
        self._record = record
        self._pipe = pipe
        self._life = Life.of(round.seed, round.life)
        self._acknowledged = 0
        self._enough = trio.Event()

    async def run(self) -> None:
        async with trio_asyncio.open_loop():
            threads = WorkerThreads(1, "search")
            threads.start()
            try:
                async with open_collection(
                    "core", self._folder, self._config(), threads, self._life.synchronous
                ) as collection:
                    await self._settle(collection)
                    await self._compare(collection)
                    _say(self._pipe, "compared")
                    async with trio.open_nursery() as nursery:
                        for writer in (*range(WRITERS), INDEXER):
                            nursery.start_soon(self._write, collection, writer)
                        nursery.start_soon(self._optimize, collection)
                        await self._enough.wait()
                        nursery.cancel_scope.cancel()
                    _say(self._pipe, "closing")
            finally:
                threads.stop()
        _say(self._pipe, "closed")

    def _config(self) -> CollectionConfig:
        config = collection_config.resolve(_decoded(self._life.create, CreateCollection), StorageSettings())
        optimizers = msgspec.structs.replace(config.optimizer_config, vacuum_min_vector_number=VACUUM_MIN)
        return msgspec.structs.replace(config, optimizer_config=optimizers)

    async def _settle(self, collection: Collection) -> None:
        """Finds out from the log which of the operations in flight are there."""
        record = self._record
        entries = await collection.read(lambda _, database: list(log.read_from(database, record.head + 1)))
        assert [entry.seq for entry in entries] == list(range(record.head + 1, record.head + 1 + len(entries)))
        for entry in entries:
            if entry.seq > record.head and entry.seq not in record.beyond:
                writer = record.writer_of(entry.operation)
                record.take(record.next.pop(writer), entry.seq)
                _say(self._pipe, "found", writer, entry.seq)
        assert not record.beyond, f"the log ends at {record.head}, acknowledged was {max(record.beyond)}"

    async def _compare(self, collection: Collection) -> None:
        """Everything that answers: scroll, counts, searches by graph and exact, filters, and SQLite itself."""
        record, number = self._record, self._round.number
        assert collection.view.seq == record.head, f"seq {collection.view.seq} is not {record.head}"
        fields = {**collection.view.building, **{path: index.schema for path, index in collection.view.fields.items()}}
        assert fields.keys() == record.schemas.keys(), f"indexes {list(fields)} are not {list(record.schemas)}"
        reader = Steps(number, record.points, ids_of(IDS))
        await Reading(collection, record.points, reader, random.Random(number)).compare()
        await trio.to_thread.run_sync(self._compare_database)

    def _compare_database(self) -> None:
        """As an administrator reads it, on a connection of our own."""
        points = self._record.points.by_id
        database = sqlite3.connect(f"{(self._folder / DATABASE_NAME).as_uri()}?mode=ro", uri=True)
        try:
            if self._round.number % LOOK_EVERY == 0:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = database.execute("SELECT id_order, id, version, body FROM points LEFT JOIN payloads USING (num)")
            stored = {
                (text if order == UUID_ORDER else int(text)): (version, json.loads(body or "{}"))
                for order, text, version, body in rows.fetchall()
            }
            assert stored == {i: (point.version, point.payload) for i, point in points.items()}
            names = database.execute("SELECT id, name FROM v_vectors").fetchall()
            wanted = sorted((str(i), name) for i, point in points.items() for name in point.vectors)
            assert sorted((str(i), name) for i, name in names) == wanted
            schemas = {path: encode_schema(_schema(wish)) for path, wish in self._record.schemas.items()}
            assert field_indexes.read_field_indexes(database) == schemas
        finally:
            database.close()

    async def _write(self, collection: Collection, writer: int) -> None:
        """One operation after another; each is told as soon as it is answered."""
        for operation in operations(self._round, writer):
            try:
                seq = await self._ask(collection, operation)
            except PointNotFound:
                assert self._record.refuses(operation), f"refused: {operation}"
                _say(self._pipe, "refused", writer)
                continue
            assert not self._record.refuses(operation), f"not refused: {operation}"
            self._record.take(operation, seq)
            _say(self._pipe, "done", writer, seq)
            self._acknowledged += 1
            if self._acknowledged >= self._answers_wanted():
                self._enough.set()

    def _answers_wanted(self) -> float:
        """After so many it closes by itself; a round that is to die does so only where its point never came to be."""
        return self._round.after if "clos" in self._round.end else 4 * ACKNOWLEDGED_MAX

    async def _ask(self, collection: Collection, operation: Json) -> int:
        ((kind, body),) = operation.items()
        match kind:
            case "create_index":
                # Past the collection, which logs nothing where there is such an index already.
                wish = CreateIndex(body["field_name"], _schema(body["field_schema"]))
                return await collection.actor.change_indexes(wish)
            case "delete_index":
                return await collection.delete_index(body["field_name"])
        planned = writes.of_batch(_decoded(operation, UpdateOperation), writes.spaces_of(collection))
        assert not callable(planned), "these name their points"
        return await collection.write(planned)

    async def _optimize(self, collection: Collection) -> None:
        """Builds whatever can be built, beside the writers, in this process: a fail point of the builder kills it."""
        optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2), _build)
        while True:
            published = collection.actor.published
            chosen = optimizer.next_plan(idle=True)
            if chosen is None:
                await published.wait()
            else:
                await optimizer.rebuild(chosen)


async def _build(job: Path) -> None:
    await trio.to_thread.run_sync(lambda: builder.build(msgspec.json.decode(job.read_bytes(), type=builder.Job)))


def _schema(wish: Any) -> Any:
    return _decoded({"field_name": "any", "field_schema": wish}, CreateFieldIndex).field_schema


def _decoded(body: Json, kind: Any) -> Any:
    """A request as the HTTP door decodes it."""
    return msgspec.json.decode(msgspec.json.encode(body), type=kind, dec_hook=decode_hook)
