"""Points as JSON text, put together from what SQLite stores: payloads are JSON already and are not parsed to be shown.

float32 numbers are written in their shortest form, 0.19 and not 0.1899999976158142.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.errors import UnknownVectorName
from vdb.model.ids import PointId
from vdb.model.queries import WithPayload, WithVector
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Floats
from vdb.query.hits import Hits
from vdb.query.payload_selection import PayloadSelection
from vdb.query.view import View
from vdb.segment.fields.chunks import FrozenChunks
from vdb.storage import points
from vdb.storage.points import StoredPoint
from vdb.storage.sqlite import one_state

# What orjson writes as the vector of one name: an array, or an object of arrays.
VectorJson = Floats | dict[str, NDArray[Any]]


class PointWriter:
    """Writes points with the payload parts and vectors that a request asks for."""

    def __init__(
        self, view: View, with_payload: WithPayload | None, with_vector: WithVector | None, *, payload_default: bool
    ) -> None:
        """Raises InvalidJsonPath, and UnknownVectorName for a vector that the collection does not have."""
        self._payload = PayloadSelection(with_payload, payload_default)
        self._view = view
        self._vectors: list[str] | None = None
        if with_vector is True:
            self._vectors = list(view.spaces())
        elif isinstance(with_vector, list):
            spaces = view.spaces()
            unknown = next((name for name in with_vector if name not in spaces), None)
            if unknown is not None:
                raise UnknownVectorName(unknown)
            self._vectors = [name for name in spaces if name in with_vector]

    @property
    def reads_payload(self) -> bool:
        """Whether points must be read with their payload: not where the View has payloads in memory."""
        return self._payload.wanted and self._view.payloads is None

    def reading(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """For reading points and then writing them: a point's vectors must be of the moment that its payload is of."""
        return nullcontext() if self._vectors is None else one_state(connection)

    def write_hits(self, connection: sqlite3.Connection, hits: Hits) -> list[str | None]:
        """One JSON object a hit, which may name a point several times; with payloads or vectors, None for a point that
        is gone since the View was taken."""
        values = None if hits.order_values is None else [orjson.dumps(value).decode() for value in hits.order_values]
        if not self.reads_payload and self._vectors is None:  # memory has all of it
            return [*self.write(connection, self._view.identities.describe(hits.nums), hits.scores, values)]
        with self.reading(connection):
            nums: list[int] = hits.nums.tolist()
            stored = points.read_points(connection, list(dict.fromkeys(nums)), self.reads_payload)
            there = [position for position, num in enumerate(nums) if num in stored]
            written = self.write(
                connection,
                [stored[nums[position]] for position in there],
                hits.scores[there],
                None if values is None else [values[position] for position in there],
            )
        texts: list[str | None] = [None] * len(hits)
        for position, text in zip(there, written, strict=True):
            texts[position] = text
        return texts

    def write(
        self,
        connection: sqlite3.Connection,
        stored: Sequence[StoredPoint],
        scores: Floats | None = None,
        order_values: Sequence[str] | None = None,
    ) -> list[str]:
        """One JSON object a point; ``scores`` is ``(n,)`` float32 and makes it a scored one, with its version.

        ``order_values`` are JSON numbers.
        """
        vectors = self._read_vectors(connection, stored)
        if self._payload.wanted and self._view.payloads is not None:
            stored = self._with_payloads(connection, stored, self._view.payloads)
        if scores is not None and vectors is None and order_values is None and not self._selects_parts:
            return self._write_scored(stored, float_texts(scores))
        nothing = [None] * len(stored)
        return [
            self._write_one(point, score, value, None if vectors is None else vectors.get(point.num, {}))
            for point, score, value in zip(
                stored, nothing if scores is None else float_texts(scores), order_values or nothing, strict=True
            )
        ]

    @property
    def _selects_parts(self) -> bool:
        return self._payload.wanted and not self._payload.whole

    def _write_scored(self, stored: Sequence[StoredPoint], scores: Sequence[str]) -> list[str]:
        """What most queries ask for, without a call a point."""
        if not self._payload.wanted:
            return [
                f'{{"id":{id_text(point_id)},"version":{version},"score":{score}}}'
                for (_, point_id, version, _), score in zip(stored, scores, strict=True)
            ]
        return [
            f'{{"id":{id_text(point_id)},"version":{version},"score":{score},"payload":{payload or "{}"}}}'
            for (_, point_id, version, payload), score in zip(stored, scores, strict=True)
        ]

    def _write_one(
        self, point: StoredPoint, score: str | None, order_value: str | None, vectors: Mapping[str, VectorJson] | None
    ) -> str:
        parts = [f'{{"id":{id_text(point.id)}']
        if score is not None:
            parts.append(f',"version":{point.version},"score":{score}')
        if self._payload.wanted:
            parts.append(f',"payload":{self._payload_text(point.payload)}')
        if vectors is not None:
            parts.append(f',"vector":{_vectors_text(vectors)}')
        if order_value is not None:
            parts.append(f',"order_value":{order_value}')
        parts.append("}")
        return "".join(parts)

    def _with_payloads(
        self, connection: sqlite3.Connection, stored: Sequence[StoredPoint], payloads: FrozenChunks[bytes]
    ) -> list[StoredPoint]:
        """Points with their payloads: from memory, or from SQLite where they were written after the View and are still
        there."""
        seq = self._view.seq
        newer = [point.num for point in stored if point.version > seq]
        read = points.read_points(connection, newer, with_payload=True) if newer else {}
        return [
            read[point.num] if point.num in read else point._replace(payload=_text(payloads.get(point.num)))
            for point in stored
        ]

    def _payload_text(self, payload: str | None) -> str:
        if payload is None:
            return "{}"
        if self._payload.whole:
            return payload
        return orjson.dumps(self._payload.apply(orjson.loads(payload))).decode()

    def _read_vectors(
        self, connection: sqlite3.Connection, stored: Sequence[StoredPoint]
    ) -> dict[int, dict[str, VectorJson]] | None:
        if self._vectors is None:
            return None
        found: dict[int, dict[str, VectorJson]] = {}
        nums = [point.num for point in stored]
        for name in self._vectors:
            sparse = self._view.sparse.get(name)
            if sparse is not None:
                for num, vector in points.read_sparse_vectors(connection, sparse.vector_id, nums).items():
                    found.setdefault(num, {})[name] = {"indices": vector.indices, "values": vector.values}
                continue
            dense = self._view.vectors[name]
            for num, value in points.read_vectors(connection, dense.vector_id, dense.space, nums).items():
                found.setdefault(num, {})[name] = value
        return found


def array(texts: Sequence[str]) -> str:
    return "[" + ",".join(texts) + "]"


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else payload.decode()


def id_text(point_id: PointId) -> str:
    return f'"{point_id}"' if isinstance(point_id, str) else str(point_id)


def float_texts(values: Floats) -> list[str]:
    """``(n,)`` float32 in their shortest decimal forms."""
    if not len(values):
        return []
    text = orjson.dumps(np.ascontiguousarray(values, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].decode().split(",")


def _vectors_text(vectors: Mapping[str, VectorJson]) -> str:
    """The unnamed vector stands as an array, named ones as an object."""
    value: Any = vectors[UNNAMED] if list(vectors) == [UNNAMED] else vectors
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
