"""What ``/telemetry`` answers: Qdrant's shape, without what a single server over SQLite has no counterpart of.

Optional fields are left out where they are unset. Durations are in microseconds, memory and disk of the machine in KiB.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec

from vdb.model.bounds import Count
from vdb.model.collection_config import CollectionConfig, CollectionParams, ResolvedHnswConfig
from vdb.model.collection_results import CollectionStatus, OptimizersStatus, ReplicaState, TrackerStatus
from vdb.model.field_index import PayloadIndexInfo
from vdb.model.quotas import QuotaTelemetry
from vdb.model.usage import HardwareUsage
from vdb.model.vectors import Datatype, Distance


class OperationDurationStatistics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    count: Count
    fail_count: Count | None = None
    avg_duration_micros: float | None = None
    min_duration_micros: float | None = None
    max_duration_micros: float | None = None
    total_duration_micros: Count | None = None
    last_responded: datetime | None = None


# By ``METHOD /path/of/{route}``, then by status.
Responses = dict[str, dict[str, OperationDurationStatistics]]


class AppFeaturesTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Features of Qdrant's builds."""

    debug: bool
    service_debug_feature: bool
    recovery_mode: bool
    gpu: bool
    rocksdb: bool
    staging: bool

    @classmethod
    def none(cls) -> AppFeaturesTelemetry:
        """What this server has of them."""
        return cls(**dict.fromkeys(cls.__struct_fields__, False))


class RunningEnvironmentTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    distribution: str | None = None
    distribution_version: str | None = None
    is_docker: bool
    cores: Count | None = None
    ram_size: Count | None = None
    disk_size: Count | None = None
    cpu_flags: str
    cpu_endian: Literal["little", "big", "other"] | None = None


class AppBuildTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    version: str
    features: AppFeaturesTelemetry | None = None
    system: RunningEnvironmentTelemetry | None = None
    jwt_rbac: bool | None = None
    startup: datetime


class VectorDataInfo(msgspec.Struct, frozen=True, kw_only=True):
    num_vectors: Count
    num_indexed_vectors: Count
    num_deleted_vectors: Count


class SegmentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``ram_usage_bytes`` is what the process holds itself; mapped files count as ``disk_usage_bytes`` only."""

    uuid: str
    segment_type: Literal["plain", "indexed", "special"]
    num_vectors: Count
    num_points: Count
    num_indexed_vectors: Count
    num_deleted_vectors: Count
    vectors_size_bytes: Count
    payloads_size_bytes: Count
    ram_usage_bytes: Count
    disk_usage_bytes: Count
    is_appendable: bool
    index_schema: dict[str, PayloadIndexInfo]
    vector_data: dict[str, VectorDataInfo]


class PlainIndex(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="plain"):
    """No graph: every row is compared."""

    options: dict[str, Any]


class HnswIndex(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hnsw"):
    options: ResolvedHnswConfig


class VectorDataConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    size: Count
    distance: Distance
    storage_type: Literal["Memory", "Mmap"]
    index: PlainIndex | HnswIndex
    datatype: Datatype | None = None


class PayloadStorageType(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["mmap", "in_ram_mmap"]


class SegmentConfig(msgspec.Struct, frozen=True, kw_only=True):
    vector_data: dict[str, VectorDataConfig]
    payload_storage_type: PayloadStorageType


class SegmentTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Searches are not counted by segment, and field indexes belong to the whole collection: both lists are empty."""

    info: SegmentInfo
    config: SegmentConfig
    vector_index_searches: list[dict[str, Any]]
    payload_field_indices: list[dict[str, Any]]


class TrackerTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    uuid: str
    segment_ids: list[Count]
    segment_uuids: list[str]
    status: TrackerStatus
    start_at: datetime
    end_at: datetime | None = None


class OptimizerTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: OptimizersStatus
    optimizations: OperationDurationStatistics
    log: list[TrackerTelemetry] = []


class ShardUpdateQueueInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    length: Count
    op_num: Count | None = None


class LocalShardTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: CollectionStatus | None = None
    total_optimized_points: Count
    vectors_size_bytes: Count | None = None
    num_points: Count | None = None
    num_vectors: Count | None = None
    num_vectors_by_name: dict[str, Count] | None = None
    segments: list[SegmentTelemetry] | None = None
    optimizations: OptimizerTelemetry | None = None
    indexed_only_excluded_vectors: dict[str, Count] | None = None
    update_queue: ShardUpdateQueueInfo | None = None


class ReplicaSetTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one shard of a collection."""

    id: Count
    local: LocalShardTelemetry | None = None
    remote: list[dict[str, Any]]
    replicate_states: dict[str, ReplicaState]


class CollectionTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``id`` is its name; one that could not be opened is red, and its shard dead."""

    id: str
    config: CollectionConfig | None = None
    shards: list[ReplicaSetTelemetry] | None = None


class CollectionsAggregatedTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    vectors: Count
    optimizers_status: OptimizersStatus
    params: CollectionParams


if TYPE_CHECKING:
    CollectionTelemetryEnum: TypeAlias = CollectionTelemetry | CollectionsAggregatedTelemetry
else:

    class CollectionTelemetryEnum:
        """One collection, whole or in brief, as the level of detail says."""

        alternatives: ClassVar[tuple[Any, ...]] = (CollectionTelemetry, CollectionsAggregatedTelemetry)


class CollectionsTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    number_of_collections: Count
    max_collections: Count | None = None
    collections: list[CollectionTelemetryEnum] | None = None


class ClusterTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool


class WebApiTelemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    responses: Responses
    per_collection_responses: dict[str, Responses] | None = None


class GrpcTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """There is no gRPC: always empty."""

    responses: dict[str, dict[str, OperationDurationStatistics]]


class RequestsTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    rest: WebApiTelemetry
    grpc: GrpcTelemetry


class HardwareTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    collection_data: dict[str, HardwareUsage]


class SearchThreadPoolTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """There is one pool: ``mode`` is always ``high_cpu``."""

    mode: str
    high_cpu_threads: Count
    high_io_threads: Count


class TelemetryData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``id`` is new with every start."""

    id: str
    app: AppBuildTelemetry | None = None
    collections: CollectionsTelemetry
    cluster: ClusterTelemetry | None = None
    requests: RequestsTelemetry | None = None
    hardware: HardwareTelemetry | None = None
    search_pool: SearchThreadPoolTelemetry | None = None
    quota: QuotaTelemetry | None = None


class DistributedReplicaTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    peer_id: Count
    state: ReplicaState
    status: CollectionStatus
    num_points: Count


class DistributedShardTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    id: Count
    replicas: list[DistributedReplicaTelemetry]


class DistributedCollectionTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is the collection's name."""

    id: str
    shards: list[DistributedShardTelemetry]


class DistributedClusterTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """``peers`` is always empty."""

    enabled: bool
    peers: dict[str, Any]


class DistributedTelemetryData(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/cluster/telemetry`` answers."""

    collections: dict[str, DistributedCollectionTelemetry]
    cluster: DistributedClusterTelemetry
