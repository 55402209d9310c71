"""What stands for a vector in a query: the vector itself, or the id of a point whose vector is meant."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeAlias

from vdb.errors import BadRequest, OutOfBounds
from vdb.model.decode import convert_part
from vdb.model.ids import PointId, RequestId, parse_point_id

if TYPE_CHECKING:
    VectorInput: TypeAlias = list[float] | PointId
else:

    class VectorInput(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """A vector, or the id of a point."""

        alternatives: ClassVar[tuple[Any, ...]] = (list[float], RequestId)

        @classmethod
        def decode(cls, value: Any) -> list[float] | PointId:
            return read_vector_input(value)

    for _kind in (list, int, str):
        VectorInput.register(_kind)

# Objects that Qdrant takes for a vector, by the key that tells them.
_OBJECTS: Final = {
    "indices": "sparse vector",
    "values": "sparse vector",
    "text": "document",
    "image": "image",
    "object": "inference object",
}


def read_vector_input(value: Any) -> list[float] | PointId:
    """A vector or an id of a request; raises ValueError, BadRequest, OutOfBounds, InvalidPointId."""
    if isinstance(value, list):
        if not value:
            raise OutOfBounds("query", "value [] invalid, a vector must not be empty")
        if isinstance(value[0], list):
            _refuse("multivector")
        return convert_part(value, list[float])
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return parse_point_id(value)
    if isinstance(value, dict):
        refuse_vector_object(value)
    raise ValueError(f"Expected a vector or a point id, got `{type(value).__name__}`")


def refuse_vector_object(value: dict[str, Any]) -> None:
    """Raises BadRequest for an object that stands for a vector of a kind that is not searched."""
    for key, kind in _OBJECTS.items():
        if key in value:
            _refuse(kind)


def _refuse(kind: str) -> NoReturn:
    raise BadRequest(f"This query is not supported: {kind}")
