"""Two databases that are told the same, and asked the same: vdb over HTTP and qdrant-client's local mode.

Local mode is used through its public methods only. What it does differently from Qdrant's server is left out of the
calls here, each with its reason:

- Changing a point that does not exist is 404 on a server; local mode raises KeyError. Only existing points are changed.
- Retrieve answers in the order asked for on a server of one shard; both are compared by id.
- A point's version is a fact of the server's log; local mode has none.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import pytest
from qdrant_client import QdrantClient, models

DIM: Final = 5
# float32 sums in another order differ by this much; so do cosines of vectors that were normalised twice.
TOLERANCE: Final = 2e-5
_NUMBERS: Final = itertools.count()

Vector = list[float]
Id = int | str | UUID  # as the client's models take them; UUIDs are texts here


@dataclass(frozen=True)
class Shape:
    """What a collection is made of: ``names`` is None for a single unnamed vector, empty for none at all."""

    names: tuple[str, ...] | None
    distances: tuple[models.Distance, ...]

    @property
    def config(self) -> Any:
        params = [models.VectorParams(size=DIM, distance=distance) for distance in self.distances]
        return params[0] if self.names is None else dict(zip(self.names, params, strict=True))

    def using(self) -> Iterator[tuple[str | None, models.Distance]]:
        return iter(zip((None,) if self.names is None else self.names, self.distances, strict=True))


class Pair:
    """The same collection in both databases."""

    def __init__(self, server: QdrantClient, local: QdrantClient, shape: Shape, seed: int) -> None:
        self.server, self.local, self.shape = server, local, shape
        self.name = f"pair{next(_NUMBERS)}"
        self.random = random.Random(seed)
        self.ids: set[Id] = set()
        for client in (server, local):
            client.create_collection(self.name, vectors_config=shape.config)

    def both(self, method: str, **arguments: Any) -> tuple[Any, Any]:
        """What the server and local mode answer to one call."""
        server, local = (getattr(client, method)(self.name, **arguments) for client in (self.server, self.local))
        return server, local

    def vector(self) -> Vector:
        """A few decimals, so that ties are rare and vectors print shortly; sometimes zero."""
        if self.random.random() < 0.03:
            return [0.0] * DIM
        return [round(self.random.uniform(-3, 3), 3) for _ in range(DIM)]

    def vectors(self) -> Any:
        """Vectors of one point: any of the names, or the unnamed one, or none."""
        if self.shape.names is None:
            return self.vector() if self.random.random() < 0.9 else {}
        return {name: self.vector() for name in self.shape.names if self.random.random() < 0.8}

    def id(self) -> Id:
        number = self.random.randrange(40)
        return number if number < 28 else str(UUID(int=number * 2**120 + number))

    def known(self, count: int) -> list[Id]:
        return self.random.sample(sorted(self.ids, key=str), min(count, len(self.ids)))

    def payload(self) -> dict[str, Any] | None:
        values: list[Any] = [1, -2, 2.5, "text", True, None, [1, "a", {"b": 2}], {"c": {"d": [3]}}, "Grüße", []]
        keys = ["a", "b", "c", "n", "list"]
        count = self.random.randrange(-1, 4)
        return None if count < 0 else {self.random.choice(keys): self.random.choice(values) for _ in range(count)}

    def selector(self) -> Any:
        return self.random.choice(
            [True, False, ["a"], ["c.d", "n"], models.PayloadSelectorExclude(exclude=["a", "c.d"])]
        )

    def with_vectors(self) -> Any:
        return self.random.choice([True, False, [*(self.shape.names or ())][:1]])


@contextmanager
def pair(url: str, shape: Shape, seed: int) -> Iterator[Pair]:
    server, local = QdrantClient(url=url, timeout=60, check_compatibility=False), QdrantClient(":memory:")
    made = Pair(server, local, shape, seed)
    try:
        yield made
    finally:
        server.delete_collection(made.name)
        server.close()
        local.close()


def upsert(world: Pair) -> None:
    ids = [world.id() for _ in range(world.random.randrange(1, 9))]
    points = [models.PointStruct(id=i, vector=world.vectors(), payload=world.payload()) for i in ids]
    world.both("upsert", points=points, wait=True)
    world.ids.update(ids)


def upsert_columns(world: Pair) -> None:
    if world.shape.names == ():
        return
    ids = list({world.id() for _ in range(4)})
    columns = [[world.vector() for _ in ids] for _ in world.shape.distances]
    vectors: Any = columns[0] if world.shape.names is None else dict(zip(world.shape.names, columns, strict=True))
    payloads = [world.payload() or {} for _ in ids]
    world.both("upsert", points=models.Batch(ids=ids, vectors=vectors, payloads=payloads), wait=True)
    world.ids.update(ids)


def delete(world: Pair) -> None:
    ids = [*world.known(2), world.id()]
    world.both("delete", points_selector=models.PointIdsList(points=ids), wait=True)
    world.ids.difference_update(ids)


def update_vectors(world: Pair) -> None:
    points = []
    for i in world.known(3):
        vectors = world.vectors()
        if vectors:
            points.append(models.PointVectors(id=i, vector=vectors))
    if points:
        world.both("update_vectors", points=points, wait=True)


def delete_vectors(world: Pair) -> None:
    names = [""] if world.shape.names is None else list(world.shape.names[:1])
    if names and world.ids:
        world.both("delete_vectors", vectors=names, points=world.known(3), wait=True)


def set_payload(world: Pair) -> None:
    if world.ids:
        world.both("set_payload", payload=world.payload() or {}, points=world.known(3), wait=True)


def set_payload_at_a_path(world: Pair) -> None:
    if world.ids:
        key = world.random.choice(["a", "c", "c.d", "new.path"])
        world.both("set_payload", payload={"set": 1, "d": 2}, points=world.known(3), key=key, wait=True)


def overwrite_payload(world: Pair) -> None:
    if world.ids:
        world.both("overwrite_payload", payload=world.payload() or {}, points=world.known(3), wait=True)


def delete_payload(world: Pair) -> None:
    if world.ids:
        keys = world.random.sample(["a", "b", "c.d", "list", "nope"], 2)
        world.both("delete_payload", keys=keys, points=world.known(3), wait=True)


def clear_payload(world: Pair) -> None:
    if world.ids:
        world.both("clear_payload", points_selector=models.PointIdsList(points=world.known(2)), wait=True)


WRITES: Final[Sequence[Callable[[Pair], None]]] = (
    upsert,
    upsert,
    upsert,
    upsert_columns,
    delete,
    update_vectors,
    delete_vectors,
    set_payload,
    set_payload_at_a_path,
    overwrite_payload,
    delete_payload,
    clear_payload,
)


def same_point(ours: Any, theirs: Any) -> None:
    assert ours.id == theirs.id
    assert ours.payload == theirs.payload
    same_vectors(ours.vector, theirs.vector)


def same_vectors(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            assert ours[name] == pytest.approx(values, abs=TOLERANCE)
    elif theirs is None:
        assert ours is None
    else:
        assert ours == pytest.approx(theirs, abs=TOLERANCE)


def same_hits(ours: list[Any], theirs: list[Any]) -> None:
    """The same scores in the same order; points of equal score may stand in any order, and at the cut be others."""
    assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=TOLERANCE, rel=TOLERANCE)
    assert len({hit.id for hit in ours}) == len(ours)
    if not ours:
        return
    last = theirs[-1].score
    wanted = {hit.id: hit for hit in theirs}
    for hit in ours:
        if abs(hit.score - last) > 4 * TOLERANCE * max(1, abs(last)):
            assert hit.id in wanted
        if hit.id in wanted:
            same_point(hit, wanted[hit.id])
            assert hit.score == pytest.approx(wanted[hit.id].score, abs=TOLERANCE, rel=TOLERANCE)


def scroll_all(world: Pair) -> None:
    ours, theirs = world.both("scroll", limit=1000, with_payload=True, with_vectors=True)
    assert ours[1] is None
    assert theirs[1] is None
    assert len(ours[0]) == len(theirs[0]) == len(world.ids)
    for one, other in zip(ours[0], theirs[0], strict=True):
        same_point(one, other)


def scroll_pages(world: Pair) -> None:
    limit = world.random.randrange(1, 9)
    request = {"limit": limit, "with_payload": world.selector(), "with_vectors": world.with_vectors()}
    offset: Any = None
    for _ in range(50):
        ours, theirs = world.both("scroll", offset=offset, **request)
        assert [point.id for point in ours[0]] == [point.id for point in theirs[0]]
        for one, other in zip(ours[0], theirs[0], strict=True):
            same_point(one, other)
        assert ours[1] == theirs[1]
        offset = ours[1]
        if offset is None:
            return


def retrieve(world: Pair) -> None:
    ids = list({*world.known(4), world.id()})
    arguments = {"ids": ids, "with_payload": world.selector(), "with_vectors": world.with_vectors()}
    ours, theirs = (sorted(points, key=lambda point: str(point.id)) for points in world.both("retrieve", **arguments))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        same_point(one, other)


def count(world: Pair) -> None:
    ours, theirs = world.both("count", exact=True)
    assert ours.count == theirs.count == len(world.ids)


def query(world: Pair) -> None:
    for using, distance in world.shape.using():
        arguments: dict[str, Any] = {
            "query": world.vector(),
            "using": using,
            "limit": world.random.randrange(1, 50),
            "offset": world.random.choice([None, None, 0, 1, 5]),
            "with_payload": world.selector(),
            "with_vectors": world.with_vectors(),
        }
        if world.random.random() < 0.3:
            low_is_better = distance in (models.Distance.EUCLID, models.Distance.MANHATTAN)
            # Between scores of three decimals: exactly on one, the two sides round to different sides.
            arguments["score_threshold"] = round(world.random.uniform(0, 9 if low_is_better else 1), 3) + 0.00037
        ours, theirs = world.both("query_points", **arguments)
        same_hits(ours.points, theirs.points)


def query_by_id(world: Pair) -> None:
    for using, _ in world.shape.using():
        held, _ = world.server.scroll(world.name, limit=1000, with_vectors=True)
        name = using or ""
        having = [p.id for p in held if (p.vector if not isinstance(p.vector, dict) else name in p.vector)]
        if having:
            chosen = world.random.choice(having)
            ours, theirs = world.both("query_points", query=chosen, using=using, limit=20)
            assert chosen not in {hit.id for hit in ours.points}
            same_hits(ours.points, theirs.points)


def query_nothing(world: Pair) -> None:
    ours, theirs = world.both("query_points", limit=world.random.randrange(1, 30), with_payload=True)
    assert [hit.id for hit in ours.points] == [hit.id for hit in theirs.points]
    for one, other in zip(ours.points, theirs.points, strict=True):
        same_point(one, other)


def query_batch(world: Pair) -> None:
    requests = [
        models.QueryRequest(query=world.vector(), using=using, limit=7, with_payload=True)
        for using, _ in world.shape.using()
    ]
    if requests:
        ours, theirs = world.both("query_batch_points", requests=requests)
        for one, other in zip(ours, theirs, strict=True):
            same_hits(one.points, other.points)


READS: Final[Sequence[Callable[[Pair], None]]] = (
    scroll_all,
    scroll_pages,
    retrieve,
    count,
    query,
    query_by_id,
    query_nothing,
    query_batch,
)
