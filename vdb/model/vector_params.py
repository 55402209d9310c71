"""The vectors that a collection declares: dense ones, one unnamed or several named, and sparse ones.

The unnamed vector has the name ``""``. Unset keys are left out on the way back, because older clients refuse keys that
they do not know.
"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from vdb.config import Memory
from vdb.errors import OutOfBounds
from vdb.model.bounds import COUNT_MAX, Count
from vdb.model.decode import AnotherNameOf, convert
from vdb.model.quantization_config import QuantizationConfig, QuantizationConfigDiff
from vdb.model.vectors import Datatype, Distance, VectorSpace

Modifier = Literal["none", "idf"]

UNNAMED: Final = ""
VECTOR_SIZE_MAX: Final = 65536

T = TypeVar("T")


class HnswConfigDiff(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some parameters of the graph; what is None comes from the level above. ``full_scan_threshold`` is in KiB."""

    m: Count | None = None
    ef_construct: Annotated[int, msgspec.Meta(ge=4, le=COUNT_MAX)] | None = None
    full_scan_threshold: Annotated[int, msgspec.Meta(ge=10, le=COUNT_MAX)] | None = None
    full_scan_threshold_kb: Annotated[UnsetType, AnotherNameOf("full_scan_threshold")] = UNSET
    max_indexing_threads: Count | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    payload_m: Count | None = None
    inline_storage: bool | None = None


class MultiVectorConfig(msgspec.Struct, frozen=True, kw_only=True):
    comparator: Literal["max_sim"]


class VectorParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dense vector. ``size`` is the number of components of it, or of each token of a multivector."""

    size: Annotated[int, msgspec.Meta(ge=1, le=VECTOR_SIZE_MAX)]
    distance: Distance
    hnsw_config: HnswConfigDiff | None = None
    quantization_config: QuantizationConfig | None = None
    quantization: Annotated[UnsetType, AnotherNameOf("quantization_config")] = UNSET
    on_disk: bool | None = None
    memory: Memory | None = None
    datatype: Datatype | None = None
    multivector_config: MultiVectorConfig | None = None

    @property
    def multi(self) -> bool:
        return self.multivector_config is not None

    @property
    def cold(self) -> bool:
        """True where the vectors are read from the disk as they are needed."""
        return self.memory == "cold" if self.memory is not None else bool(self.on_disk)

    def space(self, name: str) -> VectorSpace:
        """What all vectors of ``name`` have in common; the datatype is one that ``refuse_unsupported`` lets pass."""
        return VectorSpace(name, self.size, self.distance, self.datatype or Datatype.FLOAT32, self.multi)


class VectorParamsDiff(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may change about a dense vector. An empty ``hnsw_config`` removes the vector's own one."""

    hnsw_config: HnswConfigDiff | None = None
    quantization_config: QuantizationConfigDiff | None = None
    quantization: Annotated[UnsetType, AnotherNameOf("quantization_config")] = UNSET
    on_disk: bool | None = None
    memory: Memory | None = None


class SparseIndexParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``full_scan_threshold`` is a number of vectors."""

    full_scan_threshold: Count | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    datatype: Datatype | None = None


class SparseVectorParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    index: SparseIndexParams | None = None
    modifier: Modifier | None = None

    @property
    def idf(self) -> bool:
        return self.modifier == "idf"


if TYPE_CHECKING:
    VectorsConfig: TypeAlias = VectorParams | dict[str, VectorParams]
else:

    class VectorsConfig(ABC):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """One VectorParams, or a map of them by name; the values are the plain ones and encode as they came."""

        alternatives: ClassVar[tuple[Any, ...]] = (VectorParams, dict[str, VectorParams])

        @classmethod
        def decode(cls, value: Any) -> VectorParams | dict[str, VectorParams]:
            """Raises ValidationError and OutOfBounds that name the place from ``vectors`` on."""
            if not isinstance(value, dict):
                raise ValueError(f"Expected `object`, got `{type(value).__name__}`")
            if any(key in value and not isinstance(value[key], dict) for key in ("size", "distance")):
                return _read(value, VectorParams, "vectors")
            return {name: _read(params, VectorParams, f"vectors.{name}") for name, params in value.items()}

    VectorsConfig.register(VectorParams)
    VectorsConfig.register(dict)


class DenseVectorConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    size: Annotated[int, msgspec.Meta(ge=1, le=VECTOR_SIZE_MAX)]
    distance: Distance
    multivector_config: MultiVectorConfig | None = None
    datatype: Datatype | None = None


class SparseVectorConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    modifier: Modifier | None = None
    datatype: Datatype | None = None


class DenseVectorNameConfig(msgspec.Struct, frozen=True, kw_only=True):
    dense: DenseVectorConfig

    def params(self) -> VectorParams:
        dense = self.dense
        return VectorParams(
            size=dense.size,
            distance=dense.distance,
            datatype=dense.datatype,
            multivector_config=dense.multivector_config,
        )


class SparseVectorNameConfig(msgspec.Struct, frozen=True, kw_only=True):
    sparse: SparseVectorConfig

    def params(self) -> SparseVectorParams:
        index = None if self.sparse.datatype is None else SparseIndexParams(datatype=self.sparse.datatype)
        return SparseVectorParams(index=index, modifier=self.sparse.modifier)


if TYPE_CHECKING:
    VectorNameConfig: TypeAlias = DenseVectorNameConfig | SparseVectorNameConfig
else:

    class VectorNameConfig(ABC):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """The body that adds a vector to a collection: ``{"dense": …}`` or ``{"sparse": …}``."""

        alternatives: ClassVar[tuple[Any, ...]] = (DenseVectorNameConfig, SparseVectorNameConfig)

        @classmethod
        def decode(cls, value: Any) -> DenseVectorNameConfig | SparseVectorNameConfig:
            """Raises ValidationError and OutOfBounds that name the place in the body."""
            match value:
                case {"dense": dense}:
                    return DenseVectorNameConfig(dense=_read(dense, DenseVectorConfig, "dense"))
                case {"sparse": sparse}:
                    return SparseVectorNameConfig(sparse=_read(sparse, SparseVectorConfig, "sparse"))
                case _:
                    raise ValueError("Expected an object with `dense` or `sparse`")

    VectorNameConfig.register(DenseVectorNameConfig)
    VectorNameConfig.register(SparseVectorNameConfig)


def _read(value: Any, kind: type[T], place: str) -> T:
    """``value`` as ``kind``, with ``place`` in front of the path of what is wrong.

    msgspec forgets the outer path when it is asked again from inside a custom type, and its bound for a size would name
    only the end that is broken.
    """
    if isinstance(value, dict):
        size = value.get("size")
        if type(size) is int and not 1 <= size <= VECTOR_SIZE_MAX:
            raise OutOfBounds(f"{place}.size", f"value {size} invalid, must be from 1 to {VECTOR_SIZE_MAX}")
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{message} - at `$.{place}{path.removesuffix('`')}`") from error
