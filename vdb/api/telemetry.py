"""Telemetry: what the server is, what it holds and how it fares, as deep as the client asks.

=====  ==========================================================================================================
level  what is told
=====  ==========================================================================================================
0      the server, the number of collections, requests
1      the machine, and each collection in brief
2      each collection with its configuration and the sums of its shard
3      what the optimizer does and did, the queue of updates
4      every segment
=====  ==========================================================================================================

``anonymize`` replaces names of collections, vectors and fields by stand-ins and leaves out what clients wrote.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec
import trio

from vdb import __version__
from vdb.api import process
from vdb.api.anonymous import Anonymous
from vdb.api.collections import describe
from vdb.api.metrics import excluded_vectors, vectors_by_name
from vdb.api.routing import Call, Routes
from vdb.api.statistics import Durations, RouteSnapshot, series_of
from vdb.collection.state import SlotView, points_of
from vdb.config import Settings
from vdb.hosting import Running
from vdb.model.bounds import Count
from vdb.model.collection_config import CollectionConfig, ResolvedHnswConfig
from vdb.model.collection_results import OptimizationFailed, OptimizersFailed, OptimizersStatus
from vdb.model.params import TimeoutSeconds
from vdb.model.quotas import QuotaTelemetry
from vdb.model.telemetry import (
    AppBuildTelemetry,
    AppFeaturesTelemetry,
    ClusterTelemetry,
    CollectionsAggregatedTelemetry,
    CollectionsTelemetry,
    CollectionTelemetry,
    GrpcTelemetry,
    HardwareTelemetry,
    HnswIndex,
    LocalShardTelemetry,
    OperationDurationStatistics,
    OptimizerTelemetry,
    PayloadStorageType,
    PlainIndex,
    ReplicaSetTelemetry,
    RequestsTelemetry,
    Responses,
    RunningEnvironmentTelemetry,
    SearchThreadPoolTelemetry,
    SegmentConfig,
    SegmentInfo,
    SegmentTelemetry,
    ShardUpdateQueueInfo,
    TelemetryData,
    TrackerTelemetry,
    VectorDataConfig,
    VectorDataInfo,
    WebApiTelemetry,
)
from vdb.model.usage import HardwareUsage
from vdb.model.vector_params import VectorParams
from vdb.model.vectors import Datatype
from vdb.optimizer.history import Build
from vdb.query.view import View
from vdb.segment.manifest import GraphEntry
from vdb.segment.rows import RowsView

routes = Routes("Service")

_DOCKER_MARK: Final = Path("/.dockerenv")
_KIB: Final = 1024
_HIDDEN: Final = "hidden"  # in place of texts that may tell names and paths


class TelemetryParams(msgspec.Struct, frozen=True, kw_only=True):
    anonymize: Annotated[bool, msgspec.Meta(description="Replace names by stand-ins.")] = False
    details_level: Annotated[Count, msgspec.Meta(description="0 to 4; more is 4.")] = 0
    per_collection: Annotated[bool, msgspec.Meta(description="Requests by collection, too.")] = False
    timeout: Annotated[TimeoutSeconds, msgspec.Meta(description="Seconds.")] = 60


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the loop hands to the thread. ``uptime_s`` is since the start."""

    id: str
    settings: Settings
    uptime_s: float
    collections: Sequence[Running]
    requests: Sequence[RouteSnapshot]
    hardware: dict[str, HardwareUsage] | None
    search_threads: int
    quota: QuotaTelemetry
    level: int
    per_collection: bool
    names: Anonymous | None

    def name(self, text: str) -> str:
        return text if self.names is None else self.names.text(text)


@routes.add(
    "GET", "/telemetry", summary="What the server is and holds", access="read", params=TelemetryParams,
    result=TelemetryData,
)  # fmt: skip
async def telemetry(call: Call) -> TelemetryData:
    params: TelemetryParams = call.params
    services, observer = call.services, call.services.observer
    hardware = {name: meter.usage() for name, meter in observer.hardware.items()}
    seen = _Seen(
        id=observer.process_id,
        settings=services.settings,
        uptime_s=time.monotonic() - services.started_at,
        collections=[services.registry.running(name) for name in services.registry.names()],
        requests=observer.statistics.snapshot(),
        hardware=hardware if observer.reports_hardware else None,
        search_threads=services.registry.threads.count,
        quota=services.quotas.telemetry(),
        level=params.details_level,
        per_collection=params.per_collection,
        names=observer.anonymous if params.anonymize else None,
    )
    return await trio.to_thread.run_sync(_data, seen)


def _data(seen: _Seen) -> TelemetryData:
    hardware = None
    if seen.hardware is not None:
        hardware = HardwareTelemetry(collection_data={seen.name(name): used for name, used in seen.hardware.items()})
    return TelemetryData(
        id=seen.id,
        app=_app(seen),
        collections=CollectionsTelemetry(
            number_of_collections=len(seen.collections),
            max_collections=seen.settings.storage.max_collections,
            collections=_collections(seen) if seen.level > 0 else None,
        ),
        cluster=ClusterTelemetry(enabled=False),
        requests=RequestsTelemetry(rest=_requests(seen), grpc=GrpcTelemetry(responses={})),
        hardware=hardware,
        quota=seen.quota,
        search_pool=SearchThreadPoolTelemetry(mode="high_cpu", high_cpu_threads=seen.search_threads, high_io_threads=0),
    )


def _app(seen: _Seen) -> AppBuildTelemetry:
    return AppBuildTelemetry(
        name="vdb",
        version=__version__,
        features=AppFeaturesTelemetry.none() if seen.level > 0 else None,
        system=_system(seen) if seen.level > 0 else None,
        jwt_rbac=seen.settings.service.jwt_rbac,
        startup=datetime.now(UTC) - timedelta(seconds=seen.uptime_s),
    )


def _system(seen: _Seen) -> RunningEnvironmentTelemetry:
    memory_bytes = process.memory_bytes()
    return RunningEnvironmentTelemetry(
        distribution=platform.system(),
        distribution_version=platform.release(),
        is_docker=_DOCKER_MARK.exists(),
        cores=os.cpu_count(),
        ram_size=None if memory_bytes is None else memory_bytes // _KIB,
        disk_size=process.disk_bytes(Path(seen.settings.storage.storage_path)) // _KIB,
        cpu_flags=platform.machine(),
        cpu_endian="little" if sys.byteorder == "little" else "big",
    )


def _requests(seen: _Seen) -> WebApiTelemetry:
    whole: dict[str, dict[str, Durations]] = {}
    single: dict[str, dict[str, dict[str, Durations]]] = {}
    for series, durations in series_of(seen.requests):
        endpoint, status = f"{series.method} {series.endpoint}", str(series.status)
        whole.setdefault(endpoint, {}).setdefault(status, Durations()).add_all(durations)
        if series.collection is not None:
            single.setdefault(seen.name(series.collection), {}).setdefault(endpoint, {})[status] = durations
    by_collection = {name: _responses(found) for name, found in single.items()}
    return WebApiTelemetry(
        responses=_responses(whole), per_collection_responses=by_collection if seen.per_collection else None
    )


def _responses(found: dict[str, dict[str, Durations]]) -> Responses:
    return {
        endpoint: {status: _statistics(durations) for status, durations in sorted(statuses.items()) if durations.count}
        for endpoint, statuses in sorted(found.items())
    }


def _statistics(durations: Durations) -> OperationDurationStatistics:
    return OperationDurationStatistics(
        count=durations.count,
        avg_duration_micros=durations.mean_s * 1e6,
        min_duration_micros=durations.min_s * 1e6,
        max_duration_micros=durations.max_s * 1e6,
        total_duration_micros=round(durations.total_s * 1e6),
        last_responded=datetime.fromtimestamp(durations.last_at, UTC),
    )


def _collections(seen: _Seen) -> list[CollectionTelemetry | CollectionsAggregatedTelemetry]:
    if seen.level == 1:
        return [_brief(seen, running) for running in seen.collections]
    return [_collection(seen, running) for running in seen.collections]


def _brief(seen: _Seen, running: Running) -> CollectionsAggregatedTelemetry:
    vectors = 0 if running.collection is None else sum(count for _, count in vectors_by_name(running.collection.view))
    return CollectionsAggregatedTelemetry(
        vectors=vectors,
        optimizers_status=_optimizers_status(seen, running),
        params=_config(seen, describe(running).config).params,
    )


def _collection(seen: _Seen, running: Running) -> CollectionTelemetry:
    name = seen.name(running.entry.name)
    if running.collection is None:
        nothing = OptimizerTelemetry(
            status=_optimizers_status(seen, running), optimizations=OperationDurationStatistics(count=0)
        )
        failed = LocalShardTelemetry(status="red", total_optimized_points=0, optimizations=nothing)
        shard = ReplicaSetTelemetry(id=0, local=failed, remote=[], replicate_states={"0": "Dead"})
        return CollectionTelemetry(id=name, config=_config(seen, describe(running).config), shards=[shard])
    shard = ReplicaSetTelemetry(id=0, local=_shard(seen, running), remote=[], replicate_states={"0": "Active"})
    return CollectionTelemetry(
        id=name,
        config=_config(seen, running.collection.view.config),
        shards=[shard],
    )


def _shard(seen: _Seen, running: Running) -> LocalShardTelemetry:
    collection, optimizer = running.collection, running.optimizer
    assert collection is not None and optimizer is not None
    view = collection.view
    by_name = {seen.name(name): count for name, count in vectors_by_name(view)}
    queue = ShardUpdateQueueInfo(length=len(collection.actor.mailbox), op_num=max(view.seq, 0))
    return LocalShardTelemetry(
        status=describe(running).status,
        total_optimized_points=optimizer.history.points_optimized,
        vectors_size_bytes=sum(slot.size_bytes for slot in collection.slots),
        num_points=view.points_count,
        num_vectors=sum(by_name.values()),
        num_vectors_by_name=by_name,
        segments=[_segment(seen, view, slot) for slot in collection.slots] if seen.level > 3 else None,
        optimizations=_optimizations(seen, running) if seen.level > 2 else None,
        indexed_only_excluded_vectors={seen.name(name): count for name, count in excluded_vectors(view)},
        update_queue=queue if seen.level > 2 else None,
    )


def _optimizers_status(seen: _Seen, running: Running) -> OptimizersStatus:
    status = describe(running).optimizer_status
    return OptimizersFailed(error=_HIDDEN) if seen.names is not None and status != "ok" else status


def _optimizations(seen: _Seen, running: Running) -> OptimizerTelemetry:
    assert running.optimizer is not None
    history = running.optimizer.history
    ended = sum(history.counts.values())
    failed = sum(count for (_, outcome), count in history.counts.items() if outcome == "failed")
    return OptimizerTelemetry(
        status=_optimizers_status(seen, running),
        optimizations=OperationDurationStatistics(
            count=ended,
            fail_count=failed or None,
            avg_duration_micros=history.duration_s * 1e6 / ended if ended else None,
            total_duration_micros=round(history.duration_s * 1e6) if ended else None,
        ),
        log=[_tracker(seen, build) for build in (*history.running, *history.ended)],
    )


def _tracker(seen: _Seen, build: Build) -> TrackerTelemetry:
    failed = isinstance(build.status, OptimizationFailed)
    return TrackerTelemetry(
        name=build.optimizer,
        uuid=build.uuid,
        segment_ids=[segment.number for segment in build.inputs],
        segment_uuids=[segment.uuid for segment in build.inputs],
        status=OptimizationFailed(error=_HIDDEN) if failed and seen.names is not None else build.status,
        start_at=build.whole.started_at,
        end_at=build.whole.finished_at,
    )


def _segment(seen: _Seen, view: View, slot: SlotView) -> SegmentTelemetry:
    by_name = {
        name: slot.rows[vector.vector_id] for name, vector in view.vectors.items() if vector.vector_id in slot.rows
    }
    data = {seen.name(name): _vector_data(rows) for name, rows in by_name.items()}
    entries = () if slot.sealed is None else slot.sealed.manifest.vectors
    graphs = {entry.name: entry.graph for entry in entries}
    in_memory = slot.sealed is None
    held = sum(rows.rows.matrix.nbytes for rows in by_name.values()) if in_memory else 0
    return SegmentTelemetry(
        info=SegmentInfo(
            uuid=slot.uuid,
            segment_type="indexed" if any(entry.num_indexed_vectors for entry in data.values()) else "plain",
            num_vectors=sum(entry.num_vectors for entry in data.values()),
            num_points=slot.points_count,
            num_indexed_vectors=sum(entry.num_indexed_vectors for entry in data.values()),
            num_deleted_vectors=sum(entry.num_deleted_vectors for entry in data.values()),
            vectors_size_bytes=slot.size_bytes,
            payloads_size_bytes=0,
            ram_usage_bytes=held,
            disk_usage_bytes=0 if slot.sealed is None else slot.sealed.manifest.size_bytes,
            is_appendable=in_memory and not slot.frozen,
            index_schema={},
            vector_data=data,
        ),
        config=SegmentConfig(
            vector_data={
                seen.name(name): _vector_config(view.config, name, rows, graphs.get(name))
                for name, rows in by_name.items()
            },
            payload_storage_type=PayloadStorageType(type="mmap" if view.payloads is None else "in_ram_mmap"),
        ),
        vector_index_searches=[],
        payload_field_indices=[],
    )


def _vector_data(rows: RowsView) -> VectorDataInfo:
    """Dead rows are counted one by one, also where several made one multivector."""
    vectors = points_of(rows)
    return VectorDataInfo(
        num_vectors=vectors,
        num_indexed_vectors=0 if rows.rows.graph is None else vectors,
        num_deleted_vectors=rows.length - rows.alive_count,
    )


def _vector_config(config: CollectionConfig, name: str, rows: RowsView, graph: GraphEntry | None) -> VectorDataConfig:
    space = rows.rows.space
    index: PlainIndex | HnswIndex = PlainIndex(options={})
    if graph is not None:
        wanted = ResolvedHnswConfig(**msgspec.structs.asdict(config.hnsw_for(name)))
        built = msgspec.structs.replace(wanted, m=graph.m, ef_construct=graph.ef_construct)
        index = HnswIndex(options=built)
    return VectorDataConfig(
        size=space.dim,
        distance=space.distance,
        storage_type="Mmap" if rows.rows.cold else "Memory",
        index=index,
        datatype=None if space.datatype is Datatype.FLOAT32 else space.datatype,
    )


def _config(seen: _Seen, config: CollectionConfig) -> CollectionConfig:
    """The configuration, without names and metadata where these are not to be told."""
    if seen.names is None:
        return config
    params = config.params
    vectors = params.vectors
    if not isinstance(vectors, VectorParams):
        vectors = {seen.name(name): vector for name, vector in vectors.items()}
    sparse = params.sparse_vectors
    sparse = None if sparse is None else {seen.name(name): vector for name, vector in sparse.items()}
    return msgspec.structs.replace(
        config,
        params=msgspec.structs.replace(params, vectors=vectors, sparse_vectors=sparse),
        strict_mode_config=None,
        metadata=None,
    )
