"""Clients that write at random and record what was acknowledged.

Every writer owns its ids, so that what it was told is all that can be true of them, however the writers' requests are
mixed in one transaction. A request that got no answer may be there whole or not at all; of several operations in one
request, the first few may be there.
"""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np

PointId = int | str
Vector = tuple[float, ...]

# Stored as they are sent (no normalisation), so that every digit can be compared.
VECTORS: Final = {"short": (8, "Dot"), "long": (64, "Euclid")}
COLLECTION: Final = "crash"
_TEXTS: Final = ("plain", "naïve", "深い", 'quote " and \\', "\x1e\x1f", "")
_BULK: Final = 200  # points: with these vectors more than the server decodes in one piece
ANSWER_MAX_S: Final = 60.0


@dataclass(slots=True)
class Point:
    payload: dict[str, Any]
    vectors: dict[str, Vector]


Points = dict[PointId, Point]
Step = Callable[[Points], None]


@dataclass(frozen=True, slots=True)
class Request:
    """``steps`` are what the operations of the request do, in order; none where it must be refused."""

    method: str
    path: str
    body: dict[str, Any]
    steps: Sequence[Step]
    refused_with: int | None = None


@dataclass(slots=True)
class Writer:
    """One client. ``points`` is what the server acknowledged, ``pending`` the request it never answered."""

    ids: Sequence[PointId]
    random: random.Random
    points: Points = field(default_factory=dict)
    pending: Request | None = None
    acknowledged: int = 0

    @classmethod
    def numbered(cls, number: int, seed: int, ids: int) -> Writer:
        """Owns small numbers, numbers beyond 2^63 and UUIDs."""
        third = ids // 3
        owned: list[PointId] = [
            *(number * ids + count for count in range(ids - 2 * third)),
            *(2**64 - 1 - number * ids - count for count in range(third)),
            *(str(UUID(int=(number + 1) << 100 | count * 7919)) for count in range(third)),
        ]
        return cls(owned, random.Random(f"{seed}/{number}"))

    def write_until_gone(self, url: str, on_acknowledged: Callable[[], None]) -> None:
        """Writes until the server is gone; raises AssertionError where it answers what it should not.

        What was in flight before must be settled: a second request without an answer would make the record forget it.
        """
        assert self.pending is None, "settle() comes first"
        at = urlsplit(url)
        connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=ANSWER_MAX_S)
        try:
            while True:
                self.pending = self.next_request()
                try:
                    status, text = exchange(connection, self.pending)
                except (OSError, http.client.HTTPException):
                    return
                expected = self.pending.refused_with or 200
                assert status == expected, f"{self.pending.method} {self.pending.path}: {status} {text[:300]!r}"
                for step in self.pending.steps:
                    step(self.points)
                self.pending = None
                self.acknowledged += 1
                on_acknowledged()
        finally:
            connection.close()

    def possible(self) -> list[Points]:
        """What the server may hold of this writer's points: the record, and the record with more and more of the
        request that was not answered."""
        states = [self.points]
        for step in self.pending.steps if self.pending else ():
            following = deepcopy(states[-1])
            step(following)
            states.append(following)
        return states

    def settle(self, found: Points) -> None:
        """Goes on from what was found after a restart."""
        self.points, self.pending = found, None

    def next_request(self) -> Request:
        """Something that can be asked for now, in the state of the record."""
        wait = self.random.choice(("true", "true", "false"))
        base = f"/collections/{COLLECTION}/points"
        if self.random.random() < 0.1:
            parts = [self._operation(allow_missing=True) for _ in range(self.random.randint(2, 4))]
            body = {"operations": [{name: part} for name, _, _, part, _ in parts]}
            return Request("POST", f"{base}/batch?wait={wait}", body, [step for *_, step in parts])
        if self.random.random() < 0.05:
            wrong = {"id": self.ids[0], "vector": {"short": [1.0]}}
            good = {"id": self.ids[1], "vector": {}, "payload": {"never": "there"}}
            return Request("PUT", f"{base}?wait={wait}", {"points": [good, wrong]}, [], refused_with=400)
        _, method, path, body, step = self._operation()
        return Request(method, f"{base}{path}?wait={wait}", body, [step])

    def _operation(self, allow_missing: bool = False) -> tuple[str, str, str, dict[str, Any], Step]:
        """Its name in a batch, its method, path and body, and what it does.

        In a batch only what cannot be refused: an earlier operation may have deleted what this one changes.
        """
        there = list(self.points)
        chosen = self.random.sample(there, min(len(there), self.random.randint(1, 8)))
        kinds = ["upsert"] * 6 + ["delete"] * bool(chosen)  # a write that names no point is refused
        if chosen and not allow_missing:
            kinds += ["set_payload", "overwrite_payload", "delete_payload", "clear_payload"]
            kinds += ["update_vectors", "delete_vectors"]
        match self.random.choice(kinds):
            case "delete":
                return "delete", "POST", "/delete", {"points": chosen}, lambda points: _delete(points, chosen)
            case "set_payload":
                payload = self._payload()
                return (
                    *("set_payload", "POST", "/payload", {"points": chosen, "payload": payload}),
                    lambda points: _set_payloads(points, chosen, payload),
                )
            case "overwrite_payload":
                payload = self._payload()
                return (
                    *("overwrite_payload", "PUT", "/payload", {"points": chosen, "payload": payload}),
                    lambda points: _replace_payloads(points, chosen, payload),
                )
            case "delete_payload":
                keys = self.random.sample(["number", "text", "tags"], 2)
                return (
                    *("delete_payload", "POST", "/payload/delete", {"points": chosen, "keys": keys}),
                    lambda points: _delete_keys(points, chosen, keys),
                )
            case "clear_payload":
                return (
                    *("clear_payload", "POST", "/payload/clear", {"points": chosen}),
                    lambda points: _replace_payloads(points, chosen, {}),
                )
            case "update_vectors":
                vectors = {point_id: self._vectors(at_least=1) for point_id in chosen}
                sent = [{"id": point_id, "vector": vector} for point_id, vector in vectors.items()]
                return (
                    *("update_vectors", "PUT", "/vectors", {"points": sent}),
                    lambda points: _update_vectors(points, vectors),
                )
            case "delete_vectors":
                names = self.random.sample(list(VECTORS), 1)
                return (
                    *("delete_vectors", "POST", "/vectors/delete", {"points": chosen, "vector": names}),
                    lambda points: _delete_vectors(points, chosen, names),
                )
        return self._upsert()

    def _upsert(self) -> tuple[str, str, str, dict[str, Any], Step]:
        count = _BULK if self.random.random() < 0.05 else self.random.randint(1, 30)
        chosen = self.random.choices(self.ids, k=count)  # one id may stand twice: the later one counts
        written = [(point_id, Point(self._payload(), self._vectors())) for point_id in chosen]
        sent = [{"id": i, "payload": point.payload, "vector": point.vectors} for i, point in written]

        def upsert(points: Points) -> None:
            for point_id, point in written:
                points[point_id] = deepcopy(point)

        return "upsert", "PUT", "", {"points": sent}, upsert

    def _payload(self) -> dict[str, Any]:
        payload = {
            "number": self.random.randint(-(2**53), 2**53),
            "text": self.random.choice(_TEXTS),
            "tags": self.random.sample(range(10), 3),
            "deep": {"er": [None, True, self.random.random()]},
        }
        return {key: payload[key] for key in self.random.sample(list(payload), self.random.randint(0, 4))}

    def _vectors(self, at_least: int = 0) -> dict[str, Vector]:
        names = list(VECTORS) if self.random.random() < 0.8 else self.random.sample(list(VECTORS), at_least)
        return {name: self.vector(name) for name in names}

    def vector(self, name: str) -> Vector:
        dim, _ = VECTORS[name]
        return as_vector([self.random.gauss(0, 1) for _ in range(dim)])


def as_vector(values: Sequence[float]) -> Vector:
    """The float32 values, exactly."""
    return tuple(np.array(values, dtype=np.float32).tolist())


def exchange(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Status and body of the answer; raises OSError and HTTPException where there is none."""
    connection.request(
        request.method, request.path, json.dumps(request.body).encode(), {"content-type": "application/json"}
    )
    answer = connection.getresponse()
    return answer.status, answer.read()


def _delete(points: Points, ids: Sequence[PointId]) -> None:
    for point_id in ids:
        points.pop(point_id, None)


def _set_payloads(points: Points, ids: Sequence[PointId], payload: dict[str, Any]) -> None:
    for point_id in ids:
        points[point_id].payload |= deepcopy(payload)


def _replace_payloads(points: Points, ids: Sequence[PointId], payload: dict[str, Any]) -> None:
    for point_id in ids:
        points[point_id].payload = deepcopy(payload)


def _delete_keys(points: Points, ids: Sequence[PointId], keys: Sequence[str]) -> None:
    for point_id in ids:
        for key in keys:
            points[point_id].payload.pop(key, None)


def _update_vectors(points: Points, vectors: dict[PointId, dict[str, Vector]]) -> None:
    for point_id, vector in vectors.items():
        points[point_id].vectors |= vector


def _delete_vectors(points: Points, ids: Sequence[PointId], names: Sequence[str]) -> None:
    for point_id in ids:
        for name in names:
            points[point_id].vectors.pop(name, None)
