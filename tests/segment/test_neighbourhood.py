"""The order of a segment's rows: what it is, and that nobody who reads the segment notices."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyroaring import BitMap

from tests.segment.segments import World, build_segment, clustered, configured, space_of
from vdb.model.vectors import Distance
from vdb.segment.builder import Previous
from vdb.segment.neighbourhood import LEAF_ROWS, SKELETON_SHARE, neighbourhood_order
from vdb.segment.recipe import Recipe
from vdb.segment.rows import RowsView

DIM = 16
ROWS = 900
PLAIN, GRAPH = Recipe(0, 0), Recipe(8, 32)
SPACE = space_of(Distance.EUCLID, DIM)


def order_of(block: NDArray[Any]) -> NDArray[np.int64]:
    return neighbourhood_order(block, lambda: None)


def test_near_rows_stand_together() -> None:
    block = clustered(4_000, DIM, clusters=40)
    block = block[np.random.default_rng(1).permutation(len(block))]
    order = order_of(block)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(block)))
    np.testing.assert_array_equal(order, order_of(block))
    steps = np.linalg.norm(np.diff(block[order], axis=0), axis=1).mean()
    assert steps < 0.6 * np.linalg.norm(np.diff(block, axis=0), axis=1).mean()


def test_rows_from_everywhere_stand_first() -> None:
    """A graph of one cluster after the other has few links between them, and searches end in the wrong one."""
    block = np.sort(np.random.default_rng(6).uniform(-1, 1, (4_000, 1)).astype(np.float32), axis=0)
    first = block[order_of(block)[: int(SKELETON_SHARE * len(block) * 0.8)], 0]
    assert np.histogram(first, bins=10, range=(-1, 1))[0].min() > 0
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.3


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1.0, 1e38])
@pytest.mark.parametrize("dim", [1, 3, 40])
def test_any_numbers_can_be_ordered(scale: float, dim: int) -> None:
    block = (np.random.default_rng(2).uniform(-1, 1, (300, dim)) * scale).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        order = order_of(block)
    np.testing.assert_array_equal(np.sort(order), np.arange(300))


@pytest.mark.parametrize("dtype", ["<f2", "u1"])
def test_rows_of_smaller_numbers_too(dtype: str) -> None:
    block = np.random.default_rng(3).integers(0, 200, (500, DIM)).astype(dtype)
    np.testing.assert_array_equal(np.sort(order_of(block)), np.arange(500))


def test_whoever_builds_can_be_stopped() -> None:
    def stop() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        neighbourhood_order(clustered(100, DIM), stop)


def test_a_segment_with_a_graph_stands_in_order_and_one_without_as_it_came(tmp_path: Path) -> None:
    block = clustered(ROWS, DIM)
    plain = build_segment(tmp_path / "plain", SPACE, block, PLAIN)
    assert plain.rows[0].nums_ascend
    assert plain.rows[0].by_num is None
    entry = plain.manifest.vectors[0]
    rows = build_segment(tmp_path / "graph", SPACE, block, GRAPH, previous=Previous(str(plain.folder), entry)).rows[0]
    assert rows.by_num is not None
    assert not rows.nums_ascend
    np.testing.assert_array_equal(rows.nums[rows.by_num], np.arange(ROWS))
    np.testing.assert_array_equal(rows.matrix, block[rows.nums])
    few = build_segment(tmp_path / "few", SPACE, block[:LEAF_ROWS], GRAPH).rows[0]
    assert few.by_num is None


def test_a_segment_that_is_rebuilt_keeps_its_order(tmp_path: Path) -> None:
    former = build_segment(tmp_path / "former", SPACE, clustered(ROWS, DIM), GRAPH)
    previous = Previous(str(former.folder), former.manifest.vectors[0])
    changed = build_segment(tmp_path / "changed", SPACE, clustered(ROWS, DIM), Recipe(4, 16), previous=previous)
    for name in ("0.matrix", "0.nums", "0.order"):
        assert (changed.folder / name).samefile(former.folder / name)
    assert changed.rows[0].by_num is not None


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> RowsView:
    rows = build_segment(tmp_path_factory.mktemp("world") / "segment", SPACE, clustered(ROWS, DIM), GRAPH).rows[0]
    alive = np.random.default_rng(4).random(ROWS) < 0.8
    return RowsView(rows, ROWS, alive, int(alive.sum()))


@settings(deadline=None)
@given(st.sets(st.integers(0, ROWS + 50), max_size=ROWS))
def test_the_rows_of_points_are_found(ordered: RowsView, points: set[int]) -> None:
    assert ordered.alive is not None
    wanted = np.isin(ordered.rows.nums, list(points)) & ordered.alive
    np.testing.assert_array_equal(ordered.rows_among(BitMap(points)), np.flatnonzero(wanted))


@pytest.mark.parametrize("params", [{"exact": True}, {}])
@pytest.mark.parametrize("filtered", [False, True])
def test_equal_points_stand_by_number_however_many_are_asked_for(
    tmp_path: Path, params: dict[str, bool], filtered: bool
) -> None:
    """Pages of a search over the same vector again and again neither repeat nor leave out a point."""
    block = np.repeat(clustered(ROWS // 60, DIM), 60, axis=0)[np.random.default_rng(5).permutation(ROWS)]
    world = World(tmp_path / "segment", SPACE, block, configured(SPACE, threshold_kib=10**6))
    allowed = list(range(0, ROWS, 2)) if filtered else None
    found = [world.search(block[0], count, allowed, **params).nums.tolist() for count in range(5, 25)]
    assert found[-1] == sorted(found[-1])
    assert all(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(found))
