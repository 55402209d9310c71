"""Sealed segments from arrays, and searches in them, without a collection around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from pyroaring import BitMap

from tests.collection.conftest import config_of
from vdb.model.collection_config import CollectionConfig
from vdb.model.queries import SearchParams
from vdb.model.vectors import Datatype, Distance, Floats, VectorSpace, prepare_block
from vdb.query.deadline import Deadline
from vdb.query.nearest import Scored, search_many
from vdb.query.view import VectorView, View
from vdb.segment.builder import Job, JobInput, JobVector, Previous, build
from vdb.segment.distance import goodness, top
from vdb.segment.manifest import MANIFEST_NAME
from vdb.segment.recipe import Recipe, recipe_for
from vdb.segment.rows import RowNumbers
from vdb.segment.sealed import MaskedRows, SealedSegment, open_segment

QUANTIZATIONS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary": {"binary": {}},
    "x4": {"product": {"compression": "x4"}},
    "x16": {"product": {"compression": "x16"}},
    "x64": {"product": {"compression": "x64"}},
}


def clustered(rows: int, dim: int, *, seed: int = 1, clusters: int = 24, offset: float = 0.0) -> Floats:
    """Vectors around some centres, of all lengths: what embeddings look like, more than noise does."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(clusters, dim))
    values = centres[random.integers(clusters, size=rows)] + 0.6 * random.normal(size=(rows, dim))
    return (values + offset).astype(np.float32)


def configured(
    space: VectorSpace, *, threshold_kib: int = 10, optimizers: dict[str, Any] | None = None, **more: Any
) -> CollectionConfig:
    """A collection with this vector only, whose graphs are used from ``threshold_kib`` on."""
    vector = {"size": space.dim, "distance": space.distance.value, "datatype": space.datatype.value}
    hnsw = {"full_scan_threshold": threshold_kib} | more.pop("hnsw_config", {})
    return config_of(
        vectors=vector | more.pop("vector", {}),
        hnsw_config=hnsw,
        optimizers_config={"indexing_threshold": 1} | (optimizers or {}),
        **more,
    )


def build_segment(
    folder: Path, space: VectorSpace, block: Floats, recipe: Recipe, *, previous: Previous | None = None
) -> SealedSegment:
    """Builds in this process. ``block`` holds stored values."""
    folder.mkdir()
    matrix, nums = folder.parent / f"{folder.name}.input", folder.parent / f"{folder.name}.nums"
    block.astype(np.float32).tofile(matrix)
    np.arange(len(block), dtype="<u4").tofile(nums)
    source = JobInput(str(matrix), "<f4", str(nums), len(block))
    vector = JobVector(
        vector_id=0,
        name=space.name,
        dim=space.dim,
        distance=space.distance.value,
        datatype=space.datatype.value,
        recipe=recipe,
        inputs=(source,) if len(block) else (),
        previous=previous,
    )
    build(Job(str(folder), (vector,)))
    return reopened(folder)


def reopened(folder: Path) -> SealedSegment:
    return open_segment(1, folder, 1, (folder / MANIFEST_NAME).read_text(), verify_files=True)


@dataclass(frozen=True)
class Described:
    """What a search asks of a View beside the vectors."""

    config: CollectionConfig
    points_count: int


class World:
    """One segment of prepared vectors under a configuration."""

    def __init__(self, folder: Path, space: VectorSpace, block: Floats, config: CollectionConfig) -> None:
        self.space, self.config = space, config
        self.block = prepare_block(space, block)
        self.segment = build_segment(folder, space, self.block, recipe_for(config, space.name, len(block)))
        self.masked = MaskedRows(self.segment.rows[0])
        self.dead = np.zeros(len(block), dtype=np.bool_)

    def kill(self, points: RowNumbers) -> None:
        """Points are called as their places in ``block``."""
        self.masked.kill(np.flatnonzero(np.isin(self.segment.rows[0].nums, points)))
        self.dead[points] = True

    def reopen(self) -> None:
        self.segment = reopened(self.segment.folder)
        self.masked = MaskedRows(self.segment.rows[0])
        if self.dead.any():
            self.kill(np.flatnonzero(self.dead))

    def search(self, query: Floats, count: int = 10, allowed: Sequence[int] | None = None, **params: Any) -> Scored:
        return self.search_many(query[None], count, allowed, **params)[0]

    def search_many(
        self, queries: Floats, count: int = 10, allowed: Sequence[int] | None = None, **params: Any
    ) -> list[Scored]:
        vector = VectorView(0, self.space, (self.masked.view(),))
        view = cast(View, Described(self.config, int((~self.dead).sum())))
        given = msgspec.convert(params, SearchParams)
        among = None if allowed is None else BitMap(allowed)
        return search_many(view, vector, prepare_block(self.space, queries), count, given, Deadline(), among, threads=2)

    def exact(self, query: Floats, count: int = 10, allowed: Sequence[int] | None = None) -> tuple[RowNumbers, Floats]:
        """The truth by numpy: row numbers, and the goodness of all."""
        values = goodness(self.space, prepare_block(self.space, query[None, :])[0], self.block)
        among = np.zeros(len(values), dtype=np.bool_)
        among[slice(None) if allowed is None else list(allowed)] = True
        return top(np.where(among & ~self.dead, values, -np.inf), count), values

    def recall(self, queries: Floats, count: int = 10, allowed: Sequence[int] | None = None, **params: Any) -> float:
        """Mean share of the nearest that is found; what is as near as the last of them counts."""
        shares = []
        for query in queries:
            best, values = self.exact(query, count, allowed)
            found = self.search(query, count, allowed, **params).nums
            assert len(set(found.tolist())) == len(found) == len(best)
            assert not self.dead[found].any()
            shares.append(float(np.mean(values[found] >= values[best[-1]] - 1e-6)))
        return float(np.mean(shares))


def space_of(distance: Distance, dim: int, datatype: Datatype = Datatype.FLOAT32) -> VectorSpace:
    return VectorSpace("", dim, distance, datatype)
