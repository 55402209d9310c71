"""What a sealed segment is to look like: a pure function of the configuration and of how many rows it has.

A recipe stands in the manifest as it was asked for. The optimizer compares it with what it would ask for now, so that a
segment is rebuilt when the configuration changed, and never because of what the builder made of it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from vdb.config import HnswConfig, Memory
from vdb.model.collection_config import CollectionConfig
from vdb.model.quantization_config import (
    BinaryQuantizationConfig,
    ProductQuantizationConfig,
    QuantizationConfig,
    ScalarQuantizationConfig,
)
from vdb.model.vector_params import VectorParams
from vdb.segment.hnsw import metric_of

# Rows in memory are sealed beyond so many bytes of float32 also where no graph is wanted: memory must end somewhere.
MEMORY_BYTES_MAX: Final = 128 * 2**20
INDEXING_KIB_DEFAULT: Final = 20_000

Quantization = Literal["none", "scalar", "binary", "product"]


class Recipe(msgspec.Struct, frozen=True):
    """One vector name of one segment. ``m`` is 0 where no graph is wanted; ``compression`` is float32 to code bytes.

    ``graph`` is where the graph's file is kept, with the codes in it; ``codes`` the same for codes in a file of theirs.
    """

    m: int
    ef_construct: int
    quantization: Quantization = "none"
    quantile: float | None = None
    compression: int = 1
    matrix: Memory = "cached"
    graph: Memory = "cached"
    codes: Memory = "cached"


def indexing_bytes(config: CollectionConfig) -> int | None:
    """Bytes of float32 vectors above which a graph is built; None where indexing is off."""
    threshold = config.optimizer_config.indexing_threshold
    if threshold == 0 or all(config.hnsw_for(name).m == 0 for name in config.vectors()):
        return None
    return (INDEXING_KIB_DEFAULT if threshold is None else threshold) * 1024


def memmap_bytes(config: CollectionConfig) -> int | None:
    """Bytes of float32 vectors from which on a segment's matrix is cold; None where there is no such limit."""
    threshold = config.optimizer_config.memmap_threshold
    return threshold * 1024 if threshold else None


def sealing_bytes(config: CollectionConfig) -> int:
    """Bytes of float32 vectors in memory above which they are sealed, with a graph or without one."""
    limits = (indexing_bytes(config), memmap_bytes(config), MEMORY_BYTES_MAX)
    return min(limit for limit in limits if limit is not None)


def recipe_for(config: CollectionConfig, name: str, rows: int, present: Recipe | None = None) -> Recipe:
    """The recipe of ``rows`` vectors called ``name``; ``present`` is that of the one segment they are in, if they are.

    Each token of a multivector is a row, in the sizes that thresholds are about and in the graph.
    A graph that is there stays, also where the thresholds would not ask for it any more: only ``m: 0`` removes it.
    """
    params, hnsw = config.vector(name), config.hnsw_for(name)
    size_bytes = rows * params.size * 4
    quantization = config.quantization_for(name)
    limit = memmap_bytes(config)
    matrix: Memory = "cold" if params.cold or (limit is not None and size_bytes >= limit) else "cached"
    codes = matrix if quantization is None else _codes_memory(quantization, matrix)
    graph = hnsw.memory or ("cold" if hnsw.on_disk else "cached")
    kind, quantile, compression = _method(quantization)
    m, ef_construct = _graph(config, params, hnsw, name, size_bytes, present)
    return Recipe(
        m=m,
        ef_construct=ef_construct,
        quantization=kind,
        quantile=quantile,
        compression=compression,
        matrix=matrix,
        graph=graph if kind in ("none", "product") else max(graph, codes, key=_WARMTH.index),
        codes=codes,
    )


def _graph(
    config: CollectionConfig, params: VectorParams, hnsw: HnswConfig, name: str, size_bytes: int, present: Recipe | None
) -> tuple[int, int]:
    """``m`` and ``ef_construct``: zeros where no graph is wanted."""
    if not hnsw.m or metric_of(params.space(name)) is None:
        return 0, 0
    threshold = indexing_bytes(config)
    # Where the threshold is what seals, all that is sealed is indexed, also a tail that is smaller.
    wanted = threshold is not None and (threshold <= sealing_bytes(config) or size_bytes > threshold)
    if wanted:
        return hnsw.m, hnsw.ef_construct
    return (present.m, present.ef_construct) if present is not None else (0, 0)


_WARMTH: Final[tuple[Memory, ...]] = ("cold", "cached", "pinned")


def _codes_memory(quantization: QuantizationConfig, matrix: Memory) -> Memory:
    method = quantization.method
    return method.memory or ("pinned" if method.always_ram else matrix)


def _method(quantization: QuantizationConfig | None) -> tuple[Quantization, float | None, int]:
    match None if quantization is None else quantization.method:
        case ScalarQuantizationConfig(quantile=quantile):
            return "scalar", quantile, 4
        case BinaryQuantizationConfig():
            return "binary", None, 32
        case ProductQuantizationConfig(compression=compression):
            return "product", None, int(compression.removeprefix("x"))
        case _:
            return "none", None, 1
