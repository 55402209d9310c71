"""What a collection is: the request that creates it, the requests that change it, and the configuration it keeps.

``CollectionConfig`` is resolved: what the request left open was filled from the server's settings when the collection
was made, so that later settings do not change it. It is also what REST reports and what the catalog stores as JSON.

Everything here is a pure function of values; a changed configuration is a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vdb.config import HnswConfig, Memory, OptimizersConfig, StorageSettings, WalConfig
from vdb.errors import BadRequest, OutOfBounds, UnknownVectorName
from vdb.model.bounds import COUNT_MAX, Count, CountFromOne, merge
from vdb.model.decode import AnotherNameOf, decode_hook
from vdb.model.names import validate_vector_name, validate_vector_names
from vdb.model.quantization_config import (
    BinaryQuantizationConfig,
    QuantizationConfig,
    QuantizationConfigDiff,
    TurboQuantQuantizationConfig,
    updated_quantization,
)
from vdb.model.strict_mode import StrictModeConfig
from vdb.model.vector_params import (
    UNNAMED,
    HnswConfigDiff,
    SparseIndexParams,
    SparseVectorParams,
    VectorNameConfig,
    VectorParams,
    VectorParamsDiff,
    VectorsConfig,
)
from vdb.model.vectors import Datatype

ShardingMethod = Literal["auto", "custom"]
Metadata = dict[str, Any]


class OptimizersConfigDiff(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some settings of the optimizers; sizes are in KiB of vectors, ``auto`` lets the server choose."""

    deleted_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    vacuum_min_vector_number: Annotated[int, msgspec.Meta(ge=100, le=COUNT_MAX)] | None = None
    default_segment_number: Count | None = None
    max_segment_size: CountFromOne | None = None
    max_segment_size_kb: Annotated[UnsetType, AnotherNameOf("max_segment_size")] = UNSET
    memmap_threshold: Count | None = None
    memmap_threshold_kb: Annotated[UnsetType, AnotherNameOf("memmap_threshold")] = UNSET
    indexing_threshold: Count | None = None
    indexing_threshold_kb: Annotated[UnsetType, AnotherNameOf("indexing_threshold")] = UNSET
    flush_interval_sec: Count | None = None
    max_optimization_threads: Count | Literal["auto"] | None = None
    prevent_unoptimized: bool | None = None


class WalConfigDiff(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    wal_capacity_mb: CountFromOne | None = None
    wal_segments_ahead: Count | None = None
    wal_retain_closed: Count | None = None


class PayloadStorageParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    memory: Memory | None = None


class InitFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The collection whose points a new one starts with; older clients ask for it."""

    collection: str


class CreateCollection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of PUT /collections/{collection_name}. ``resolve`` does not read ``init_from``: its caller copies."""

    vectors: VectorsConfig | None = None
    shard_number: CountFromOne | None = None
    sharding_method: ShardingMethod | None = None
    replication_factor: CountFromOne | None = None
    write_consistency_factor: CountFromOne | None = None
    on_disk_payload: bool | None = None
    payload: PayloadStorageParams | None = None
    hnsw_config: HnswConfigDiff | None = None
    wal_config: WalConfigDiff | None = None
    optimizers_config: OptimizersConfigDiff | None = None
    optimizer_config: Annotated[UnsetType, AnotherNameOf("optimizers_config")] = UNSET
    quantization_config: QuantizationConfig | None = None
    quantization: Annotated[UnsetType, AnotherNameOf("quantization_config")] = UNSET
    sparse_vectors: dict[str, SparseVectorParams] | None = None
    strict_mode_config: StrictModeConfig | None = None
    metadata: Metadata | None = None
    init_from: InitFrom | None = None


class CollectionParamsDiff(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    replication_factor: CountFromOne | None = None
    write_consistency_factor: CountFromOne | None = None
    read_fan_out_factor: Count | None = None
    read_fan_out_delay_ms: Count | None = None
    on_disk_payload: bool | None = None
    payload: PayloadStorageParams | None = None


class UpdateCollection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of PATCH /collections/{collection_name}. ``vectors`` is by name, ``""`` for the unnamed one."""

    vectors: dict[str, VectorParamsDiff] | None = None
    optimizers_config: OptimizersConfigDiff | None = None
    optimizer_config: Annotated[UnsetType, AnotherNameOf("optimizers_config")] = UNSET
    params: CollectionParamsDiff | None = None
    hnsw_config: HnswConfigDiff | None = None
    quantization_config: QuantizationConfigDiff | None = None
    quantization: Annotated[UnsetType, AnotherNameOf("quantization_config")] = UNSET
    sparse_vectors: dict[str, SparseVectorParams] | None = None
    strict_mode_config: StrictModeConfig | None = None
    metadata: Metadata | None = None


class ResolvedHnswConfig(HnswConfig, frozen=True, kw_only=True, omit_defaults=True):
    """An HnswConfig that reports its four numbers always, being without defaults, and the rest only where it is set."""

    m: Count
    ef_construct: Annotated[int, msgspec.Meta(ge=4, le=COUNT_MAX)]
    full_scan_threshold: Count
    max_indexing_threads: Count


class ResolvedOptimizersConfig(OptimizersConfig, frozen=True, kw_only=True, omit_defaults=True):
    """An OptimizersConfig that reports all but ``prevent_unoptimized`` always: older clients refuse that key."""

    deleted_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)]
    vacuum_min_vector_number: Annotated[int, msgspec.Meta(ge=100, le=COUNT_MAX)]
    default_segment_number: Count
    max_segment_size: CountFromOne | None
    memmap_threshold: Count | None
    indexing_threshold: Count | None
    flush_interval_sec: Count
    max_optimization_threads: Count | None


class ResolvedWalConfig(WalConfig, frozen=True, kw_only=True):
    wal_capacity_mb: CountFromOne
    wal_segments_ahead: Count


class CollectionParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``vectors`` is an object, a map or ``{}``, as it was given."""

    vectors: VectorsConfig
    shard_number: CountFromOne
    sharding_method: ShardingMethod | None = None
    replication_factor: CountFromOne
    write_consistency_factor: CountFromOne
    read_fan_out_factor: Count | None = None
    read_fan_out_delay_ms: Count | None = None
    on_disk_payload: bool
    payload: PayloadStorageParams | None = None
    sparse_vectors: dict[str, SparseVectorParams] | None = None

    @property
    def cold_payload(self) -> bool:
        """True where payloads are read from the disk as they are needed."""
        if self.payload is not None and self.payload.memory is not None:
            return self.payload.memory == "cold"
        return self.on_disk_payload


class CollectionConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The resolved configuration of one collection.

    ``quantization_config`` has no default so that its null is reported; ``strict_mode_config`` and ``metadata`` are
    reported only where they were given.
    """

    params: CollectionParams
    hnsw_config: ResolvedHnswConfig
    optimizer_config: ResolvedOptimizersConfig
    wal_config: ResolvedWalConfig
    quantization_config: QuantizationConfig | None
    strict_mode_config: StrictModeConfig | None = None
    metadata: Metadata | None = None

    def vectors(self) -> dict[str, VectorParams]:
        """The dense vectors by name, in the order they were declared."""
        vectors = self.params.vectors
        return {UNNAMED: vectors} if isinstance(vectors, VectorParams) else dict(vectors)

    def sparse_vectors(self) -> dict[str, SparseVectorParams]:
        """The sparse vectors by name, in the order they were declared."""
        return dict(self.params.sparse_vectors or {})

    def vector(self, name: str) -> VectorParams:
        """The dense vector ``name``; raises UnknownVectorName."""
        try:
            return self.vectors()[name]
        except KeyError:
            raise UnknownVectorName(name) from None

    def hnsw_for(self, name: str) -> HnswConfig:
        """The graph's parameters for the dense vector ``name``, its own ones first; raises UnknownVectorName."""
        return merge(self.hnsw_config, self.vector(name).hnsw_config)

    def quantization_for(self, name: str) -> QuantizationConfig | None:
        """The quantisation of the dense vector ``name``, its own one first; raises UnknownVectorName."""
        return self.vector(name).quantization_config or self.quantization_config


_DECODER: Final = msgspec.json.Decoder(CollectionConfig, dec_hook=decode_hook)
_ENCODER: Final = msgspec.json.Encoder()


def encode(config: CollectionConfig) -> str:
    """The configuration as the catalog stores it: the JSON that REST reports."""
    return _ENCODER.encode(config).decode()


def decode(text: str) -> CollectionConfig:
    """The inverse of ``encode``; unknown keys are ignored. Raises msgspec.DecodeError."""
    return _DECODER.decode(text)


def resolve(create: CreateCollection, defaults: StorageSettings) -> CollectionConfig:
    """The configuration of a new collection; raises BadRequest and OutOfBounds."""
    hnsw = ResolvedHnswConfig(**msgspec.structs.asdict(defaults.hnsw_index))
    optimizers = ResolvedOptimizersConfig(**msgspec.structs.asdict(defaults.optimizers))
    wal = ResolvedWalConfig(**msgspec.structs.asdict(defaults.wal))
    config = CollectionConfig(
        params=CollectionParams(
            vectors={} if create.vectors is None else create.vectors,
            shard_number=create.shard_number or 1,
            sharding_method=create.sharding_method,
            replication_factor=create.replication_factor or 1,
            write_consistency_factor=create.write_consistency_factor or 1,
            on_disk_payload=defaults.on_disk_payload if create.on_disk_payload is None else create.on_disk_payload,
            payload=create.payload,
            sparse_vectors=create.sparse_vectors,
        ),
        hnsw_config=merge(hnsw, create.hnsw_config),
        optimizer_config=_merge_optimizers(optimizers, create.optimizers_config),
        wal_config=_merge_wal(wal, create.wal_config),
        quantization_config=create.quantization_config,
        strict_mode_config=create.strict_mode_config,
        metadata=create.metadata,
    )
    validate_vector_names(config.vectors(), config.sparse_vectors())
    return _checked(config)


def apply_update(config: CollectionConfig, update: UpdateCollection) -> CollectionConfig:
    """``config`` after a PATCH, field by field; raises UnknownVectorName, BadRequest and OutOfBounds."""
    dense = config.vectors()
    for name, diff in (update.vectors or {}).items():
        dense[name] = _updated_vector(config.vector(name), diff)
    sparse = config.sparse_vectors()
    for name, given in (update.sparse_vectors or {}).items():
        if name not in sparse:
            raise UnknownVectorName(name)
        sparse[name] = _updated_sparse(sparse[name], given)

    params = merge(_with_vectors(config, dense, sparse).params, update.params)
    if update.params is not None and update.params.payload is not None:
        payload = merge(config.params.payload or PayloadStorageParams(), update.params.payload)
        params = msgspec.structs.replace(params, payload=payload)

    strict_mode = config.strict_mode_config
    if update.strict_mode_config is not None:
        strict_mode = merge(strict_mode or StrictModeConfig(), update.strict_mode_config)
    return _checked(
        msgspec.structs.replace(
            config,
            params=params,
            hnsw_config=merge(config.hnsw_config, update.hnsw_config),
            optimizer_config=_merge_optimizers(config.optimizer_config, update.optimizers_config),
            quantization_config=updated_quantization(config.quantization_config, update.quantization_config),
            strict_mode_config=strict_mode,
            metadata=_merge_metadata(config.metadata, update.metadata),
        )
    )


def add_vector(config: CollectionConfig, name: str, added: VectorNameConfig) -> CollectionConfig:
    """``config`` with one more vector; unchanged where ``name`` is there with the same properties.

    A collection with only the unnamed vector gets a map, in which that one keeps the name ``""``. Raises BadRequest
    where ``name`` is another vector, and OutOfBounds where it cannot be a name.
    """
    validate_vector_name(name, "vector_name")
    dense, sparse = config.vectors(), config.sparse_vectors()
    if name in dense or name in sparse:
        if _has_vector(config, name, added):
            return config
        raise BadRequest(f"Vector `{name}` already exists with other parameters")
    params = added.params()
    if isinstance(params, VectorParams):
        dense[name] = params
    else:
        sparse[name] = params
    validate_vector_names(dense, sparse)
    return _checked(_with_vectors(config, dense, sparse))


def remove_vector(config: CollectionConfig, name: str) -> CollectionConfig:
    """``config`` without the vector ``name``, dense or sparse; raises UnknownVectorName."""
    dense, sparse = config.vectors(), config.sparse_vectors()
    if name in dense:
        del dense[name]
    elif name in sparse:
        del sparse[name]
    else:
        raise UnknownVectorName(name)
    return _with_vectors(config, dense, sparse)


def refuse_unsupported(config: CollectionConfig) -> None:
    """Raises BadRequest for what is well formed and this server cannot do, by its name.

    Called for every configuration that comes about: to lift a refusal, remove its line below.
    """
    for what in _unsupported(config):
        raise BadRequest(f"{what} is not supported by this server")


def _unsupported(config: CollectionConfig) -> Iterator[str]:
    params = config.params
    if params.shard_number > 1:
        yield f"shard_number {params.shard_number} (a collection has one shard)"
    if params.sharding_method == "custom":
        yield "sharding_method `custom`"
    if params.replication_factor > 1:
        yield f"replication_factor {params.replication_factor} (there is one replica)"
    if params.write_consistency_factor > 1:
        yield f"write_consistency_factor {params.write_consistency_factor} (there is one replica)"
    if config.optimizer_config.prevent_unoptimized:
        yield "prevent_unoptimized (points are found as soon as they are written)"
    graphs = (config.hnsw_config, *(vector.hnsw_config for vector in config.vectors().values()))
    if any(hnsw is not None and hnsw.inline_storage for hnsw in graphs):
        yield "inline_storage"
    datatypes = [vector.datatype for vector in config.vectors().values()]
    datatypes += [vector.index.datatype for vector in config.sparse_vectors().values() if vector.index is not None]
    if Datatype.TURBO4 in datatypes:
        yield "Datatype `turbo4`"
    for quantization in (config.quantization_config, *(v.quantization_config for v in config.vectors().values())):
        match quantization.method if quantization is not None else None:
            case TurboQuantQuantizationConfig():
                yield "Quantization `turbo`"
            case BinaryQuantizationConfig(encoding="two_bits" | "one_and_half_bits" as encoding):
                yield f"Binary quantization with encoding `{encoding}`"
            case BinaryQuantizationConfig(query_encoding="scalar4bits" | "scalar8bits" as query_encoding):
                yield f"Binary quantization with query encoding `{query_encoding}`"


def _checked(config: CollectionConfig) -> CollectionConfig:
    """``config`` itself; raises OutOfBounds and BadRequest where it cannot be a collection's."""
    for name, vector in config.vectors().items():
        if vector.memory == "pinned":
            place = f"vectors.{name}.memory" if name else "vectors.memory"
            raise OutOfBounds(place, "`pinned` is not supported for dense vector storage")
    if config.params.payload is not None and config.params.payload.memory == "pinned":
        raise OutOfBounds("payload.memory", "`pinned` is not supported for payload storage")
    refuse_unsupported(config)
    return config


def _with_vectors(
    config: CollectionConfig, dense: dict[str, VectorParams], sparse: dict[str, SparseVectorParams]
) -> CollectionConfig:
    """``config`` with these vectors; a single unnamed one stays an object, as it is the only one."""
    single = isinstance(config.params.vectors, VectorParams) and list(dense) == [UNNAMED]
    absent = not sparse and not config.params.sparse_vectors
    params = msgspec.structs.replace(
        config.params,
        vectors=dense[UNNAMED] if single else dense,
        sparse_vectors=config.params.sparse_vectors if absent else sparse,
    )
    return msgspec.structs.replace(config, params=params)


def _has_vector(config: CollectionConfig, name: str, added: VectorNameConfig) -> bool:
    """Whether ``name`` is a vector of the properties that ``added`` names; the rest may have been tuned since."""
    expected = added.params()
    if isinstance(expected, VectorParams):
        present = config.vectors().get(name)
        return present is not None and present.space(name) == expected.space(name)
    stored = config.sparse_vectors().get(name)
    if stored is None or stored.idf != expected.idf:
        return False
    datatypes = [(params.index or SparseIndexParams()).datatype or Datatype.FLOAT32 for params in (stored, expected)]
    return datatypes[0] == datatypes[1]


def _updated_vector(params: VectorParams, diff: VectorParamsDiff) -> VectorParams:
    hnsw = params.hnsw_config
    if diff.hnsw_config is not None:
        hnsw = merge(hnsw or HnswConfigDiff(), diff.hnsw_config) if diff.hnsw_config != HnswConfigDiff() else None
    return msgspec.structs.replace(
        params,
        hnsw_config=hnsw,
        quantization_config=updated_quantization(params.quantization_config, diff.quantization_config),
        on_disk=params.on_disk if diff.on_disk is None else diff.on_disk,
        memory=params.memory if diff.memory is None else diff.memory,
    )


def _updated_sparse(params: SparseVectorParams, given: SparseVectorParams) -> SparseVectorParams:
    index = params.index if given.index is None else merge(params.index or SparseIndexParams(), given.index)
    return SparseVectorParams(index=index, modifier=given.modifier or params.modifier)


def _merge_optimizers(current: ResolvedOptimizersConfig, diff: OptimizersConfigDiff | None) -> ResolvedOptimizersConfig:
    merged = merge(current, diff)
    if diff is not None and diff.max_optimization_threads == "auto":
        merged = msgspec.structs.replace(merged, max_optimization_threads=None)
    return merged


def _merge_wal(current: ResolvedWalConfig, diff: WalConfigDiff | None) -> ResolvedWalConfig:
    merged = merge(current, diff)
    # A request may say 0 where the configuration starts at 1: the closed part of the log is never less than one.
    return msgspec.structs.replace(merged, wal_retain_closed=max(1, merged.wal_retain_closed))


def _merge_metadata(current: Metadata | None, update: Metadata | None) -> Metadata | None:
    """Key by key at the top level; null removes a key."""
    if update is None:
        return current
    return {key: value for key, value in {**(current or {}), **update}.items() if value is not None}
