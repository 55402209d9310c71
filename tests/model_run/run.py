"""Runs steps on a living collection and on the dictionary, and compares the two again and again."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import trio
import trio_asyncio  # type: ignore[import-untyped]

from tests.model_run.points import Json, Points
from tests.model_run.reading import Reading
from tests.model_run.worlds import DENSE, MULTI, SPARSE, Steps, config_of, ids_of, selected
from vdb.api import writes
from vdb.collection import point_numbers
from vdb.collection.child_process import BuildFailed
from vdb.collection.collection import Collection, open_collection
from vdb.collection.messages import Write
from vdb.collection.threads import WorkerThreads
from vdb.config import StorageSettings
from vdb.errors import PointNotFound
from vdb.model import collection_config
from vdb.model.collection_config import CollectionConfig, CreateCollection, UpdateCollection
from vdb.model.decode import decode_hook
from vdb.model.field_index import CreateFieldIndex
from vdb.model.points import UpdateOperation
from vdb.model.vector_params import VectorNameConfig
from vdb.optimizer.policy import Plan
from vdb.optimizer.worker import Budget, Optimizer
from vdb.segment.builder import Job, build

IDS: Final = 160
COMPARE_EVERY: Final = 12  # steps; comparing costs ten times as much as a step
BUILDS_MAX: Final = 2  # that wait at once
SETTLE_MAX: Final = 60  # builds until nothing is left to build
VACUUM_MIN: Final = 8  # rows; the API asks for 100 at least, and segments here are smaller than that
_ENDS: Final = ("restart", "kill", "damage")

Say = Callable[[Json], None]


@dataclass(slots=True)
class HeldBuild:
    """A build that was prepared and waits to be told how it ends."""

    plan: Plan
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ready: trio.Event = field(default_factory=trio.Event)  # prepared, or over without a builder
    go: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    fails: bool = False

    async def __call__(self, job: Path) -> None:
        """The builder: in a thread, as no step needs a process of its own."""
        self.ready.set()
        await self.go.wait()
        if self.fails:
            raise BuildFailed("as the step says")
        await trio.to_thread.run_sync(lambda: build(msgspec.json.decode(job.read_bytes(), type=Job)))


class ModelRun:
    """A collection below ``folder`` and its dictionary. ``say`` gets every step before it is done."""

    def __init__(
        self, folder: Path, create: Json, say: Say = lambda step: None, compare_every: int = COMPARE_EVERY
    ) -> None:
        """``compare_every``: steps; they are also compared after every build and at every start and end."""
        self._lives = folder
        self._compare_every = compare_every
        self._life = 0
        self._say = say
        config = collection_config.resolve(_decoded(create, CreateCollection), StorageSettings())
        optimizers = msgspec.structs.replace(config.optimizer_config, vacuum_min_vector_number=VACUUM_MIN)
        self._config = msgspec.structs.replace(config, optimizer_config=optimizers)
        self.points = Points({*DENSE, MULTI, SPARSE})
        self._builds: list[HeldBuild] = []
        self._collection: Collection
        self._optimizer: Optimizer
        self._nursery: trio.Nursery

    @property
    def _folder(self) -> Path:
        return self._lives / f"life-{self._life}"

    async def run(self, steps: Iterator[Json], reader: Steps) -> int:
        """Takes steps until they end; returns how many. ``reader`` makes the queries of the comparisons."""
        self._folder.mkdir(parents=True)
        threads = WorkerThreads(1, "search")
        done = 0
        async with trio_asyncio.open_loop():
            threads.start()
            try:
                end: Json | None = {}
                while end is not None:
                    async with self._opened(threads):
                        await self._reading(reader, done).compare()
                        old = await self._reading(reader, done).remember()
                        end = None
                        for step in steps:
                            self._say(step)
                            done += 1
                            kind = next(iter(step))
                            if kind in _ENDS:
                                end = step
                                await self._end(kind)
                                break
                            await self._take(kind, step[kind])
                            reading = self._reading(reader, done)
                            if done % self._compare_every == 0 or kind in ("settle", "finish"):
                                await reading.compare()
                                await reading.compare_old(old)
                                old = await reading.remember()
                            await reading.count()
                        else:
                            await self._reading(reader, done).compare()
                    if end is not None:
                        self._between_lives(end)
            finally:
                threads.stop()
        return done

    def _reading(self, reader: Steps, number: int) -> Reading:
        reader.random.seed(number)
        return Reading(self._collection, self.points, reader, random.Random(number))

    @property
    def building(self) -> bool:
        return bool(self._builds)

    @asynccontextmanager
    async def _opened(self, threads: WorkerThreads) -> AsyncIterator[None]:
        async with (
            open_collection("model", self._folder, self._config, threads, "NORMAL") as collection,
            trio.open_nursery() as nursery,
        ):
            budget = Budget(trio.CapacityLimiter(BUILDS_MAX), trio.CapacityLimiter(1), 2)
            self._collection, self._nursery = collection, nursery
            self._optimizer = Optimizer(collection, budget)
            yield
            nursery.cancel_scope.cancel()

    async def _take(self, kind: str, body: Any) -> None:
        collection = self._collection
        match kind:
            case "begin" if len(self._builds) < BUILDS_MAX:
                await self._begin(idle=body == "idle")
            case "begin":
                pass
            case "finish":
                if self._builds:
                    await self._finish(self._builds[0], body)
            case "settle":
                await self._settle()
            case "together":
                await self._write_together([entry for entry in body if next(iter(entry.values()))["points"]])
            case "create_index":
                request = _decoded(body, CreateFieldIndex)
                assert request.field_schema is not None
                await collection.create_index(
                    request.field_name, request.field_schema, wait=len(self.points.by_id) % 2 == 0
                )
            case "delete_index":
                await collection.delete_index(body["field_name"])
            case "patch":
                update = _decoded(body, UpdateCollection)
                await self._reconfigure(collection_config.apply_update(self._config, update))
            case "add_vector":
                added: Any = _decoded(body["config"], VectorNameConfig)
                await self._reconfigure(collection_config.add_vector(self._config, body["name"], added))
                self.points.add_name(body["name"])
            case "remove_vector":
                await self._reconfigure(collection_config.remove_vector(self._config, body))
                self.points.remove_name(body)
            case _:
                await self._write(kind, body)

    async def _write(self, kind: str, body: Json) -> None:
        ids = selected(self.points, body)
        if not ids and "points" in body:
            return  # nothing to ask for
        operation = _decoded({kind: body}, UpdateOperation)
        planned = writes.of_batch(operation, writes.spaces_of(self._collection))
        (seq,) = await self._collection.write_in_order([planned])
        self.points.apply(kind, body if "points" in body else body | {"points": ids}, seq)

    async def _write_together(self, entries: Sequence[Json]) -> None:
        """Lays all of them into the mailbox before the actor looks: they share a transaction, and not their fate."""
        spaces = writes.spaces_of(self._collection)
        messages: list[Write] = []
        for entry in entries:
            operation = writes.of_batch(_decoded(entry, UpdateOperation), spaces)
            assert not callable(operation), "these name their points"
            messages.append(Write(operation))
            self._collection.actor.mailbox.send_nowait(messages[-1])
        for entry, message in zip(entries, messages, strict=True):
            ((kind, body),) = entry.items()
            try:
                seq = await message.reply.wait()
            except PointNotFound:
                assert self.points.refuses(kind, body), f"refused: {entry}"
            else:
                assert not self.points.refuses(kind, body), f"not refused: {entry}"
                self.points.apply(kind, body, seq)

    async def _reconfigure(self, config: CollectionConfig) -> None:
        self._config = config
        await self._collection.actor.reconfigure(config)

    async def _begin(self, idle: bool) -> None:
        chosen = self._optimizer.next_plan(idle)
        if chosen is None:
            return
        held = HeldBuild(chosen)
        self._builds.append(held)
        self._optimizer.running = (*self._optimizer.running, chosen)
        self._nursery.start_soon(self._build, held)
        await held.ready.wait()

    async def _build(self, held: HeldBuild) -> None:
        builder = Optimizer(self._collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2), held)
        try:
            with held.scope, suppress(BuildFailed):
                await builder.rebuild(held.plan)
        finally:
            self._optimizer.running = tuple(plan for plan in self._optimizer.running if plan is not held.plan)
            self._builds.remove(held)
            held.ready.set()
            held.over.set()

    async def _finish(self, held: HeldBuild, how: str) -> None:
        held.fails = how == "badly"
        if how == "cancelled":
            held.scope.cancel()
        held.go.set()
        await held.over.wait()

    async def _settle(self) -> None:
        for _ in range(SETTLE_MAX):
            while self._builds:
                await self._finish(self._builds[0], "well")
            await self._begin(idle=True)
            if not self._builds and self._optimizer.next_plan(idle=True) is None:
                return
        raise AssertionError(f"after {SETTLE_MAX} builds there is still {self._optimizer.next_plan(idle=True)}")

    async def _end(self, kind: str) -> None:
        """A kill leaves what is on the disk at this moment, builds and all; whatever closing would do is not in it."""
        if kind == "kill":
            target = self._lives / f"life-{self._life + 1}"
            await trio.to_thread.run_sync(_copy, self._folder, target)
        for held in tuple(self._builds):
            await self._finish(held, "cancelled")

    def _between_lives(self, end: Json) -> None:
        if "kill" in end:
            shutil.rmtree(self._folder)
            self._life += 1
        elif "damage" in end:
            _damage(self._folder, end["damage"])


def _copy(source: Path, target: Path) -> None:
    """What a killed process leaves. Files come and go meanwhile: old segments, and those that hold field indexes."""
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not name.endswith("-shm"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(Path(folder, name), place / name)


def _damage(folder: Path, number: int) -> None:
    """Takes away, cuts or flips a bit of one derived file."""
    files = sorted(path for part in ("segments", "fields") for path in (folder / part).rglob("*") if path.is_file())
    if not files:
        return
    path = files[number % len(files)]
    content = bytearray(path.read_bytes())
    match number // len(files) % 3:
        case 0 if content:
            content[number % len(content)] ^= 1 << number % 8
            path.write_bytes(content)
        case 1:
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.unlink()


def _decoded(body: Json, kind: Any) -> Any:
    """A request as the HTTP door decodes it."""
    return msgspec.json.decode(msgspec.json.encode(body), type=kind, dec_hook=decode_hook)


def _numbers_of(seed: int) -> AbstractContextManager[int]:
    """Every other seed gives the numbers of deleted points again at once, where a server waits for many of them."""
    return mock.patch.object(point_numbers, "FREE_MAX", 0 if seed % 2 else point_numbers.FREE_MAX)


def run_seed(
    folder: Path, seed: int, count: int, trace: Path | None = None, compare_every: int = COMPARE_EVERY
) -> None:
    """``count`` random steps; ``trace`` gets the configuration and every step, one JSON object a line."""
    create = config_of(seed)
    file = None if trace is None else trace.open("w", encoding="utf-8")

    def say(line: Json) -> None:
        if file is not None:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()

    say({"seed": seed, "create": create})
    run = ModelRun(folder, create, say, compare_every)
    steps = Steps(seed, run.points, ids_of(IDS))
    reader = Steps(seed, run.points, ids_of(IDS))
    try:
        with _numbers_of(seed):
            trio.run(run.run, (steps.next(run.building) for _ in range(count)), reader)
    finally:
        if file is not None:
            file.close()


def replay(folder: Path, trace: Sequence[Json], say: Say = lambda step: None) -> None:
    """Runs the steps of a trace again."""
    head, *steps = trace
    run = ModelRun(folder, head["create"], say)
    with _numbers_of(head["seed"]):
        trio.run(run.run, iter(steps), Steps(head["seed"], run.points, ids_of(IDS)))
