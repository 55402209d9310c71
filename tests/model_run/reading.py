"""Compares a collection with the dictionary that says what it must hold, through the requests that read."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from tests.model_run.points import Json, Point, PointId, Points, matches
from tests.model_run.worlds import DENSE, MULTI, Steps
from vdb.collection.collection import Collection
from vdb.model.decode import decode_hook
from vdb.model.queries import CountRequest, PointRequest, QueryRequest, ScrollRequest
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.scroll import scroll
from vdb.query.view import View

PAGE: Final = 50
LIMIT: Final = 12
FILTERS: Final = 3
RELATIVE: Final = 1e-4  # float32 sums in another order
ABSOLUTE: Final = 1e-8  # of a component that float32 rounds to almost nothing
UUID_LENGTH: Final = 36


@dataclass(frozen=True, slots=True)
class Remembered:
    """A search, and what a View that somebody may still hold has answered to it."""

    view: View
    request: Any
    found: list[tuple[PointId, float]]


class Reading:
    """One look at a collection. Every method raises AssertionError where an answer is not what it must be."""

    def __init__(self, collection: Collection, points: Points, steps: Steps, picked: random.Random) -> None:
        self._collection = collection
        self._points = points
        self._steps = steps
        self._picked = picked

    async def compare(self) -> None:
        """Everything: points, versions, filters, and searches of all kinds."""
        await self._points_and_vectors()
        await self._versions()
        await self._by_id()
        for filter in [None, *(self._steps.filter() for _ in range(FILTERS))]:
            await self._filtered(filter)
        for name in sorted(self._points.names):
            for filter in (None, self._steps.filter()):
                await self._search(name, filter)
        self._rows()

    async def remember(self) -> Remembered:
        """A search on the newest View, for a comparison after that has become an old one."""
        name = self._picked.choice(sorted(DENSE))
        body = {"query": self._steps.vector(name), "using": name, "limit": 10**6, "params": {"exact": True}}
        view, request = self._collection.view, _request(QueryRequest, body)
        return Remembered(view, request, await self._found(view, request))

    async def compare_old(self, old: Remembered) -> None:
        """A View never changes: what it shows is not touched by what came later."""
        assert await self._found(old.view, old.request) == old.found

    async def _found(self, view: View, request: Any) -> list[tuple[PointId, float]]:
        hits = await self._ask(lambda _, db: execute.query_points(view, db, request, Deadline()))
        return [(hit["id"], hit["score"]) for hit in hits]

    async def count(self) -> None:
        """The number of points, which costs next to nothing."""
        assert self._collection.view.points_count == len(self._points.by_id)

    def _sorted_ids(self) -> list[PointId]:
        return sorted(self._points.by_id, key=lambda point_id: (isinstance(point_id, str), point_id))

    async def _points_and_vectors(self) -> None:
        found: dict[PointId, Any] = {}
        order: list[PointId] = []
        offset: PointId | None = None
        while True:
            request = ScrollRequest(limit=PAGE, offset=offset, with_vector=True)
            page = await self._ask(lambda view, db, request=request: scroll(view, db, request, Deadline()))
            for record in page["points"]:
                order.append(record["id"])
                found[record["id"]] = record
            offset = page.get("next_page_offset")
            if offset is None:
                break
        assert order == self._sorted_ids(), _sets(order, self._points.by_id)
        for point_id, point in self._points.by_id.items():
            record = found[point_id]
            assert record["payload"] == point.payload, f"{point_id}: payload {record['payload']} is {point.payload}"
            assert record["vector"].keys() == point.vectors.keys(), f"{point_id}: {record['vector']} {point.vectors}"
            for name, sent in point.vectors.items():
                _same_vector(record["vector"][name], sent, name, point_id)

    async def _versions(self) -> None:
        request = _request(QueryRequest, {"limit": 10**6})
        hits = await self._ask(lambda view, db: execute.query_points(view, db, request, Deadline()))
        versions = {hit["id"]: hit["version"] for hit in hits}
        expected = {point_id: point.version for point_id, point in self._points.by_id.items()}
        assert versions == expected, _sets(versions.items(), expected.items())

    async def _by_id(self) -> None:
        asked = self._picked.sample(self._steps.ids, 15)
        request = _request(PointRequest, {"ids": asked})
        records = await self._ask(lambda view, db: execute.retrieve(view, db, request))
        expected = [i for i in asked if i in self._points.by_id]
        assert [record["id"] for record in records] == expected

    async def _filtered(self, filter: Json | None) -> None:
        expected = set(self._matching(filter))
        counting = _request(CountRequest, {"filter": filter})
        count = await self._collection.read(lambda view, db: execute.count_points(view, db, counting, Deadline()))
        assert count == len(expected), f"count of {filter} is {count}, not {len(expected)}"
        request = _request(ScrollRequest, {"filter": filter, "limit": 10**6, "with_payload": False})
        page = await self._ask(lambda view, db: scroll(view, db, request, Deadline()))
        found = [record["id"] for record in page["points"]]
        assert set(found) == expected and len(found) == len(expected), f"{filter}: {_sets(found, expected)}"

    def _matching(self, filter: Json | None) -> dict[PointId, Point]:
        return {i: p for i, p in self._points.by_id.items() if filter is None or matches(filter, i, p)}

    async def _search(self, name: str, filter: Json | None) -> None:
        query = self._steps.vector(name)
        scores = {
            point_id: score
            for point_id, point in self._matching(filter).items()
            if name in point.vectors and (score := _score(name, query, point.vectors[name])) is not None
        }
        ascending = name in DENSE and DENSE[name][1] in ("Euclid", "Manhattan")
        best = sorted(scores.values(), reverse=not ascending)[:LIMIT]
        for exact in (True, False):
            body = {"query": query, "using": name, "limit": LIMIT, "filter": filter, "params": {"exact": exact}}
            request = _request(QueryRequest, body)
            hits = await self._ask(
                lambda view, db, request=request: execute.query_points(view, db, request, Deadline())
            )
            found = [hit["id"] for hit in hits]
            what = f"search of {name} for {query} with {filter}, exact {exact}"
            assert len(found) == len(set(found)), f"{what} found a point twice: {found}"
            assert set(found) <= scores.keys(), f"{what} found {set(found) - scores.keys()}"
            assert len(found) == len(best), f"{what} found {len(found)} of {len(best)}"
            for hit in hits:
                assert _close(hit["score"], scores[hit["id"]]), f"{what}: {hit} is {scores[hit['id']]}"
                assert hit["version"] == self._points.by_id[hit["id"]].version, f"{what}: {hit}"
            if exact:
                assert all(map(_close, (hit["score"] for hit in hits), best)), f"{what}: {hits} should be {best}"

    def _rows(self) -> None:
        """Each vector lives in exactly one segment."""
        vectors = self._collection.view.vectors
        for name in self._points.names & vectors.keys():
            alive = sum(segment.alive_count for segment in vectors[name].segments)
            expected = sum(
                len(point.vectors[name]) if name == MULTI else 1
                for point in self._points.by_id.values()
                if name in point.vectors
            )
            assert alive == expected, f"{alive} rows of {name} live, not {expected}"

    async def _ask(self, work: Callable[..., str]) -> Any:
        return msgspec.json.decode(await self._collection.read(work))


def _request(kind: Any, body: Json) -> Any:
    """A request as the HTTP door decodes it."""
    return msgspec.json.decode(msgspec.json.encode(body), type=kind, dec_hook=decode_hook)


def _close(found: float, expected: float) -> bool:
    return abs(found - expected) <= RELATIVE * max(1.0, abs(expected))


def _same_vector(found: Any, sent: Any, name: str, point_id: PointId) -> None:
    if isinstance(sent, dict):
        assert found["indices"] == sent["indices"], f"{point_id}.{name}: {found} is {sent}"
        found, sent = found["values"], sent["values"]
    if name in DENSE and DENSE[name][1] == "Cosine":
        length = math.hypot(*sent)
        sent = [value / length for value in sent]
    for row, expected in zip(found, sent, strict=True) if name == MULTI else [(found, sent)]:
        assert len(row) == len(expected), f"{point_id}.{name}: {found} is {sent}"
        same = (math.isclose(*pair, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for pair in zip(row, expected, strict=True))
        assert all(same), f"{point_id}.{name}: {found} is {sent}"


def _score(name: str, query: Any, stored: Any) -> float | None:
    """As the API defines it; None where sparse vectors have no dimension in common."""
    if isinstance(query, dict):
        weights = dict(zip(stored["indices"], stored["values"], strict=True))
        shared = [
            weights[i] * value for i, value in zip(query["indices"], query["values"], strict=True) if i in weights
        ]
        return sum(shared) if shared else None
    asked, row = np.array(query), np.array(stored)
    if name == MULTI:
        return float((asked @ row.T).max(axis=1).sum())
    match DENSE[name][1] if name in DENSE else "Dot":
        case "Cosine":
            return float(asked @ row / np.linalg.norm(asked) / np.linalg.norm(row))
        case "Euclid":
            return float(np.linalg.norm(asked - row))
        case "Manhattan":
            return float(np.abs(asked - row).sum())
        case _:
            return float(asked @ row)


def _sets(found: Any, expected: Any) -> str:
    found, expected = set(found), set(expected)
    return f"too many: {list(found - expected)[:5]}, missing: {list(expected - found)[:5]}"
