"""What a round of the storage core does, by seed, and what the collection must hold afterwards.

Operations follow from seed, round and writer alone, never from what the collection holds: so a seed repeats them
whatever was in flight when a round died. Every writer owns its ids, so that what it was told is all that can be true of
them. Operations are spelled as in the model test (`tests/model_run/worlds.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

from tests.model_run.points import Json, PointId, Points
from tests.model_run.worlds import DENSE, MULTI, SCHEMAS, WORDS, Steps, config_of, ids_of
from vdb.fail_points import FailPoint
from vdb.model.operations import CreateIndex, DeleteIndex, Operation
from vdb.storage.sqlite import Synchronous

WRITERS: Final = 3
INDEXER: Final = WRITERS  # the writer that makes and drops field indexes
IDS: Final = 96
LIFE_ROUNDS: Final = 100  # of one collection; the next one has other vectors and settings
ACKNOWLEDGED_MAX: Final = 24  # writes in a round, before it ends
RECOVERY_MAX_S: Final = 0.05  # within so long after a start a kill hits recovery, or the comparison
JITTER_MAX_S: Final = 0.004  # after the last write that a kill waits for: about what a write takes
# Points that a round comes to, and the largest number of times before it dies there.
FAIL_POINTS: Final[dict[FailPoint, int]] = {
    "after-log-append": 15,
    "before-commit": 15,
    "after-commit": 15,
    "in-build": 3,
    "before-swap": 2,
    "after-swap": 2,
}
End = Literal["died", "killed", "killed in recovery", "killed in closing", "closed"]
_ENDS: Final[dict[End, int]] = {"died": 9, "killed": 7, "killed in recovery": 2, "killed in closing": 2, "closed": 1}
_KINDS: Final = {"delete": "delete_points"}  # where the log has another word


@dataclass(frozen=True, slots=True)
class Round:
    """``end`` says what ends it: a kill that comes ``after`` so many answers or seconds, a fail point, or closing."""

    seed: int
    number: int
    end: End
    after: float
    fail_point: FailPoint | None = None

    @classmethod
    def of(cls, seed: int, number: int) -> Round:
        picked = random.Random(f"{seed}/round {number}")
        if number % LIFE_ROUNDS == 0:
            return cls(seed, number, "died", 1, "in-migration")
        end = picked.choices(list(_ENDS), list(_ENDS.values()))[0]
        match end:
            case "died":
                point = picked.choice(list(FAIL_POINTS))
                return cls(seed, number, end, picked.randint(1, FAIL_POINTS[point]), point)
            case "killed in recovery":
                return cls(seed, number, end, picked.uniform(0, RECOVERY_MAX_S))
        return cls(seed, number, end, picked.randint(0, ACKNOWLEDGED_MAX))

    @property
    def life(self) -> int:
        return self.number // LIFE_ROUNDS

    @property
    def jitter_s(self) -> float:
        return random.Random(f"{self.seed}/jitter {self.number}").uniform(0, JITTER_MAX_S)

    def __str__(self) -> str:
        what = f" at {self.fail_point}:{self.after:g}" if self.fail_point else f" after {self.after:.3g}"
        return f"seed {self.seed}, round {self.number}: {self.end}{what}"


@dataclass(frozen=True, slots=True)
class Life:
    """A collection: the request that creates it, and whether its commits wait for the medium."""

    create: Json
    synchronous: Synchronous

    @classmethod
    def of(cls, seed: int, number: int) -> Life:
        picked = random.Random(f"{seed}/life {number}")
        create = config_of(picked.randrange(2**32))
        kept = picked.sample([*DENSE, MULTI], 2)
        create["vectors"] = {name: create["vectors"][name] for name in kept}
        if picked.random() < 0.5:
            del create["sparse_vectors"]
        create["wal_config"] = {"wal_capacity_mb": 1}
        return cls(create, picked.choice(["FULL", "NORMAL", "NORMAL", "NORMAL"]))

    def names(self) -> set[str]:
        return {*self.create["vectors"], *self.create.get("sparse_vectors", ())}


def ids_of_writer(writer: int) -> list[PointId]:
    return ids_of(IDS)[writer::WRITERS] if writer != INDEXER else []


def operations(round: Round, writer: int) -> Iterator[Json]:
    """What a writer asks for, one after another, without end."""
    names = sorted(Life.of(round.seed, round.life).names())
    steps = Steps(0, Points(set(names)), ids_of_writer(writer))
    steps.random = picked = random.Random(f"{round.seed}/round {round.number}/writer {writer}")
    for _ in count():
        if writer == INDEXER:
            name = picked.choice(list(SCHEMAS))
            create = {"field_name": name, "field_schema": picked.choice(SCHEMAS[name])}
            yield picked.choice([{"create_index": create}, {"delete_index": {"field_name": name}}])
        else:
            yield _operation(steps, names)


def _operation(steps: Steps, names: list[str]) -> Json:
    """Most are upserts: whether the points of the others are there depends on what came before."""
    picked = steps.random
    few = {"points": picked.sample(steps.ids, picked.choice([1, 1, 2, 3]))}
    match picked.choices(range(8), [10, 2, 2, 2, 2, 1, 2, 1])[0]:
        case 0:
            # An id may stand twice: the later one counts.
            chosen = picked.choices(steps.ids, k=picked.choice([1, 2, 4, 8, 20]))
            points = [{"id": i, "payload": _payload(picked), "vector": _vectors(steps, names, 0)} for i in chosen]
            return {"upsert": {"points": points}}
        case 1:
            vectors = _vectors(steps, names, 1)
            return {"update_vectors": {"points": [{"id": i, "vector": vectors} for i in few["points"]]}}
        case 2:
            return {"delete_vectors": few | {"vector": picked.sample(names, 1)}}
        case 3:
            return {"set_payload": few | {"payload": _payload(picked)}}
        case 4:
            return {"overwrite_payload": few | {"payload": _payload(picked)}}
        case 5:
            return {"delete_payload": few | {"keys": picked.sample(list(SCHEMAS), 1)}}
        case 6:
            return {"delete": few}
        case _:
            return {"clear_payload": few}


def _vectors(steps: Steps, names: list[str], at_least: int) -> Json:
    kept = steps.random.sample(names, steps.random.randint(at_least, len(names)))
    return {name: steps.vector(name) for name in kept}


def _payload(picked: random.Random) -> Json:
    payload = {
        "word": picked.choice([*WORDS, ["red", "blue"]]),
        "number": picked.choice([0, 1, 2.5, -3, 10**12, [1, 7], "2"]),
        "flag": picked.choice([True, False, [True, False], "true"]),
    }
    return {key: payload[key] for key in picked.sample(list(payload), picked.randint(0, 3))}


@dataclass(slots=True)
class Record:
    """What was acknowledged. The parent keeps it; a child gets a copy with the fork, and goes on with it.

    ``next`` are the operations that may be there although nobody said so: of each writer at most one.
    """

    points: Points
    head: int = -1  # every seq up to this one is known
    beyond: set[int] = field(default_factory=set)  # known as well: writes of one transaction are told in any order
    next: dict[int, Json] = field(default_factory=dict)
    schemas: dict[str, Any] = field(default_factory=dict)

    def take(self, operation: Json, seq: int) -> None:
        ((kind, body),) = operation.items()
        match kind:
            case "create_index":
                self.schemas[body["field_name"]] = body["field_schema"]
            case "delete_index":
                self.schemas.pop(body["field_name"], None)
            case _:
                self.points.apply(kind, body, seq)
        self.beyond.add(seq)
        while self.head + 1 in self.beyond:
            self.head += 1
            self.beyond.remove(self.head)

    def refuses(self, operation: Json) -> bool:
        ((kind, body),) = operation.items()
        return kind not in ("create_index", "delete_index") and self.points.refuses(kind, body)

    def writer_of(self, entry: Operation) -> int:
        """Whose operation an entry of the log is that nobody acknowledged; raises AssertionError."""
        if isinstance(entry, CreateIndex | DeleteIndex):
            writer = INDEXER
            names: set[PointId] = {entry.field}
            asked = self.next.get(INDEXER, {})
            sent = {body["field_name"] for body in asked.values()}
        else:
            names = set(entry.ids)
            (writer,) = (each for each in range(WRITERS) if names <= set(ids_of_writer(each)))
            asked = self.next.get(writer, {})
            sent = {i["id"] if isinstance(i, dict) else i for body in asked.values() for i in body["points"]}
        kinds = [_KINDS.get(kind, kind) for kind in asked]
        assert kinds == [entry.kind] and sent == names, f"the log has {entry}, in flight was {asked}"
        return writer
