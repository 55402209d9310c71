"""What stands for a vector in a query: the vector itself, the id of a point whose vector is meant, or a text.

A text, or whatever else asks for a model, has become a vector before a query is run (``vdb.inference.queries``): what
runs queries never meets one, and the type that they see has none.
"""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, cast

from vdb.errors import OutOfBounds
from vdb.model.decode import convert_part
from vdb.model.ids import PointId, RequestId, parse_point_id
from vdb.model.inference import Document, Image, InferenceObject, is_inference_input, read_inference_input
from vdb.model.sparse import SparseVector, read_sparse

if TYPE_CHECKING:
    VectorInput: TypeAlias = list[float] | list[list[float]] | SparseVector | PointId
else:

    class VectorInput(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """A vector, dense, sparse or multi, or the id of a point."""

        alternatives: ClassVar[tuple[Any, ...]] = (
            *(list[float], SparseVector, list[list[float]], RequestId),
            *(Document, Image, InferenceObject),
        )

        @classmethod
        def decode(cls, value: Any) -> list[float] | list[list[float]] | SparseVector | PointId:
            return read_vector_input(value)

    for _kind in (list, SparseVector, int, str, Document, Image, InferenceObject):
        VectorInput.register(_kind)

_FIELD: Final = "query"  # what messages call the place: where a vector stands in a request is not known here


def read_vector_input(value: Any) -> VectorInput:
    """A vector or an id of a request; raises ValueError, BadRequest, OutOfBounds, InvalidPointId."""
    if isinstance(value, list):
        return _read_multivector(value) if value and isinstance(value[0], list) else _read_dense(value)
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return parse_point_id(value)
    if is_inference_input(value):
        return cast(VectorInput, read_inference_input(value))
    if is_sparse(value):
        return read_sparse(value, _FIELD)
    raise ValueError(f"Expected a vector or a point id, got `{type(value).__name__}`")


def stands_for_vector(value: dict[str, Any]) -> bool:
    """Whether an object is a sparse vector, or asks for a model."""
    return is_sparse(value) or is_inference_input(value)


def is_sparse(value: Any) -> bool:
    return isinstance(value, dict) and ("indices" in value or "values" in value)


def _read_dense(value: list[Any]) -> list[float]:
    if not value:
        raise OutOfBounds(_FIELD, "value [] invalid, a vector must not be empty")
    return convert_part(value, list[float])


def _read_multivector(value: list[Any]) -> list[list[float]]:
    tokens = convert_part(value, list[list[float]])
    if not all(tokens):
        raise OutOfBounds(_FIELD, "a vector of a multivector must not be empty")
    if len({len(token) for token in tokens}) > 1:
        raise OutOfBounds(_FIELD, "all vectors of a multivector must have the same dimension")
    return tokens
