"""Damages a copy of a collection, opens it, and compares everything that it answers with what the whole one answers.

Nothing that was damaged may reach usearch or numpy before it was found out: openings of files are watched, and each one
of a segment's file must come after its verification.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import msgspec
import numpy as np
import trio
import trio_asyncio  # type: ignore[import-untyped]

from tests.damage.mutations import CONFIG, DIM, INDEXES, Mutation, mutate
from vdb.collection.collection import Collection, open_collection
from vdb.collection.threads import WorkerThreads
from vdb.config import StorageSettings
from vdb.model.collection_config import CollectionConfig, CreateCollection, resolve
from vdb.model.decode import decode_hook
from vdb.model.operations import DeletePoints, Upsert, VectorColumn
from vdb.model.queries import QueryRequest, ScrollRequest
from vdb.optimizer.policy import Plan
from vdb.optimizer.worker import Budget, Optimizer
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.scroll import scroll
from vdb.segment import manifest, sealed, verified
from vdb.segment.builder import Job, build

POINTS: Final = 300  # in each of two segments
WORDS: Final = ("ape", "bee", "cat", "dog")
FILTERS: Final[tuple[dict[str, Any], ...]] = (
    {"must": [{"key": "word", "match": {"value": "bee"}}]},
    {"must": [{"key": "number", "range": {"gte": 100, "lt": 333}}]},
    {"must": [{"key": "text", "match": {"text": "dog"}}]},
)

Answers = dict[str, Any]


def config() -> CollectionConfig:
    return resolve(msgspec.convert(CONFIG, CreateCollection, dec_hook=decode_hook), StorageSettings())


@asynccontextmanager
async def opening(folder: Path) -> AsyncIterator[Collection]:
    async with trio_asyncio.open_loop():
        threads = WorkerThreads(1, "search")
        threads.start()
        try:
            async with open_collection("damaged", folder, config(), threads, "NORMAL") as collection:
                yield collection
        finally:
            threads.stop()


async def seal(collection: Collection) -> None:
    """Puts all rows in memory into one sealed segment."""

    async def builder(job: Path) -> None:
        await trio.to_thread.run_sync(lambda: build(msgspec.json.decode(job.read_bytes(), type=Job)))

    optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2), builder)
    loose = [
        slot.number
        for slot in collection.slots
        if slot.sealed is None and any(rows.length for rows in slot.rows.values())
    ]
    if loose:
        await optimizer.rebuild(Plan("indexing", tuple(loose), freeze=True))


async def prepare(folder: Path, seed: int) -> None:
    """A collection of two sealed segments, some dead rows, and the files of its field indexes."""
    folder.mkdir()  # noqa: ASYNC240 - nobody else runs yet
    chance = np.random.default_rng(seed)
    async with opening(folder) as collection:
        for path, schema in INDEXES.items():
            await collection.create_index(path, msgspec.convert(schema, Any), wait=True)
        for first in (0, POINTS):
            ids = list(range(first, first + POINTS))
            payloads = [
                msgspec.json.encode({"word": WORDS[point % 4], "number": point, "text": f"{WORDS[point % 3]} {point}"})
                for point in ids
            ]
            columns = [
                VectorColumn(name, chance.standard_normal((POINTS, DIM)).astype(np.float32))
                for name in CONFIG["vectors"]
            ]
            await collection.write(Upsert(ids, payloads, columns))
            await seal(collection)
        await collection.write(DeletePoints(list(range(0, 2 * POINTS, 50))))


async def answers(collection: Collection) -> Answers:
    """Everything, exact searches of every vector name, and every filter: what does not depend on graphs."""
    found: Answers = {}

    async def query(key: str, **request: Any) -> None:
        decoded = msgspec.convert(request, QueryRequest, dec_hook=decode_hook)
        found[key] = msgspec.json.decode(
            await collection.read(lambda view, connection: execute.query_points(view, connection, decoded, Deadline()))
        )

    request = ScrollRequest(limit=10**9, with_vector=True)
    page = await collection.read(lambda view, connection: scroll(view, connection, request, Deadline()))
    found["points"] = msgspec.json.decode(page)["points"]
    vector = [1.0, -1.0] * (DIM // 2)
    for name in CONFIG["vectors"]:
        await query(name, query=vector, using=name, limit=20, params={"exact": True})
        await query(f"{name} by its graph", query=vector, using=name, limit=2 * POINTS, params={"hnsw_ef": 2 * POINTS})
        found[f"{name} by its graph"] = sorted(hit["id"] for hit in found[f"{name} by its graph"])
    for number, condition in enumerate(FILTERS):
        await query(f"filter {number}", filter=condition, limit=2 * POINTS)
    for hits in found.values():
        for hit in hits if hits and isinstance(hits[0], dict) else ():
            if "score" in hit:
                hit["score"] = round(hit["score"], 4)  # where a row lies decides the last digit
    return found


@dataclass(slots=True)
class DamageLoop:
    """``run`` raises AssertionError for damage that went unnoticed, or that changed an answer."""

    folder: Path
    seed: int
    say: Callable[[str], None] = lambda line: None
    noticed: dict[str, int] = field(default_factory=dict)

    async def run(self, mutations: int) -> None:
        whole = self.folder / "whole"
        await prepare(whole, self.seed)
        async with opening(whole) as collection:
            right = await answers(collection)
            assert not collection.rebuilt
        # Files count as settled at once: nothing here changes one twice within a tick of the clock.
        with patch.object(verified, "SETTLED_S", 0.0):
            for number in range(mutations):
                await self._one(number, whole, right)

    async def _one(self, number: int, whole: Path, right: Answers) -> None:
        folder = self.folder / f"{number}"
        shutil.copytree(whole, folder)
        async with opening(folder) as collection:  # so that every file is listed as verified
            assert not collection.rebuilt
        damage = mutate(folder, random.Random(f"{self.seed}/{number}"))
        log = _Log()
        logging.getLogger("vdb").addHandler(log)
        try:
            with _watched() as early:
                async with opening(folder) as collection:
                    assert not early, f"{damage.what}: opened before it was verified: {early}"
                    assert set(collection.rebuilt) == damage.folders, (
                        f"{damage.what}: {collection.rebuilt} were noticed"
                    )
                    assert not damage.index or "is built again" in log.text or "missing" in damage.what, damage.what
                    found = await answers(collection)
                    await seal(collection)
                    again = await answers(collection)
            async with opening(folder) as collection:
                assert not collection.rebuilt, f"{damage.what}: it was not rebuilt"
                assert await answers(collection) == again
        finally:
            logging.getLogger("vdb").removeHandler(log)
        for key, value in right.items():
            assert found[key] == value, f"{damage.what}: {key} is answered differently"
            assert again[key] == value, f"{damage.what}: {key} is answered differently after the repair"
        self._tell(damage)
        shutil.rmtree(folder)

    def _tell(self, damage: Mutation) -> None:
        kind = damage.what.partition(":")[0]
        self.noticed[kind] = self.noticed.get(kind, 0) + 1
        self.say(f"{damage.what}: {'harmless' if damage.harmless else 'noticed'}, answers are equal")


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


@contextmanager
def _watched() -> Iterator[list[Path]]:
    """Notes files of segments that are opened before anybody verified them."""
    verified_now: set[Path] = set()
    early: list[Path] = []

    def noting(verify: Callable[..., None]) -> Callable[..., None]:
        def verify_file(path: Path, *arguments: Any) -> None:
            verify(path, *arguments)
            verified_now.add(path)

        return verify_file

    def watching(function: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Path, *arguments: Any) -> Any:
            if path not in verified_now:
                early.append(path)
            return function(path, *arguments)

        return opened

    with ExitStack() as patches:
        patches.enter_context(patch.object(manifest, "verify_file", noting(manifest.verify_file)))
        for name in ("open_array", "open_bytes", "open_for_scans"):
            patches.enter_context(patch.object(sealed, name, watching(getattr(sealed, name))))
        yield early
