"""Strict mode: limits that a collection sets to what its clients may ask for."""

from __future__ import annotations

from typing import Annotated

import msgspec

from vdb.model.bounds import Count, CountFromOne


class StrictModeMultivector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    max_vectors: CountFromOne | None = None


class StrictModeSparse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    max_length: CountFromOne | None = None


class StrictModeConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None sets no limit. Rates are operations a minute, ``max_timeout`` is in seconds."""

    enabled: bool | None = None
    max_query_limit: CountFromOne | None = None
    max_timeout: CountFromOne | None = None
    unindexed_filtering_retrieve: bool | None = None
    unindexed_filtering_update: bool | None = None
    search_max_hnsw_ef: Count | None = None
    search_allow_exact: bool | None = None
    search_max_oversampling: float | None = None
    upsert_max_batchsize: Count | None = None
    search_max_batchsize: Count | None = None
    max_collection_vector_size_bytes: Count | None = None
    read_rate_limit: CountFromOne | None = None
    write_rate_limit: CountFromOne | None = None
    max_collection_payload_size_bytes: Count | None = None
    max_points_count: CountFromOne | None = None
    filter_max_conditions: Count | None = None
    condition_max_size: Count | None = None
    multivector_config: dict[str, StrictModeMultivector] | None = None
    sparse_config: dict[str, StrictModeSparse] | None = None
    max_payload_index_count: Count | None = None
    max_resident_memory_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
