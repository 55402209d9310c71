"""Strict mode: every limit that a collection sets, held before a request is carried out.

Guarantees
    A collection without strict mode costs a request two look-ups.
    What is refused changed nothing; a limit that was changed holds for the next request.
    Sizes that take a walk through a table are measured in a search thread, and again only when writes came in between;
    large ones with at most ``MEASURING_SHARE`` of the time spent on it, so that they may be some seconds behind.
Assumes
    One task at a time calls it: the loop's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from vdb.api import process
from vdb.api.asked import Reading, Writing, reading, writing
from vdb.api.rate_limit import RateLimiter
from vdb.collection.collection import Collection
from vdb.config import StrictModeMultivector, StrictModeSparse
from vdb.errors import BadRequest, StrictModeViolation
from vdb.model.conditions import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchAny,
    MatchExcept,
    clauses,
    subfilter,
)
from vdb.model.field_index import CreateFieldIndex, PayloadFieldSchema
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, parse_path
from vdb.model.needed_indexes import missing_indexes
from vdb.model.params import ReadParams
from vdb.model.strict_mode import StrictModeConfig, enforced
from vdb.query.view import View
from vdb.registry import Registry
from vdb.storage import points
from vdb.storage.sizes import payload_bytes, vector_bytes

MEASURING_SHARE: Final = 0.05  # of the time: what a large collection is measured for
_CHEAP_S: Final = 0.005  # a measurement that took less is made whenever writes came in between
_MEMORY_READ_S: Final = 1.0  # seconds for which the process's memory is taken to be what it was


@dataclass(slots=True)
class _Measured:
    """Bytes of payloads and of sparse vectors at ``seq``."""

    seq: int
    payload_bytes: int
    sparse_bytes: int
    took_s: float
    at: float


@dataclass(slots=True)
class _Kept:
    """What is remembered of one collection between requests."""

    read: RateLimiter | None = None
    write: RateLimiter | None = None
    measured: _Measured | None = None


@dataclass(slots=True)
class StrictMode:
    """Owned by the application."""

    registry: Registry
    _kept: WeakKeyDictionary[Collection, _Kept] = field(default_factory=WeakKeyDictionary)
    _resident_percent: float | None = None
    _resident_read_at: float = float("-inf")

    def limits(self, name: str) -> StrictModeConfig | None:
        """The limits that hold for a collection or alias; None where there is none of that name, or none are set."""
        if not self.registry.exists(name):
            return None
        collection = self.registry.running(name).collection
        return None if collection is None else enforced(collection.view.config.strict_mode_config)

    async def check(self, limits: StrictModeConfig, name: str, params: Any, body: Any) -> None:
        """Raises StrictModeViolation, and Busy where a rate is exceeded."""
        collection = self.registry.get(name)
        kept = self._kept.setdefault(collection, _Kept())
        timeout_s = getattr(params, "timeout", None)
        _check_limit("timeout", timeout_s, limits.max_timeout)
        if isinstance(params, ReadParams):
            asked = reading(body)
            _check_reading(limits, collection.view, asked)
            kept.read = _limiter("Read", kept.read, limits.read_rate_limit)
            if kept.read is not None:
                kept.read.take(asked.cost)
            return
        if isinstance(body, CreateFieldIndex):
            _check_index(limits, collection.view, body)
            self._check_memory(limits)
            cost = 1
        else:
            write = writing(body)
            cost = write.cost
            _check_writing(limits, collection.view, write)
            if write.consumes:
                self._check_memory(limits)
                await self._check_sizes(limits, collection, kept, write.ids)
        kept.write = _limiter("Write", kept.write, limits.write_rate_limit)
        if kept.write is not None:
            kept.write.take(cost)

    def _check_memory(self, limits: StrictModeConfig) -> None:
        most = limits.max_resident_memory_percent
        if most is None:
            return
        now = time.monotonic()
        if now - self._resident_read_at > _MEMORY_READ_S:
            self._resident_percent, self._resident_read_at = process.resident_percent(), now
        if self._resident_percent is not None and self._resident_percent > most:
            raise StrictModeViolation(
                f"Resident memory is at {self._resident_percent:.0f}% of what is available, more than {most}%",
                "Delete points, or raise max_resident_memory_percent.",
            )

    async def _check_sizes(
        self, limits: StrictModeConfig, collection: Collection, kept: _Kept, ids: Sequence[PointId]
    ) -> None:
        view = collection.view
        if limits.max_points_count is not None and view.points_count + len(ids) > limits.max_points_count:
            new = await _count_new(collection, ids)
            if new and view.points_count + new > limits.max_points_count:
                raise StrictModeViolation(
                    f"Max points count limit of {limits.max_points_count} reached: "
                    f"there are {view.points_count}, and {new} would be added",
                    "Delete points, or raise max_points_count.",
                )
        if limits.max_collection_vector_size_bytes is not None:
            size = _dense_bytes(view)
            if view.sparse:
                size += (await self._measure(collection, kept)).sparse_bytes
            _check_size("vector", size, limits.max_collection_vector_size_bytes)
        if limits.max_collection_payload_size_bytes is not None:
            size = (await self._measure(collection, kept)).payload_bytes
            _check_size("payload", size, limits.max_collection_payload_size_bytes)

    async def _measure(self, collection: Collection, kept: _Kept) -> _Measured:
        measured, now = kept.measured, time.monotonic()
        if measured is not None:
            recent = measured.took_s > _CHEAP_S and now - measured.at < measured.took_s / MEASURING_SHARE
            if measured.seq == collection.view.seq or recent:
                return measured

        def measure(view: View, connection: sqlite3.Connection) -> _Measured:
            started = time.monotonic()
            sparse = sum(vector_bytes(connection, sparse.vector_id) for sparse in view.sparse.values())
            payloads = payload_bytes(connection)
            ended = time.monotonic()
            return _Measured(view.seq, payloads, sparse, ended - started, ended)

        kept.measured = await collection.read(measure)
        return kept.measured


def refuse_unenforceable(config: StrictModeConfig | None) -> None:
    """Raises BadRequest for a limit that cannot be held on this machine, by its name."""
    if config is not None and config.max_resident_memory_percent is not None and process.resident_percent() is None:
        raise BadRequest(
            "strict_mode_config.max_resident_memory_percent is not supported: "
            "this operating system does not tell how much memory a process holds"
        )


def schemas_of(view: View) -> Mapping[JsonPath, PayloadFieldSchema]:
    """The schema of every field index, those that are being built among them."""
    schemas = {**view.building, **{path: snapshot.schema for path, snapshot in view.fields.items()}}
    return {parse_path(path): schema for path, schema in schemas.items()}


def _check_reading(limits: StrictModeConfig, view: View, asked: Reading) -> None:
    _check_limit("limit", asked.limit, limits.max_query_limit)
    _check_limit("search batch size", asked.searches, limits.search_max_batchsize)
    _check_filters(limits, asked.filters)
    if limits.unindexed_filtering_retrieve is False:
        _check_indexed(asked.filters, view)
    for params in asked.params:
        _check_limit("hnsw_ef", params.hnsw_ef, limits.search_max_hnsw_ef)
        if params.exact and limits.search_allow_exact is False:
            raise StrictModeViolation("Exact search disabled", "Set exact=false.")
        oversampling = None if params.quantization is None else params.quantization.oversampling
        _check_limit("oversampling", oversampling, limits.search_max_oversampling)


def _check_writing(limits: StrictModeConfig, view: View, asked: Writing) -> None:
    for size in asked.batches:
        _check_limit("upsert batch size", size, limits.upsert_max_batchsize)
    _check_filters(limits, asked.filters)
    if limits.unindexed_filtering_update is False:
        _check_indexed(asked.filters, view)
    if limits.multivector_config or limits.sparse_config:
        for vectors in asked.vectors:
            _check_vectors(vectors, limits.multivector_config or {}, limits.sparse_config or {})


def _check_vectors(
    vectors: Iterable[tuple[str, Any]],
    multivectors: Mapping[str, StrictModeMultivector],
    sparse: Mapping[str, StrictModeSparse],
) -> None:
    for name, value in vectors:
        match value:
            case {"indices": list() as indices} if name in sparse:
                _check_limit(f"length of sparse vector {name}", len(indices), sparse[name].max_length)
            case [list(), *_] if name in multivectors:
                _check_limit(f"vectors in multivector {name}", len(value), multivectors[name].max_vectors)


def _check_filters(limits: StrictModeConfig, filters: Iterable[Filter]) -> None:
    if limits.filter_max_conditions is None and limits.condition_max_size is None:
        return
    for filter in filters:
        leaves = list(_leaves(filter))
        _check_limit("filter conditions", len(leaves), limits.filter_max_conditions)
        _check_limit("condition size", max(map(_size, leaves), default=0), limits.condition_max_size)


def _leaves(filter: Filter) -> Iterator[Condition]:
    """The conditions that hold no others."""
    for conditions in clauses(filter):
        for condition in conditions:
            inner = subfilter(condition)
            if inner is None:
                yield condition
            else:
                yield from _leaves(inner)


def _size(condition: Condition) -> int:
    """How many values it compares with."""
    match condition:
        case HasIdCondition(has_id=ids):
            return len(ids)
        case FieldCondition(match=MatchAny(any=values)) | FieldCondition(match=MatchExcept(except_=values)):
            return len(values)
        case FieldCondition(geo_polygon=polygon) if polygon is not None:
            lines = (polygon.exterior, *(polygon.interiors or ()))
            return sum(len(line.points) for line in lines)
    return 1


def _check_indexed(filters: Iterable[Filter], view: View) -> None:
    for needed in missing_indexes(filters, schemas_of(view)):
        raise StrictModeViolation(
            f'Index required but not found for "{needed.path}" of one of the following types: [{needed}]',
            "Create an index for this key or use a different filter.",
        )


def _check_index(limits: StrictModeConfig, view: View, create: CreateFieldIndex) -> None:
    most = limits.max_payload_index_count
    schemas = schemas_of(view)
    if most is not None and parse_path(create.field_name) not in schemas and len(schemas) >= most:
        raise StrictModeViolation(
            f"Collection already has the maximum number of payload indices ({most})", "Delete an index first."
        )


def _check_limit(what: str, value: float | None, most: float | None) -> None:
    if value is not None and most is not None and value > most:
        raise StrictModeViolation(
            f'Limit exceeded {value:g} > {most:g} for "{what}"', f'Reduce the "{what}" parameter to or below {most:g}.'
        )


def _check_size(what: str, size: int, most: int) -> None:
    if size >= most:
        raise StrictModeViolation(
            f"Max {what} storage size limit of {most} bytes reached: there are {size}", "Delete points, or raise it."
        )


def _limiter(name: str, present: RateLimiter | None, per_minute: int | None) -> RateLimiter | None:
    """The limiter for ``per_minute``: the one there is, unless the limit was changed."""
    if per_minute is None:
        return None
    if present is not None and present.per_minute == per_minute:
        return present
    return RateLimiter(name, per_minute)


async def _count_new(collection: Collection, ids: Sequence[PointId]) -> int:
    """How many of ``ids`` are no points yet."""
    wanted = set(ids)
    if not wanted:
        return 0
    return await collection.read(lambda view, connection: len(wanted) - len(points.find(connection, list(wanted))))


def _dense_bytes(view: View) -> int:
    return sum(
        rows.alive_count * vector.space.dim * vector.space.datatype.dtype.itemsize
        for vector in view.vectors.values()
        for rows in vector.segments
    )
