"""Searches of sealed segments against brute force: every quantisation with every distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest

from tests.segment.segments import QUANTIZATIONS, Described, World, clustered, configured, space_of
from vdb.model.collection_config import CollectionConfig
from vdb.model.queries import SearchParams
from vdb.model.vectors import Datatype, Distance, Floats
from vdb.query.deadline import Deadline
from vdb.query.nearest import search
from vdb.query.view import VectorView, View
from vdb.segment.appendable import AppendableRows
from vdb.segment.recipe import recipe_for

ROWS: Final = 3_000
DIM: Final = 48
QUERIES: Final = clustered(40, DIM, seed=2)
# At default parameters. Rows of one cluster differ by noise alone, which bits and large groups say little about.
RECALL_MIN: Final = {"none": 0.97, "scalar": 0.95, "binary": 0.75, "x4": 0.9, "x16": 0.85, "x64": 0.7}


def world(tmp_path: Path, distance: Distance, kind: str, block: Floats | None = None, **more: Any) -> World:
    space = space_of(distance, DIM, more.pop("datatype", Datatype.FLOAT32))
    config = configured(space, quantization_config=QUANTIZATIONS[kind], **more)
    return World(tmp_path / "segment", space, clustered(ROWS, DIM) if block is None else block, config)


@pytest.mark.parametrize("distance", Distance)
@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_every_quantisation_finds_neighbours_by_every_distance(tmp_path: Path, kind: str, distance: Distance) -> None:
    there = world(tmp_path, distance, kind)
    assert (there.segment.rows[0].quantised is None) == (kind == "none")
    assert there.recall(QUERIES) >= RECALL_MIN[kind]
    there.reopen()
    assert there.recall(QUERIES) >= RECALL_MIN[kind]
    # What is found has the scores of the originals.
    query = QUERIES[0]
    found, (_, values) = there.search(query), there.exact(query)
    np.testing.assert_allclose(found.goodness, values[found.nums], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distance", Distance)
@pytest.mark.parametrize("kind", [kind for kind in QUANTIZATIONS if kind != "none"])
def test_originals_on_disk_are_ranked_by_codes(tmp_path: Path, kind: str, distance: Distance) -> None:
    """Without a graph, and by filters too, where originals are read for the best candidates only."""
    there = world(tmp_path, distance, kind, vector={"on_disk": True}, hnsw_config={"m": 0})
    rows = there.segment.rows[0]
    assert rows.cold
    assert rows.graph is None
    some = range(0, ROWS, 3)
    assert there.recall(QUERIES) >= RECALL_MIN[kind]
    assert there.recall(QUERIES, allowed=some) >= RECALL_MIN[kind]
    there.kill(np.arange(0, ROWS, 5))
    assert there.recall(QUERIES) >= RECALL_MIN[kind]
    assert there.recall(QUERIES, allowed=some) >= RECALL_MIN[kind]
    assert there.recall(QUERIES, exact=True) == 1.0
    assert there.recall(QUERIES, quantization={"ignore": True}) == 1.0


@pytest.mark.parametrize("kind", ["scalar", "binary", "x16"])
def test_oversampling_rescoring_and_ignoring_do_what_they_say(tmp_path: Path, kind: str) -> None:
    there = world(tmp_path, Distance.COSINE, kind)
    recalls = [there.recall(QUERIES, quantization={"oversampling": factor}) for factor in (1.0, 2.0, 4.0, 16.0)]
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.97
    assert there.recall(QUERIES, quantization={"ignore": True}) >= 0.97
    # Oversampling without bounds is a wide search, no error.
    assert there.recall(QUERIES, quantization={"oversampling": 1e308}) >= recalls[-1]
    unscored = there.recall(QUERIES, quantization={"rescore": False, "oversampling": 4.0})
    assert 0.2 < unscored <= recalls[0] + 0.02
    query = QUERIES[1]
    found, (_, values) = there.search(query, quantization={"rescore": False}), there.exact(query)
    assert not np.array_equal(found.goodness, values[found.nums]), "the scores are those of the codes"
    np.testing.assert_allclose(found.goodness, values[found.nums], atol=0.2)
    assert (np.diff(found.goodness) <= 0).all()


@pytest.mark.parametrize("datatype", [Datatype.FLOAT16, Datatype.UINT8])
@pytest.mark.parametrize("distance", Distance)
@pytest.mark.parametrize("kind", ["none", "scalar", "binary", "x16"])
def test_small_datatypes_work_with_everything(
    tmp_path: Path, kind: str, distance: Distance, datatype: Datatype
) -> None:
    """uint8 vectors are all positive and never normalised."""
    bytes_like = datatype is Datatype.UINT8
    block = clustered(ROWS, DIM) * 20 + 120 if bytes_like else clustered(ROWS, DIM)
    there = world(tmp_path, distance, kind, block.astype(np.float32), datatype=datatype)
    queries = QUERIES * 20 + 120 if bytes_like else QUERIES
    # Products of all-positive vectors are ruled by their lengths, which bits do not have.
    lengths_rule = bytes_like and distance is Distance.DOT and kind == "binary"
    least = 0.2 if lengths_rule else RECALL_MIN[kind] - 0.02
    assert there.recall(queries, quantization={"oversampling": 4.0}) >= least
    assert there.recall(queries, exact=True) == 1.0


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_dead_rows_and_filters_are_left_out_of_graph_searches(tmp_path: Path, kind: str) -> None:
    there = world(tmp_path, Distance.EUCLID, kind)
    there.kill(np.random.default_rng(3).choice(ROWS, ROWS // 3, replace=False))
    assert there.recall(QUERIES) >= RECALL_MIN[kind]
    for share in (2, 10, 100):
        assert there.recall(QUERIES[:10], allowed=range(0, ROWS, share)) >= RECALL_MIN[kind]
    assert len(there.search(QUERIES[0], 10**9).nums) == int((~there.dead).sum())


def test_wider_searches_find_more(tmp_path: Path) -> None:
    there = world(tmp_path, Distance.EUCLID, "none", hnsw_config={"m": 4, "ef_construct": 8})
    recalls = [there.recall(QUERIES, hnsw_ef=ef) for ef in (20, 400)]
    assert recalls[0] < recalls[1]
    assert there.recall(QUERIES, exact=True) == 1.0


def test_a_small_segment_is_compared_row_by_row(tmp_path: Path) -> None:
    there = world(tmp_path, Distance.DOT, "none", threshold_kib=10_000)
    assert there.segment.rows[0].graph is not None
    assert there.recall(QUERIES) == 1.0


def test_the_recipe_is_the_manifests(tmp_path: Path) -> None:
    there = world(tmp_path, Distance.DOT, "x16", vector={"on_disk": True})
    (entry,) = there.segment.manifest.vectors
    assert entry.recipe == recipe_for(there.config, "", ROWS)
    assert entry.recipe.matrix == "cold"


def test_indexed_only_leaves_out_what_waits_for_a_graph(tmp_path: Path) -> None:
    """Small segments without one are searched all the same, as long as they are small together."""
    space = space_of(Distance.DOT, DIM)
    config = configured(space, optimizers={"indexing_threshold": 100})
    there = World(tmp_path / "segment", space, clustered(ROWS, DIM), config)
    waiting = AppendableRows(space)
    waiting.append(np.arange(ROWS, ROWS + 400, dtype=np.uint32), 100 * clustered(400, DIM))
    more = AppendableRows(space)
    more.append(np.arange(ROWS + 400, ROWS + 700, dtype=np.uint32), 50 * clustered(300, DIM))

    def found(config: CollectionConfig, indexed_only: bool) -> set[int]:
        vector = VectorView(0, space, (there.masked.view(), waiting.view(), more.view()))
        view = cast(View, Described(config, ROWS + 700))
        params = SearchParams(indexed_only=indexed_only)
        nums = search(view, vector, QUERIES[0], ROWS + 700, params, Deadline()).nums
        return {0 if num < ROWS else 1 if num < ROWS + 400 else 2 for num in nums.tolist()}

    assert found(config, False) == {0, 1, 2}
    assert found(config, True) == {0, 2}, "75 KiB and 56 KiB are more than 100 KiB: the smaller one remains"
    assert found(configured(space, optimizers={"indexing_threshold": 200}), True) == {0, 1, 2}
    assert found(configured(space, optimizers={"indexing_threshold": 0}), True) == {0, 1, 2}, "no graph will come"


@pytest.mark.parametrize("distance", Distance)
@pytest.mark.parametrize("kind", ["none", "scalar", "binary"])
@pytest.mark.parametrize("cold", [False, True])
def test_searches_of_many_queries_find_what_each_finds_alone(
    tmp_path: Path, kind: str, distance: Distance, cold: bool
) -> None:
    there = world(tmp_path, distance, kind, vector={"on_disk": cold})
    there.kill(np.arange(0, ROWS, 7))
    for allowed in (None, range(0, ROWS, 2), range(0, ROWS, 40)):
        for exact in (False, True):
            together = there.search_many(QUERIES, allowed=allowed, exact=exact)
            for query, found in zip(QUERIES, together, strict=True):
                alone = there.search(query, allowed=allowed, exact=exact)
                np.testing.assert_array_equal(found.nums, alone.nums)
                np.testing.assert_allclose(found.goodness, alone.goodness, rtol=1e-5, atol=1e-5)
