"""Operations: what the log keeps and what the actor applies.

An operation is pure: no clock, no randomness, and points are named by id, never by a filter, so that applying the same
log to the same state gives the same state anywhere. Payloads travel as the JSON text that SQLite will store, vectors as
float32 blocks that are already checked and normalised.

In the log an operation is a JSON text (everything that a person wants to read) and one blob of vectors:

    kind       body                                                                 blob
    upsert     {"ids": […], "payloads": [{…}|null, …], "vectors": [column, …]}      columns' blocks, one after another
    vectors    {"ids": […], "vectors": [column, …]}                                 the same
    …          {"ids": […], …}                                                      none

    column = {"name": "", "dim": 4, "rows": [positions in ids] | null (all), "offset": bytes}
           | {"name": "", "dim": 4, "tokens": [rows of each multivector], "rows": …, "offset": bytes}
           | {"name": "", "counts": [entries of each sparse vector], "rows": …, "offset": bytes}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import numpy as np
import orjson

from vdb.model.field_index import PayloadFieldSchema
from vdb.model.ids import PointId
from vdb.model.sparse import SPARSE_ENTRY_BYTES, SparseVector, sparse_from_bytes, sparse_to_bytes
from vdb.model.vectors import Floats


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """Dense vectors of one name: ``data`` is ``(k, dim)`` float32, vector ``i`` belongs to ``ids[rows[i]]``.

    ``rows`` is None where every id of the operation has this vector, in order. ``counts`` is None where a vector is one
    row; of multivectors it has the number of rows that each takes.
    """

    name: str
    data: Floats
    rows: tuple[int, ...] | None = None
    counts: tuple[int, ...] | None = None

    def vectors(self) -> Sequence[Floats]:
        """One entry a vector: a row, or the rows of a multivector."""
        if self.counts is None:
            return list(self.data)
        return np.split(self.data, np.cumsum(self.counts)[:-1])

    def positions(self, count: int) -> Sequence[int]:
        return range(count) if self.rows is None else self.rows


@dataclass(frozen=True, slots=True)
class SparseColumn:
    """Sparse vectors of one name: vector ``i`` belongs to ``ids[rows[i]]``, as with VectorColumn."""

    name: str
    vectors: Sequence[SparseVector]
    rows: tuple[int, ...] | None = None

    def positions(self, count: int) -> Sequence[int]:
        return range(count) if self.rows is None else self.rows


Column = VectorColumn | SparseColumn


@dataclass(frozen=True, slots=True)
class Upsert:
    """Replaces points whole. ``payloads[i]`` is canonical JSON text of an object, or None for none."""

    kind: ClassVar[str] = "upsert"
    ids: Sequence[PointId]
    payloads: Sequence[bytes | None]
    vectors: Sequence[Column]


@dataclass(frozen=True, slots=True)
class UpdateVectors:
    """Writes some vectors of points that exist; their other vectors and payloads stay."""

    kind: ClassVar[str] = "update_vectors"
    ids: Sequence[PointId]
    vectors: Sequence[Column]


@dataclass(frozen=True, slots=True)
class DeleteVectors:
    kind: ClassVar[str] = "delete_vectors"
    ids: Sequence[PointId]
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class DeletePoints:
    kind: ClassVar[str] = "delete_points"
    ids: Sequence[PointId]


@dataclass(frozen=True, slots=True)
class SetPayload:
    """Merges ``payload`` into each point's payload, at ``key`` (a JSON path) where one is given."""

    kind: ClassVar[str] = "set_payload"
    ids: Sequence[PointId]
    payload: dict[str, Any]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class OverwritePayload:
    kind: ClassVar[str] = "overwrite_payload"
    ids: Sequence[PointId]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeletePayload:
    """Removes the values at each of ``keys`` (JSON paths)."""

    kind: ClassVar[str] = "delete_payload"
    ids: Sequence[PointId]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClearPayload:
    kind: ClassVar[str] = "clear_payload"
    ids: Sequence[PointId]


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """Indexes the payload field at a JSON path."""

    kind: ClassVar[str] = "create_index"
    ids: ClassVar[Sequence[PointId]] = ()
    field: str
    schema: PayloadFieldSchema


@dataclass(frozen=True, slots=True)
class DeleteIndex:
    kind: ClassVar[str] = "delete_index"
    ids: ClassVar[Sequence[PointId]] = ()
    field: str


PointOperation = (
    Upsert | UpdateVectors | DeleteVectors | DeletePoints | SetPayload | OverwritePayload | DeletePayload | ClearPayload
)
Operation = PointOperation | CreateIndex | DeleteIndex


def encode(operation: Operation) -> tuple[str, bytes | None]:
    """``(body, vectors)`` for the log."""
    match operation:
        case Upsert(ids, payloads, vectors):
            columns, blob = _encode_columns(vectors)
            texts = b",".join(payload if payload is not None else b"null" for payload in payloads)
            head = orjson.dumps({"ids": ids, "vectors": columns})[:-1]
            return (head + b',"payloads":[' + texts + b"]}").decode(), blob
        case UpdateVectors(ids, vectors):
            columns, blob = _encode_columns(vectors)
            return orjson.dumps({"ids": ids, "vectors": columns}).decode(), blob
        case SetPayload(ids, payload, key):
            return _with_payload({"ids": ids, "key": key}, payload), None
        case OverwritePayload(ids, payload):
            return _with_payload({"ids": ids}, payload), None
        case DeleteVectors(ids, names):
            body: dict[str, Any] = {"ids": ids, "names": names}
        case DeletePayload(ids, keys):
            body = {"ids": ids, "keys": keys}
        case DeletePoints(ids) | ClearPayload(ids):
            body = {"ids": ids}
        case CreateIndex(field, schema):
            body = {"field": field, "schema": msgspec.to_builtins(schema)}
        case DeleteIndex(field):
            body = {"field": field}
    return orjson.dumps(body).decode(), None


def decode(kind: str, body: str, vectors: bytes | None) -> Operation:
    """The inverse of ``encode``; raises ValueError for a kind that this version does not know."""
    fields = orjson.loads(body)
    ids = fields.get("ids", ())
    match kind:
        case CreateIndex.kind:
            return CreateIndex(fields["field"], msgspec.convert(fields["schema"], PayloadFieldSchema))
        case DeleteIndex.kind:
            return DeleteIndex(fields["field"])
        case Upsert.kind:
            payloads = [None if payload is None else orjson.dumps(payload) for payload in fields["payloads"]]
            return Upsert(ids, payloads, _decode_columns(fields["vectors"], vectors, len(ids)))
        case UpdateVectors.kind:
            return UpdateVectors(ids, _decode_columns(fields["vectors"], vectors, len(ids)))
        case DeleteVectors.kind:
            return DeleteVectors(ids, fields["names"])
        case DeletePoints.kind:
            return DeletePoints(ids)
        case SetPayload.kind:
            return SetPayload(ids, fields["payload"], fields["key"])
        case OverwritePayload.kind:
            return OverwritePayload(ids, fields["payload"])
        case DeletePayload.kind:
            return DeletePayload(ids, fields["keys"])
        case ClearPayload.kind:
            return ClearPayload(ids)
        case _:
            raise ValueError(f"unknown kind of operation: {kind}")


def _with_payload(fields: dict[str, Any], payload: dict[str, Any]) -> str:
    """Two texts put together: orjson's limit of nesting is for the payload alone, as it was when it was accepted."""
    return (orjson.dumps(fields)[:-1] + b',"payload":' + orjson.dumps(payload) + b"}").decode()


def _encode_columns(columns: Sequence[Column]) -> tuple[list[dict[str, Any]], bytes | None]:
    described: list[dict[str, Any]] = []
    blocks: list[bytes] = []
    offset = 0
    for column in columns:
        fields: dict[str, Any] = {"name": column.name, "rows": column.rows, "offset": offset}
        match column:
            case VectorColumn(data=data, counts=counts):
                block = np.ascontiguousarray(data, dtype="<f4").tobytes()
                fields["dim"] = data.shape[1]
                if counts is not None:
                    fields["tokens"] = counts
            case SparseColumn(vectors=vectors):
                block = b"".join(sparse_to_bytes(vector) for vector in vectors)
                fields["counts"] = [len(vector.indices) for vector in vectors]
        described.append(fields)
        blocks.append(block)
        offset += len(block)
    return described, b"".join(blocks) if blocks else None


def _decode_columns(described: list[dict[str, Any]], blob: bytes | None, count: int) -> list[Column]:
    columns: list[Column] = []
    for fields in described:
        rows = None if fields["rows"] is None else tuple(fields["rows"])
        offset = fields["offset"]
        if "counts" in fields:
            vectors = []
            for entries in fields["counts"]:
                end = offset + entries * SPARSE_ENTRY_BYTES
                vectors.append(sparse_from_bytes((blob or b"")[offset:end]))
                offset = end
            columns.append(SparseColumn(fields["name"], vectors, rows))
            continue
        tokens = tuple(fields["tokens"]) if "tokens" in fields else None
        vectors_count = count if rows is None else len(rows)
        size = (vectors_count if tokens is None else sum(tokens)) * fields["dim"]
        data = np.frombuffer(blob or b"", dtype="<f4", count=size, offset=offset).reshape(-1, fields["dim"])
        columns.append(VectorColumn(fields["name"], data, rows, tokens))
    return columns


def _column_bytes(column: Column) -> int:
    match column:
        case VectorColumn(data=data):
            return data.nbytes
        case SparseColumn(vectors=vectors):
            return sum(len(vector.indices) for vector in vectors) * SPARSE_ENTRY_BYTES


def size_bytes(operation: PointOperation) -> int:
    """About how much memory an operation holds while it waits, for the mailbox's bound."""
    size = 16 * len(operation.ids)
    match operation:
        case Upsert(_, payloads, vectors):
            size += sum(map(_column_bytes, vectors)) + sum(len(payload or b"") for payload in payloads)
        case UpdateVectors(_, vectors):
            size += sum(map(_column_bytes, vectors))
        case SetPayload(_, payload) | OverwritePayload(_, payload):
            size += len(orjson.dumps(payload))
    return size
