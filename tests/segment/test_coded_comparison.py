"""Many matching rows are compared by the codes of a graph first: the same points, and the scores of their originals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.segment.segments import World, clustered, configured, space_of
from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.query import nearest
from vdb.segment.coded import CompareCodes, compare_codes
from vdb.segment.hnsw import Graph

ROWS, DIM, QUERIES = 3_000, 24, 12
DISTANCES = [Distance.COSINE, Distance.DOT, Distance.EUCLID]


@pytest.fixture(params=DISTANCES, ids=[distance.value for distance in DISTANCES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    space = space_of(request.param, DIM)
    return World(tmp_path / "segment", space, clustered(ROWS, DIM), configured(space))


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each comparison by codes was for; empty where none was made."""
    made: list[int] = []

    def noted(space: VectorSpace, graph: Graph, rows: int, examples: Floats) -> CompareCodes | None:
        made.append(len(examples))
        return compare_codes(space, graph, rows, examples)

    monkeypatch.setattr(nearest, "compare_codes", noted)
    return made


@pytest.mark.parametrize("together", [1, QUERIES])
@pytest.mark.parametrize("with_dead", [False, True])
def test_a_filter_that_selects_some_hundred_rows(
    world: World, coded: list[int], together: int, with_dead: bool
) -> None:
    allowed = np.random.default_rng(3).choice(ROWS, 800, replace=False).tolist()
    if with_dead:
        world.kill(np.arange(0, ROWS, 3))
    queries = clustered(QUERIES, DIM, seed=8)
    found = []
    for start in range(0, QUERIES, together):
        found += world.search_many(queries[start : start + together], 10, allowed)
    assert coded == [together] * (QUERIES // together)
    for query, scored in zip(queries, found, strict=True):
        best, values = world.exact(query, 10, allowed)
        np.testing.assert_array_equal(scored.nums, best)
        np.testing.assert_allclose(scored.goodness, values[best], rtol=1e-5, atol=1e-6)


def test_exact_reads_originals_alone(world: World, coded: list[int]) -> None:
    allowed = list(range(0, ROWS, 2))
    query = clustered(1, DIM, seed=9)[0]
    np.testing.assert_array_equal(world.search(query, 10, allowed, exact=True).nums, world.exact(query, 10, allowed)[0])
    assert not coded


def test_blocks_make_no_difference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, queries = list(range(100, 1_100)), clustered(QUERIES, DIM, seed=10)
    whole = world.search_many(queries, 10, allowed)
    monkeypatch.setattr(nearest, "_COMPARED_MAX", 300 * QUERIES)
    monkeypatch.setattr(nearest, "_CODED_ROWS", 64)
    for before, after in zip(whole, world.search_many(queries, 10, allowed), strict=True):
        np.testing.assert_array_equal(before.nums, after.nums)
