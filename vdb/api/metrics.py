"""Metrics in the text format of Prometheus, under Qdrant's names where they mean the same; vdb's own begin with vdb_.

The loop takes references to what there is, a worker thread makes numbers and text of it: Views, slots and histories do
not change under a reader.

Guarantees: the number of series is bounded. Endpoints are routes; collections beyond ``COLLECTIONS_MAX`` (in the order
of their names) have no series of their own, and ``vdb_collections_unlisted`` tells how many these are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import trio

from vdb import __version__
from vdb.api import process
from vdb.api.anonymous import Anonymous
from vdb.api.collections import describe
from vdb.api.hardware import Meter
from vdb.api.routing import Call, Plain, Routes
from vdb.api.statistics import BUCKETS_S, RouteSnapshot, Series, series_of, without_collections
from vdb.collection.recovery import DATABASE_NAME
from vdb.hosting import Running
from vdb.model.params import TimeoutSeconds
from vdb.query.nearest import indexed_only_segments
from vdb.query.view import View
from vdb.snapshots.activity import SnapshotActivity

if TYPE_CHECKING:
    from prometheus_client.core import Metric

routes = Routes("Service")

COLLECTIONS_MAX: Final = 1_000  # about 30 series each
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STATUSES: Final = ("green", "yellow", "grey", "red")

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


class MetricsParams(msgspec.Struct, frozen=True, kw_only=True):
    """``per_collection`` tells requests apart by collection; ``anonymize`` replaces names by hashes."""

    anonymize: bool = False
    per_collection: bool = False
    timeout: Annotated[TimeoutSeconds, msgspec.Meta(description="Seconds.")] = 60


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the loop hands to the thread."""

    started_at: float  # a reading of time.monotonic()
    collections: Sequence[Running]
    requests: Sequence[RouteSnapshot]
    hardware: Mapping[str, Meter] | None
    snapshots: SnapshotActivity
    search_threads: int
    searches_waiting: int
    per_collection: bool
    names: Anonymous | None


@routes.add(
    "GET",
    "/metrics",
    summary="Metrics for Prometheus",
    access="read",
    params=MetricsParams,
    result=str,
    enveloped=False,
)
async def metrics(call: Call) -> Plain:
    params: MetricsParams = call.params
    services = call.services
    registry, observer = services.registry, services.observer
    seen = _Seen(
        started_at=services.started_at,
        collections=[registry.running(name) for name in registry.names()],
        requests=observer.statistics.snapshot(),
        hardware=dict(observer.hardware) if observer.reports_hardware else None,
        snapshots=services.snapshots.activity,
        search_threads=registry.threads.count,
        searches_waiting=registry.threads.waiting,
        per_collection=params.per_collection,
        names=services.observer.anonymous if params.anonymize else None,
    )
    text = await trio.to_thread.run_sync(_text, seen)
    return Plain(text, content_type=CONTENT_TYPE)


def _text(seen: _Seen) -> bytes:
    # Imported here: a server that nobody scrapes does without its megabytes.
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterable[Metric]:
            yield from _server(seen)
            yield from _requests(seen)
            yield from _process()
            yield from _collections(seen)

    collector = CollectorRegistry(auto_describe=False)
    collector.register(Everything())
    return generate_latest(collector)


def _gauge(name: str, help: str, samples: Iterable[Sample]) -> Iterator[Metric]:
    """Nothing where there is no sample."""
    from prometheus_client.core import GaugeMetricFamily

    yield from _family(GaugeMetricFamily(name, help), name, samples)


def _counter(name: str, help: str, samples: Iterable[Sample]) -> Iterator[Metric]:
    """``name`` ends with ``_total``."""
    from prometheus_client.core import CounterMetricFamily

    yield from _family(CounterMetricFamily(name.removesuffix("_total"), help), name, samples)


def _untyped(name: str, help: str, samples: Iterable[Sample]) -> Iterator[Metric]:
    from prometheus_client.core import UntypedMetricFamily

    yield from _family(UntypedMetricFamily(name, help), name, samples)


def _family(family: Metric, name: str, samples: Iterable[Sample]) -> Iterator[Metric]:
    for labels, value in samples:
        family.add_sample(name, dict(labels), value)
    if family.samples:
        yield family


def _known(value: float | None) -> list[Sample]:
    return [] if value is None else [({}, value)]


def _server(seen: _Seen) -> Iterator[Metric]:
    yield from _gauge("app_info", "name and version of the server", [({"name": "vdb", "version": __version__}, 1)])
    yield from _gauge("app_status_recovery_mode", "1 if only metadata of collections is loaded", [({}, 0)])
    yield from _gauge("cluster_enabled", "1 if the server is part of a cluster", [({}, 0)])
    yield from _gauge("vdb_uptime_seconds", "seconds since the start", [({}, time.monotonic() - seen.started_at)])
    yield from _gauge("vdb_search_threads", "threads that search", [({}, seen.search_threads)])
    yield from _gauge("vdb_searches_waiting", "reads that wait for a thread", [({}, seen.searches_waiting)])


def _requests(seen: _Seen) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    series = series_of(seen.requests)
    durations = dict(series) if seen.per_collection else without_collections(series)
    labelled = [(_labels(seen, series), found) for series, found in durations.items() if found.count]
    failed = [series.status >= 400 for series, found in durations.items() if found.count]
    yield from _counter(
        "rest_responses_total", "number of responses", [(labels, found.count) for labels, found in labelled]
    )
    yield from _counter(
        "rest_responses_fail_total",
        "number of responses with a status of 400 or above",
        [(labels, found.count) for (labels, found), fails in zip(labelled, failed, strict=True) if fails],
    )
    for name, help, values in (
        ("avg", "mean", [found.mean_s for _, found in labelled]),
        ("min", "shortest", [found.min_s for _, found in labelled]),
        ("max", "longest", [found.max_s for _, found in labelled]),
    ):
        samples = [(labels, value) for (labels, _), value in zip(labelled, values, strict=True)]
        yield from _gauge(f"rest_responses_{name}_duration_seconds", f"{help} duration of responses", samples)
    if not labelled:
        return
    name = "rest_responses_duration_seconds"
    histogram = HistogramMetricFamily(name, "durations of responses")
    for labels, found in labelled:
        below = 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), found.counts, strict=True):
            below += count
            histogram.add_sample(f"{name}_bucket", {**labels, "le": bound}, below)
        histogram.add_sample(f"{name}_sum", labels, found.total_s)
        histogram.add_sample(f"{name}_count", labels, below)
    yield histogram


def _labels(seen: _Seen, series: Series) -> dict[str, str]:
    labels = {"method": series.method, "endpoint": series.endpoint, "status": str(series.status)}
    if seen.per_collection:
        labels["collection"] = "" if series.collection is None else _name(seen, series.collection)
    return labels


def _name(seen: _Seen, name: str) -> str:
    return name if seen.names is None else seen.names.text(name)


def _process() -> Iterator[Metric]:
    faults = process.faults()
    for name, help, value in (
        ("memory_resident_bytes", "memory that the process holds, mapped files among it", process.resident_bytes()),
        ("memory_active_bytes", "memory that the process holds without mapped files", process.anonymous_bytes()),
        ("vdb_memory_limit_bytes", "memory that the process may take: cgroup or machine", process.memory_bytes()),
        ("process_threads", "threads of the process", process.threads()),
        ("process_open_mmaps", "memory maps of the process", process.memory_maps()),
        ("system_max_mmaps", "memory maps that a process may have", process.memory_maps_max()),
        ("process_open_fds", "open file descriptors", process.open_files()),
        ("process_max_fds", "file descriptors that the process may have", process.open_files_max()),
    ):
        yield from _gauge(name, help, _known(value))
    for name, help, total in (
        ("process_minor_page_faults_total", "page faults without reading", None if faults is None else faults.minor),
        (
            "process_major_page_faults_total",
            "page faults that read from the disk",
            None if faults is None else faults.major,
        ),
        ("process_cpu_seconds_total", "CPU time of the process without its builders", process.cpu_s()),
    ):
        yield from _counter(name, help, _known(total))


def _collections(seen: _Seen) -> Iterator[Metric]:
    yield from _gauge("collections_total", "number of collections", [({}, len(seen.collections))])
    unlisted = max(0, len(seen.collections) - COLLECTIONS_MAX)
    yield from _gauge("vdb_collections_unlisted", "collections without metrics of their own", [({}, unlisted)])
    found: dict[tuple[str, str, bool], list[Sample]] = {}
    vectors = 0
    for running in seen.collections:
        if running.collection is not None:
            vectors += sum(count for _, count in vectors_by_name(running.collection.view))
    yield from _gauge("collections_vector_total", "number of vectors in all collections", [({}, vectors)])
    for running in seen.collections[:COLLECTIONS_MAX]:
        name = _name(seen, running.entry.name)
        for metric, help, labels, value in _of_collection(seen, running, name):
            found.setdefault((metric, help, metric.endswith("_total")), []).append((labels, value))
    for (metric, help, counts), samples in found.items():
        # Qdrant's counters of hardware lack the ending that makes a counter.
        untyped = metric.startswith("collection_hardware_metric_")
        yield from (_untyped if untyped else _counter if counts else _gauge)(metric, help, samples)


def _of_collection(seen: _Seen, running: Running, name: str) -> Iterator[tuple[str, str, Labels, float]]:
    """``(name, help, labels, value)``."""
    label = {"id": name}
    collection, optimizer = running.collection, running.optimizer
    broken = collection is None or optimizer is None
    status = "red" if broken else describe(running).status
    for known in STATUSES:
        yield "vdb_collection_status", "1 for the status that it has", {**label, "status": known}, known == status
    if collection is None or optimizer is None:
        return
    view, slots, history = collection.view, collection.slots, optimizer.history
    yield "collection_points", "number of points", label, view.points_count
    for vector, count in vectors_by_name(view):
        shown = {"collection": name, "vector": vector if seen.names is None else seen.names.text(vector)}
        yield "collection_vectors", "number of vectors by name", shown, count
    for vector, count in excluded_vectors(view):
        shown = {**label, "vector": vector if seen.names is None else seen.names.text(vector)}
        yield "collection_indexed_only_excluded_points", "points that indexed_only leaves out", shown, count
    yield "collection_running_optimizations", "segments that are being built", label, len(history.running)
    yield "collection_update_queue_length", "operations that wait to be written", label, len(collection.actor.mailbox)
    sealed = sum(slot.sealed is not None for slot in slots)
    for kind, count in (("sealed", sealed), ("memory", len(slots) - sealed)):
        yield "vdb_collection_segments", "number of segments", {**label, "kind": kind}, count
    yield (
        "vdb_collection_segment_bytes",
        "bytes of segment files",
        label,
        sum(slot.sealed.manifest.size_bytes for slot in slots if slot.sealed is not None),
    )
    yield (
        "vdb_collection_deleted_rows",
        "rows of segments whose point is gone or was written again",
        label,
        sum(rows.length - rows.alive_count for slot in slots for rows in slot.rows.values()),
    )
    yield (
        "vdb_collection_indexed_vectors",
        "vectors that a graph covers",
        label,
        describe(running).indexed_vectors_count,
    )
    yield "vdb_collection_field_indexes", "field indexes that answer", label, len(view.fields)
    yield "vdb_collection_field_indexes_building", "field indexes that are being built", label, len(view.building)
    yield "vdb_collection_operation", "number of the newest operation", label, view.seq
    yield "vdb_collection_log_bytes", "bytes of operations that the log keeps", label, collection.actor.log_bytes
    for suffix, metric, help in (
        ("", "vdb_collection_database_bytes", "bytes of the SQLite file"),
        ("-wal", "vdb_collection_wal_bytes", "bytes of SQLite's write-ahead log"),
    ):
        size = _file_bytes(collection.folder / f"{DATABASE_NAME}{suffix}")
        if size is not None:
            yield metric, help, label, size
    for (kind, outcome), count in sorted(history.counts.items()):
        shown = {**label, "optimizer": kind, "outcome": outcome}
        yield "vdb_collection_optimizations_total", "optimizations that ended", shown, count
    yield "vdb_collection_optimization_seconds_total", "time of optimizations", label, history.duration_s
    snapshots, own = seen.snapshots, running.entry.name
    yield "snapshot_creation_running", "snapshots that are being made", label, snapshots.creating[own]
    yield "snapshot_recovery_running", "recoveries from a snapshot under way", label, snapshots.recovering[own]
    yield "snapshot_created_total", "snapshots made since the start", label, snapshots.created[own]
    meter = None if seen.hardware is None else seen.hardware.get(own, Meter())
    if meter is not None:
        usage = meter.usage()
        for field in usage.__struct_fields__:
            yield f"collection_hardware_metric_{field}", f"{field} of requests", label, getattr(usage, field)


def vectors_by_name(view: View) -> Iterator[tuple[str, int]]:
    """How many vectors there are of each name, a multivector counting once."""
    for name, vector in view.vectors.items():
        multi = vector.space.multi
        yield name, len(view.nums_with_vector(name)) if multi else sum(rows.alive_count for rows in vector.segments)
    for name, sparse in view.sparse.items():
        yield name, len(sparse.index.points)


def excluded_vectors(view: View) -> Iterator[tuple[str, int]]:
    """By vector name, what a search with ``indexed_only`` does not look at."""
    for name, vector in view.vectors.items():
        searched = sum(rows.alive_count for rows in indexed_only_segments(view, vector))
        yield name, sum(rows.alive_count for rows in vector.segments) - searched


def _file_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
