"""What clusters have: answered as a server without peers answers it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from vdb.api.collections import describe
from vdb.api.routing import Call, Routes
from vdb.errors import NotClustered
from vdb.hosting import Running
from vdb.model.bounds import Count
from vdb.model.collection_results import CollectionClusterInfo, ShardKeysResponse
from vdb.model.params import TimeoutParams
from vdb.model.telemetry import (
    DistributedClusterTelemetry,
    DistributedCollectionTelemetry,
    DistributedReplicaTelemetry,
    DistributedShardTelemetry,
    DistributedTelemetryData,
)

routes = Routes("Distributed")

_COLLECTION = "/collections/{collection_name}"
_PEER_ID = 0  # of a server without peers


class ClusterDisabled(msgspec.Struct, frozen=True, kw_only=True):
    """This server is no cluster."""

    status: Literal["disabled"] = "disabled"


class PeerParams(TimeoutParams, frozen=True, kw_only=True):
    force: bool = False


class ClusterTelemetryParams(TimeoutParams, frozen=True, kw_only=True):
    details_level: Annotated[Count, msgspec.Meta(description="Accepted; shards are told at every level.")] = 0


@routes.add("GET", "/cluster", summary="Whether the server is part of a cluster", access="read", result=ClusterDisabled)
async def cluster_status(call: Call) -> ClusterDisabled:
    return ClusterDisabled()


@routes.add(
    "GET",
    "/cluster/telemetry",
    summary="Every collection and its one shard",
    access="read",
    params=ClusterTelemetryParams,
    result=DistributedTelemetryData,
)
async def cluster_telemetry(call: Call) -> DistributedTelemetryData:
    registry = call.services.registry
    return DistributedTelemetryData(
        collections={name: _collection(name, registry.running(name)) for name in registry.names()},
        cluster=DistributedClusterTelemetry(enabled=False, peers={}),
    )


def _collection(name: str, running: Running) -> DistributedCollectionTelemetry:
    info = describe(running)
    replica = DistributedReplicaTelemetry(
        peer_id=_PEER_ID,
        state="Dead" if running.collection is None else "Active",
        status=info.status,
        num_points=info.points_count,
    )
    return DistributedCollectionTelemetry(id=name, shards=[DistributedShardTelemetry(id=0, replicas=[replica])])


@routes.add("POST", "/cluster/recover", summary="Refused: there is no cluster", access="manage")
async def recover_current_peer(call: Call) -> bool:
    return _refuse()


@routes.add(
    "DELETE", "/cluster/peer/{peer_id}", summary="Refused: there is no cluster", access="manage", params=PeerParams
)
async def remove_peer(call: Call) -> bool:
    return _refuse()


@routes.add(
    "GET",
    _COLLECTION + "/cluster",
    summary="The one shard of a collection",
    access="read",
    result=CollectionClusterInfo,
)
async def collection_cluster_info(call: Call) -> CollectionClusterInfo:
    view = call.collection().view
    return CollectionClusterInfo.standalone(_PEER_ID, view.points_count)


@routes.add(
    "POST",
    _COLLECTION + "/cluster",
    summary="Refused: there is no cluster",
    access="manage",
    body=dict[str, Any],
    params=TimeoutParams,
)
async def update_collection_cluster(call: Call) -> bool:
    return _refuse()


@routes.add(
    "GET", _COLLECTION + "/shards", summary="Shard keys: there are none", access="read", result=ShardKeysResponse
)
async def list_shard_keys(call: Call) -> ShardKeysResponse:
    call.collection()
    return ShardKeysResponse()


@routes.add(
    "PUT",
    _COLLECTION + "/shards",
    summary="Refused: there is no cluster",
    access="manage",
    body=dict[str, Any],
    params=TimeoutParams,
)
async def create_shard_key(call: Call) -> bool:
    return _refuse()


@routes.add(
    "POST",
    _COLLECTION + "/shards/delete",
    summary="Refused: there is no cluster",
    access="manage",
    body=dict[str, Any],
    params=TimeoutParams,
)
async def delete_shard_key(call: Call) -> bool:
    return _refuse()


def _refuse() -> bool:
    raise NotClustered("This server runs alone: cluster operations are not available")
