"""The points of an upsert on their way from JSON to columns.

A body of megabytes is mostly numbers. They become float32 blocks a slice of the body at a time, so that the interpreter
lock is free between slices (decoding a megabyte holds it for milliseconds) and no list of a million floats ever exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from vdb.errors import BadRequest, MalformedBody, OutOfBounds, UnknownVectorName
from vdb.model.conditions import Filter
from vdb.model.decode import Decoder
from vdb.model.ids import PointId, parse_point_id
from vdb.model.inference import InferenceInput, is_inference_input, read_inference_input
from vdb.model.operations import Column, SparseColumn, UpdateVectors, Upsert, VectorColumn
from vdb.model.payloads import payload_text, read_payload
from vdb.model.points import PointInsertOperations, PointStruct, PointVectors, UpdateMode, UpdateVectorsRequest
from vdb.model.sparse import Space, SparseSpace, SparseVector, read_sparse
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Floats, VectorSpace, prepare

SLICE_BYTES: Final = 256 * 1024  # about a millisecond of decoding
_HEAD: Final = re.compile(rb'\s*\{\s*"points"\s*:\s*\[')
_BETWEEN_OBJECTS: Final = re.compile(rb"\}\s*,(?=\s*\{)")
_TAIL_HEAD: Final = b'{"points":['
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_ATTEMPTS_MAX: Final = 64  # places that turn out to lie inside a payload before a slice is given up

Vectors = Floats | Sequence[Any]
# What a model makes of inputs, in their order: sparse vectors, or ``(dim,)`` float32.
Embed = Callable[[Sequence[InferenceInput]], Sequence[SparseVector | Floats]]


@dataclass(slots=True)
class _Column:
    """Vectors of one name: ``blocks`` follow each other, ``rows`` are their positions in the batch."""

    rows: list[int] = field(default_factory=list)
    blocks: list[Vectors] = field(default_factory=list)

    def add(self, rows: Iterable[int], values: list[Any]) -> None:
        self.rows.extend(rows)
        self.blocks.append(_as_block(values))

    @property
    def asks_for_models(self) -> bool:
        return any(not isinstance(block, np.ndarray) and any(map(is_inference_input, block)) for block in self.blocks)

    def embed(self, space: Space, embed: Embed) -> None:
        """Puts vectors in the place of what asks for a model; raises MalformedBody, BadRequest."""
        for place, block in enumerate(self.blocks):
            if not isinstance(block, np.ndarray):
                self.blocks[place] = _embedded(space, block, embed)

    def prepared(self, space: VectorSpace) -> Floats:
        """All values as ``(k, dim)`` float32; raises WrongDimension, BadRequest."""
        if len(self.blocks) == 1:
            return _prepare(space, self.blocks[0])
        return np.concatenate([_prepare(space, block) for block in self.blocks])


@dataclass(slots=True)
class PointBatch:
    """Points by columns, not yet checked against a collection."""

    ids: list[PointId] = field(default_factory=list)
    payloads: list[bytes | None] = field(default_factory=list)
    columns: dict[str, _Column] = field(default_factory=dict)
    update_filter: Filter | None = None
    update_mode: UpdateMode | None = None

    def add(self, points: Sequence[PointStruct | PointVectors]) -> None:
        """Appends points; raises InvalidPointId, MalformedBody."""
        named: dict[str, tuple[list[int], list[Any]]] = {}
        for position, point in enumerate(points, start=len(self.ids)):
            self.ids.append(parse_point_id(point.id))
            self.payloads.append(_payload_text(point.payload) if isinstance(point, PointStruct) else None)
            named_vectors = isinstance(point.vector, dict) and not is_inference_input(point.vector)
            values: Any = point.vector if named_vectors else {UNNAMED: point.vector}
            for name, value in values.items():
                rows, vectors = named.setdefault(name, ([], []))
                rows.append(position)
                vectors.append(value)
        for name, (rows, vectors) in named.items():
            self.columns.setdefault(name, _Column()).add(rows, vectors)

    @property
    def asks_for_models(self) -> bool:
        """Whether some vector is to be made by a model: that takes long, and belongs in a thread."""
        return any(column.asks_for_models for column in self.columns.values())

    def vector_columns(self, spaces: Mapping[str, Space], embed: Embed) -> list[Column]:
        """Checked and normalised vectors; raises UnknownVectorName, WrongDimension, BadRequest."""
        columns: list[Column] = []
        for name, column in self.columns.items():
            space = spaces.get(name)
            if space is None:
                raise UnknownVectorName(name)
            column.embed(space, embed)
            rows = None if column.rows == list(range(len(self.ids))) else tuple(column.rows)
            if isinstance(space, SparseSpace):
                values = (value for block in column.blocks for value in block)
                columns.append(SparseColumn(name, [_read_sparse(value, name) for value in values], rows))
            elif space.multi:
                multivectors = [_read_multivector(space, value) for block in column.blocks for value in block]
                counts = tuple(len(multivector) for multivector in multivectors)
                columns.append(VectorColumn(name, np.concatenate(multivectors), rows, counts))
            else:
                columns.append(VectorColumn(name, column.prepared(space), rows))
        return columns

    def upsert(self, spaces: Mapping[str, Space], embed: Embed) -> Upsert:
        return Upsert(self.ids, self.payloads, self.vector_columns(spaces, embed))

    def update_vectors(self, spaces: Mapping[str, Space], embed: Embed) -> UpdateVectors:
        return UpdateVectors(self.ids, self.vector_columns(spaces, embed))


_POINTS: Final[Decoder[list[PointStruct]]] = Decoder(list[PointStruct])
_WHOLE: Final[Decoder[PointInsertOperations]] = Decoder(PointInsertOperations)


def decode_upsert(body: bytes) -> PointBatch:
    """The body of an upsert. Raises msgspec's errors, MalformedBody, BadRequest."""
    head = _HEAD.match(body) if len(body) > SLICE_BYTES else None
    if head is None:
        return batch_of(_WHOLE.decode(body))
    batch = PointBatch()
    start = head.end()
    while (cut := _next_slice(body, start, len(batch.ids))) is not None:
        points, start = cut
        batch.add(points)
    rest = body[start:]
    if batch.ids and rest.lstrip()[:1] == b"]":
        raise MalformedBody("trailing comma in `points`")
    try:
        tail = _WHOLE.decode(_TAIL_HEAD + rest)
    except msgspec.ValidationError as error:
        raise _placed(error, "$.points[", len(batch.ids)) from error
    except msgspec.DecodeError as error:
        shift = start - len(_TAIL_HEAD)
        message = _BYTE.sub(lambda found: f"(byte {int(found.group(1)) + shift})", str(error))
        raise msgspec.DecodeError(message) from error
    batch.add(tail.points or ())
    batch.update_filter, batch.update_mode = tail.update_filter, tail.update_mode
    return batch


def _placed(error: msgspec.ValidationError, head: str, first: int) -> msgspec.ValidationError:
    """The error with its place in the whole body, where ``head`` and a position from ``first`` on stand in its path."""
    message, at, path = str(error).partition(" - at `")
    position, bracket, rest = path.removeprefix(head).partition("]")
    if not path.startswith(head) or not position.isdigit():
        return error
    return msgspec.ValidationError(f"{message}{at}$.points[{first + int(position)}{bracket}{rest}")


def _next_slice(body: bytes, start: int, first: int) -> tuple[list[PointStruct], int] | None:
    """Some whole points from ``start`` on and where the next one begins; None where the rest is to be read at once.

    A place between two points looks like one between two objects of a payload. Text from the beginning of a point
    up to such a place, closed as an array, is valid JSON only between two points: so decoding tells. ``first`` is the
    position of the first point, for the place in an error.
    """
    for attempt, place in enumerate(_BETWEEN_OBJECTS.finditer(body, start + SLICE_BYTES)):
        if attempt == _ATTEMPTS_MAX:
            return None
        try:
            return _POINTS.decode(b"[" + body[start : place.start() + 1] + b"]"), place.end()
        except msgspec.ValidationError as error:
            raise _placed(error, "$[", first) from error
        except msgspec.DecodeError:
            continue
    return None


def batch_of(request: PointInsertOperations) -> PointBatch:
    """A decoded request as a batch; raises MalformedBody, OutOfBounds, BadRequest."""
    batch = PointBatch(update_filter=request.update_filter, update_mode=request.update_mode)
    if request.points is not None:
        batch.add(request.points)
        return batch
    columns = request.batch
    assert columns is not None
    batch.ids = [parse_point_id(point_id) for point_id in columns.ids]
    count = len(batch.ids)
    payloads = columns.payloads if columns.payloads is not None else [msgspec.Raw()] * count
    vectors = columns.vectors if isinstance(columns.vectors, dict) else {UNNAMED: columns.vectors}
    counted: list[tuple[str, Sequence[Any]]] = [("vectors", values) for values in vectors.values()]
    for what, column in [*counted, ("payloads", payloads)]:
        if len(column) != count:
            raise OutOfBounds("batch", f"number of ids and {what} must be equal ({count} != {len(column)})")
    batch.payloads = [_payload_text(payload) for payload in payloads]
    for name, values in vectors.items():
        batch.columns.setdefault(name, _Column()).add(range(count), list(values))
    return batch


def asks_for_models(request: PointInsertOperations | UpdateVectorsRequest) -> bool:
    """Whether some vector of a decoded request is to be made by a model."""
    if isinstance(request, PointInsertOperations) and request.batch is not None:
        vectors = request.batch.vectors
        columns = vectors.values() if isinstance(vectors, dict) else [vectors]
        return any(is_inference_input(vector) for column in columns for vector in column)
    vectors_of_points = [point.vector for point in request.points or ()]
    return any(
        is_inference_input(vector) or (isinstance(vector, dict) and any(map(is_inference_input, vector.values())))
        for vector in vectors_of_points
    )


def _read_multivector(space: VectorSpace, value: Any) -> Floats:
    """``(tokens, dim)`` float32; one plain vector counts as a multivector of one. Raises what ``prepare`` raises."""
    if isinstance(value, dict):
        raise BadRequest(f"Expected a multivector for vector `{space.name}`")
    if isinstance(value, np.ndarray):
        return prepare(space, np.atleast_2d(value))
    if not (isinstance(value, list) and value):
        raise BadRequest(f"Expected a multivector with at least one vector for vector `{space.name}`")
    return prepare(space, value if isinstance(value[0], list) else [value])


def _read_sparse(value: Any, name: str) -> SparseVector:
    return value if isinstance(value, SparseVector) else read_sparse(value, f"vector `{name}`")


def _embedded(space: Space, values: Sequence[Any], embed: Embed) -> Sequence[Any]:
    """``values`` with vectors in the place of inputs for models; raises MalformedBody, BadRequest."""
    places = [place for place, value in enumerate(values) if is_inference_input(value)]
    if not places:
        return values
    try:
        inputs = [read_inference_input(values[place]) for place in places]
    except ValueError as error:
        raise MalformedBody(f"vector `{space.name}`: {error}") from error
    embedded = list(values)
    for place, given, vector in zip(places, inputs, embed(inputs), strict=True):
        if isinstance(vector, SparseVector) is not isinstance(space, SparseSpace):
            wanted, made = ("dense", "sparse") if isinstance(vector, SparseVector) else ("sparse", "dense")
            raise BadRequest(
                f"Expected a {wanted} vector for vector `{space.name}`: model `{given.model}` makes {made} ones"
            )
        embedded[place] = vector if isinstance(vector, SparseVector) else vector.tolist()
    return embedded


def _payload_text(raw: msgspec.Raw) -> bytes | None:
    """Canonical JSON text of a payload; raises MalformedBody."""
    text = bytes(raw)
    if text in (b"", b"null", b"{}"):
        return None
    return payload_text(read_payload(raw))


def _as_block(values: list[Any]) -> Vectors:
    """float32 rows where all values are lists of numbers of one length; else the values, for their space to judge."""
    if not values or not isinstance(values[0], list):
        return values
    try:
        if len(set(map(len, values))) != 1:
            return values
        with np.errstate(over="ignore"):
            block = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        return values
    return block if block.ndim == 2 else values


def _prepare(space: VectorSpace, block: Vectors) -> Floats:
    if isinstance(block, np.ndarray):
        return prepare(space, block)
    for value in block:
        if isinstance(value, dict):
            raise BadRequest(f"Expected a dense vector for vector `{space.name}`")
        if not isinstance(value, list):
            raise BadRequest(f"Expected a dense vector for vector `{space.name}`, got `{type(value).__name__}`")
        if value and isinstance(value[0], list):
            raise BadRequest(f"Expected a dense vector for vector `{space.name}`, got a multivector")
    return prepare(space, block)
