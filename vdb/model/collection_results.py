"""What REST answers about collections, their aliases and the service; and the request that changes aliases.

Optional fields are left out where they are unset, as Qdrant leaves them out.
"""

from __future__ import annotations

from abc import ABC
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec

from vdb.model.bounds import Count
from vdb.model.collection_config import CollectionConfig
from vdb.model.decode import convert
from vdb.model.field_index import PayloadIndexInfo

CollectionStatus = Literal["green", "yellow", "grey", "red"]
UpdateStatus = Literal["acknowledged", "completed", "wait_timeout"]
ReplicaState = Literal[
    "Active",
    "Dead",
    "Partial",
    "Initializing",
    "Listener",
    "PartialSnapshot",
    "Recovery",
    "Resharding",
    "ReshardingScaleDown",
    "ActiveRead",
    "ManualRecovery",
]


class CollectionDescription(msgspec.Struct, frozen=True):
    name: str


class CollectionsResponse(msgspec.Struct, frozen=True):
    collections: list[CollectionDescription]


class CollectionExistence(msgspec.Struct, frozen=True):
    exists: bool


class OptimizersFailed(msgspec.Struct, frozen=True):
    error: str


OptimizersStatus = Literal["ok"] | OptimizersFailed


class CollectionWarning(msgspec.Struct, frozen=True):
    message: str


class UpdateQueueInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    length: Count
    deferred_points: Count | None = None


class CollectionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``indexed_vectors_count`` counts the vectors that a graph covers, over all names."""

    status: CollectionStatus
    optimizer_status: OptimizersStatus
    warnings: list[CollectionWarning] = []
    indexed_vectors_count: Count
    points_count: Count
    segments_count: Count
    config: CollectionConfig
    payload_schema: dict[str, PayloadIndexInfo]
    update_queue: UpdateQueueInfo | None = None


class UpdateResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``operation_id`` is the operation's seq in the log."""

    operation_id: Count | None = None
    status: UpdateStatus


class AliasDescription(msgspec.Struct, frozen=True):
    alias_name: str
    collection_name: str


class CollectionsAliasesResponse(msgspec.Struct, frozen=True):
    aliases: list[AliasDescription]


class CreateAlias(msgspec.Struct, frozen=True, kw_only=True):
    collection_name: str
    alias_name: str


class CreateAliasOperation(msgspec.Struct, frozen=True):
    create_alias: CreateAlias


class DeleteAlias(msgspec.Struct, frozen=True, kw_only=True):
    alias_name: str


class DeleteAliasOperation(msgspec.Struct, frozen=True):
    delete_alias: DeleteAlias


class RenameAlias(msgspec.Struct, frozen=True, kw_only=True):
    old_alias_name: str
    new_alias_name: str


class RenameAliasOperation(msgspec.Struct, frozen=True):
    rename_alias: RenameAlias


if TYPE_CHECKING:
    AliasOperations: TypeAlias = CreateAliasOperation | DeleteAliasOperation | RenameAliasOperation
else:

    class AliasOperations(ABC):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """One change of an alias, told by its key."""

        alternatives: ClassVar[tuple[Any, ...]] = (CreateAliasOperation, DeleteAliasOperation, RenameAliasOperation)

        @classmethod
        def decode(cls, value: Any) -> CreateAliasOperation | DeleteAliasOperation | RenameAliasOperation:
            """Raises ValueError, to which msgspec adds which action it was."""
            for kind in cls.alternatives:
                key = kind.__struct_fields__[0]
                if isinstance(value, dict) and key in value:
                    try:
                        return convert(value, kind)
                    except msgspec.ValidationError as error:
                        raise ValueError(str(error).replace(" - at `$.", " in `").removesuffix("`") + "`") from error
            raise ValueError("Expected an object with `create_alias`, `delete_alias` or `rename_alias`")

    for _operation in AliasOperations.alternatives:
        AliasOperations.register(_operation)


class ChangeAliasesOperation(msgspec.Struct, frozen=True):
    """The body of POST /collections/aliases: all of ``actions`` happen, in order, or none."""

    actions: list[AliasOperations]


class OptimizationsSummary(msgspec.Struct, frozen=True, kw_only=True):
    queued_optimizations: Count
    queued_segments: Count
    queued_points: Count
    idle_segments: Count


class OptimizationSegmentInfo(msgspec.Struct, frozen=True, kw_only=True):
    uuid: str
    points_count: Count


class OptimizationCancelled(msgspec.Struct, frozen=True):
    cancelled: str


class OptimizationFailed(msgspec.Struct, frozen=True):
    error: str


TrackerStatus = Literal["optimizing", "done"] | OptimizationCancelled | OptimizationFailed


class ProgressTree(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Times are aware and in UTC; ``done`` of ``total`` are units of work, whatever the operation counts."""

    name: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_sec: float | None = None
    done: Count | None = None
    total: Count | None = None
    children: list[ProgressTree] = []


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """``uuid`` is the segment that comes out, ``segments`` are those that go in."""

    uuid: str
    optimizer: str
    status: TrackerStatus
    segments: list[OptimizationSegmentInfo]
    progress: ProgressTree


class PendingOptimization(msgspec.Struct, frozen=True, kw_only=True):
    optimizer: str
    segments: list[OptimizationSegmentInfo]


class OptimizationsResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None stands for what the client did not ask for, an empty list for nothing there."""

    summary: OptimizationsSummary
    running: list[Optimization]
    queued: list[PendingOptimization] | None = None
    completed: list[Optimization] | None = None
    idle_segments: list[OptimizationSegmentInfo] | None = None


class LocalShardInfo(msgspec.Struct, frozen=True, kw_only=True):
    shard_id: Count
    points_count: Count
    state: ReplicaState


class RemoteShardInfo(msgspec.Struct, frozen=True, kw_only=True):
    shard_id: Count
    peer_id: Count
    state: ReplicaState


class ShardTransferInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"source": "from"}):
    """A shard on its way from one peer to another; there is none on a server without peers."""

    shard_id: Count
    to_shard_id: Count | None = None
    source: Count
    to: Count
    sync: bool
    comment: str | None = None


class CollectionClusterInfo(msgspec.Struct, frozen=True, kw_only=True):
    peer_id: Count
    shard_count: Count
    local_shards: list[LocalShardInfo]
    remote_shards: list[RemoteShardInfo]
    shard_transfers: list[ShardTransferInfo]

    @classmethod
    def standalone(cls, peer_id: int, points_count: int) -> CollectionClusterInfo:
        """The one shard that a collection has on a server without peers."""
        shard = LocalShardInfo(shard_id=0, points_count=points_count, state="Active")
        return cls(peer_id=peer_id, shard_count=1, local_shards=[shard], remote_shards=[], shard_transfers=[])


class ShardKeysResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Always without keys: no collection is sharded by them."""

    shard_keys: list[dict[str, str | int]] | None = None


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``version`` is Qdrant's, which clients compare with their own; ``vdb_version`` is this server's."""

    title: str
    version: str
    commit: str | None = None
    vdb_version: str | None = None


class ErrorStatus(msgspec.Struct, frozen=True):
    error: str


class ErrorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """``time`` is in seconds."""

    status: ErrorStatus
    time: float
