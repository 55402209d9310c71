"""Operations in short, and reads of a whole collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import orjson
import trio

from vdb.collection.collection import Collection
from vdb.model.ids import PointId
from vdb.model.operations import UpdateVectors, Upsert, VectorColumn
from vdb.model.queries import QueryRequest, ScrollRequest, SearchParams
from vdb.model.query_kinds import NearestQuery
from vdb.query import execute
from vdb.query.deadline import Deadline
from vdb.query.scroll import scroll

SIZE: Final = 4
_POLL_S: Final = 0.01


async def until(condition: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Returns once ``condition()`` is true; raises TooSlowError after ``deadline_s``."""
    with trio.fail_after(deadline_s):
        while not condition():  # noqa: ASYNC110 - a child process ends without an event here
            await trio.sleep(_POLL_S)


def vector(value: float, size: int = SIZE) -> list[float]:
    return [float(value)] * size


def upsert(*ids: PointId, value: float | None = None, payload: Any = None, size: int = SIZE) -> Upsert:
    """Points whose vector holds ``value`` everywhere, or their id."""
    return Upsert(ids, [_text(payload)] * len(ids), [_column(ids, value, size)])


def update_vectors(*ids: PointId, value: float) -> UpdateVectors:
    return UpdateVectors(ids, [_column(ids, value, SIZE)])


def _column(ids: Sequence[PointId], value: float | None, size: int) -> VectorColumn:
    values = [float(hash(point_id)) if value is None else value for point_id in ids]
    return VectorColumn("", np.repeat(np.array(values, dtype=np.float32)[:, None], size, axis=1))


def _text(payload: Any) -> bytes | None:
    return None if payload is None else orjson.dumps(payload)


async def everything(collection: Collection) -> list[dict[str, Any]]:
    """All points by id, with payloads and vectors."""
    request = ScrollRequest(limit=10**9, with_vector=True)
    text = await collection.read(lambda view, connection: scroll(view, connection, request, Deadline()))
    points: list[dict[str, Any]] = msgspec.json.decode(text)["points"]
    return points


async def nearest(collection: Collection, query: list[float], limit: int = 10**6, **params: Any) -> list[Any]:
    """Ids of the nearest points, best first."""
    request = QueryRequest(query=NearestQuery(nearest=query), limit=limit, params=SearchParams(**params))
    text = await collection.read(
        lambda view, connection: execute.query_points(view, connection, request, Deadline.after(None))
    )
    return [hit["id"] for hit in msgspec.json.decode(text)]
