"""Requests about points: what is written, and which points are meant."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vdb.errors import BadRequest, MalformedBody, NoPointsGiven, OutOfBounds
from vdb.model.conditions import Filter
from vdb.model.decode import AnotherNameOf
from vdb.model.ids import PointId, RequestId, parse_point_id
from vdb.model.inference import is_inference_input

UpdateMode = Literal["upsert", "insert_only", "update_only"]

_SHARD_KEY: Final[dict[str, Any]] = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}
# Only ever refused, so that its shape matters to the OpenAPI document alone.
ShardKey = Annotated[
    Any,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                *_SHARD_KEY["anyOf"],
                {"type": "array", "items": _SHARD_KEY},
                {
                    "type": "object",
                    "required": ["target", "fallback"],
                    "properties": {"target": _SHARD_KEY, "fallback": _SHARD_KEY},
                },
            ]
        }
    ),
]

# A vector as JSON: dense, multi, or an object (sparse, or an inference object). Numbers are checked here, shapes later.
VectorValue = list[float | list[float]] | dict[str, Any]
# An object is a map of named vectors, or an inference object, whose values are texts and options.
VectorStruct = list[float | list[float]] | dict[str, list[float | list[float]] | dict[str, Any] | str | None]


# A payload stays text until it is known to be needed.
Payload = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object", "additionalProperties": True})]
PayloadOrNull = Annotated[
    msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"], "additionalProperties": True})
]


class PointStruct(msgspec.Struct, frozen=True, kw_only=True):
    """One point of an upsert."""

    id: RequestId
    vector: VectorStruct
    vectors: Annotated[UnsetType, AnotherNameOf("vector")] = UNSET
    payload: PayloadOrNull = msgspec.Raw()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Points by columns: every list has one entry a point."""

    ids: list[RequestId]
    vectors: list[VectorValue] | dict[str, list[VectorValue]]
    payloads: list[PayloadOrNull] | None = None


class PointInsertOperations(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an upsert: ``points`` or ``batch``."""

    points: list[PointStruct] | None = None
    batch: Batch | None = None
    shard_key: ShardKey | None = None
    update_filter: Filter | None = None
    update_mode: UpdateMode | None = None

    def __post_init__(self) -> None:
        if (self.points is None) == (self.batch is None):
            raise MalformedBody("expected either `points` or `batch`")
        refuse_shard_key(self.shard_key)


class PointVectors(msgspec.Struct, frozen=True, kw_only=True):
    id: RequestId
    vector: VectorStruct
    vectors: Annotated[UnsetType, AnotherNameOf("vector")] = UNSET


class UpdateVectorsRequest(msgspec.Struct, frozen=True, kw_only=True):
    points: Annotated[list[PointVectors], msgspec.Meta(min_length=1)]
    shard_key: ShardKey | None = None
    update_filter: Filter | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        for position, point in enumerate(self.points):
            if _has_no_vector(point.vector):
                raise OutOfBounds(f"points[{position}].vector", "must specify vectors to update for point")


class PointsSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Points by id, or all that match a filter; where both are given, the ids decide."""

    points: list[RequestId] | None = None
    filter: Filter | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        if self.points is None and self.filter is None:
            raise MalformedBody("expected either `points` or `filter`")
        refuse_shard_key(self.shard_key)


class DeleteVectorsRequest(msgspec.Struct, frozen=True, kw_only=True):
    vector: Annotated[list[str], msgspec.Meta(min_length=1)]
    vectors: Annotated[UnsetType, AnotherNameOf("vector")] = UNSET
    points: list[RequestId] | None = None
    filter: Filter | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        if self.points is None and self.filter is None:
            raise NoPointsGiven


class SetPayloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``key`` is the JSON path at which the payload is merged."""

    payload: Payload
    points: list[RequestId] | None = None
    filter: Filter | None = None
    shard_key: ShardKey | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        _require_selector(self.points, self.filter)


class DeletePayloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``keys`` are JSON paths."""

    keys: list[str]
    points: list[RequestId] | None = None
    filter: Filter | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        _require_selector(self.points, self.filter)


class UpdateOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a batch, told by its key."""

    exactly_one: ClassVar[bool] = True

    upsert: PointInsertOperations | None = None
    delete: PointsSelector | None = None
    set_payload: SetPayloadRequest | None = None
    overwrite_payload: SetPayloadRequest | None = None
    delete_payload: DeletePayloadRequest | None = None
    clear_payload: PointsSelector | None = None
    update_vectors: UpdateVectorsRequest | None = None
    delete_vectors: DeleteVectorsRequest | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise MalformedBody("expected exactly one of " + ", ".join(f"`{name}`" for name in self.__struct_fields__))


class UpdateOperations(msgspec.Struct, frozen=True, kw_only=True):
    operations: list[UpdateOperation]


def parse_ids(ids: list[RequestId]) -> list[PointId]:
    """Ids of a request in their one spelling; raises InvalidPointId."""
    return [parse_point_id(point_id) for point_id in ids]


def refuse_shard_key(shard_key: ShardKey | None) -> None:
    if shard_key is not None:
        raise BadRequest("`shard_key` needs a collection that is sharded by key, which this server does not have")


def _require_selector(points: list[RequestId] | None, filter: Filter | None) -> None:
    if points is None and filter is None:
        raise MalformedBody("Either list of point ids or filter must be provided")


def _has_no_vector(vector: VectorStruct) -> bool:
    """Whether there is nothing in a vector, or in any of several named ones: a sparse one may be empty too."""
    if isinstance(vector, dict) and not is_inference_input(vector):
        return all(value == [] or (isinstance(value, dict) and value.get("indices") == []) for value in vector.values())
    return not vector
