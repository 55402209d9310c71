"""The inverted index of sparse vectors against brute force, through writes, deletions and compactions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pyroaring import BitMap

from vdb.model.sparse import SparseVector
from vdb.segment.sparse import SparseIndex, SparseSnapshot

DIMENSIONS = np.array([0, 1, 5, 6, 7, 100, 2**31, 2**32 - 1], dtype=np.uint32)


def vector(numbers: random.Random, *, positive: bool) -> SparseVector:
    chosen = sorted(numbers.sample(range(len(DIMENSIONS)), numbers.randrange(0, 5)))
    values = [numbers.uniform(0.1 if positive else -2, 2) for _ in chosen]
    return SparseVector(DIMENSIONS[chosen], np.array(values, dtype=np.float32))


def dot(one: SparseVector, other: SparseVector) -> float | None:
    """None where no dimension is shared."""
    ours = dict(zip(one.indices.tolist(), one.values.tolist(), strict=True))
    shared = [value * ours[index] for index, value in zip(other.indices.tolist(), other.values.tolist(), strict=True)
              if index in ours]  # fmt: skip
    return sum(shared) if shared else None


def check(
    snapshot: SparseSnapshot, truth: dict[int, SparseVector], query: SparseVector, allowed: BitMap | None
) -> None:
    candidates = [num for num in truth if allowed is None or num in allowed]
    expected = {num: product for num in candidates if (product := dot(query, truth[num])) is not None}
    for count in (1, 3, 10_000):
        nums, values = snapshot.nearest(query, count, allowed)
        assert len(nums) == min(count, len(expected))
        assert values.tolist() == pytest.approx(sorted(expected.values(), reverse=True)[:count], abs=1e-5)
        assert values.tolist() == pytest.approx([expected[num] for num in nums.tolist()], abs=1e-5)
    everyone = np.array(sorted(truth), dtype=np.uint32)
    similar = snapshot.similarities(query, everyone).tolist()
    assert similar == pytest.approx([dot(query, truth[num]) or 0 for num in everyone.tolist()], abs=1e-5)
    counts = snapshot.document_frequencies(DIMENSIONS, allowed).tolist()
    assert counts == [sum(dimension in truth[num].indices for num in candidates) for dimension in DIMENSIONS]


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_brute_force(seed: int, positive: bool) -> None:
    numbers = random.Random(seed)
    index, truth = SparseIndex(), dict[int, SparseVector]()
    running = None
    for _ in range(60):
        changes: dict[int, SparseVector | None] = {}
        for _ in range(numbers.choice([1, 1, 3, 40])):
            num = numbers.randrange(300)
            changes[num] = None if numbers.random() < 0.2 else vector(numbers, positive=positive)
        index.apply(changes)
        truth.update({num: given for num, given in changes.items() if given is not None})
        for num, given in changes.items():
            if given is None:
                truth.pop(num, None)
        if running is not None and numbers.random() < 0.5:
            running.run()
            index.adopt(running)
            running = None
        elif running is None and numbers.random() < 0.3:
            running = index.compaction(force=True)  # what is written before it is adopted must not be lost
        allowed = BitMap(numbers.sample(range(400), 150)) if numbers.random() < 0.5 else None
        assert index.snapshot().points == BitMap(truth)
        check(index.snapshot(), truth, vector(numbers, positive=positive), allowed)


def test_a_snapshot_never_changes() -> None:
    numbers = random.Random(5)
    index = SparseIndex()
    truth = {num: vector(numbers, positive=True) for num in range(50)}
    index.apply(truth)
    before = index.snapshot()
    index.apply(dict.fromkeys(range(0, 50, 2)))
    index.compact()
    index.apply({1: vector(numbers, positive=True)})
    for _ in range(5):
        check(before, truth, vector(numbers, positive=True), None)


def test_the_best_are_found_among_many() -> None:
    """Large enough for the search to look at columns of its table before it looks at points."""
    numbers = random.Random(8)
    index = SparseIndex()
    truth = {num: vector(numbers, positive=False) for num in range(3_000)}
    index.apply(truth)
    index.compact()
    for positive in (True, False):
        check(index.snapshot(), truth, vector(numbers, positive=positive), None)


def test_points_that_only_share_dimensions_of_no_weight_are_found() -> None:
    index = SparseIndex()
    index.apply({3: SparseVector(DIMENSIONS[:2], np.array([0, 1e-30], dtype=np.float32))})
    for values in ([1, 0], [0, 1e-30], [0, 1]):
        nums, _ = index.snapshot().nearest(SparseVector(DIMENSIONS[:2], np.array(values, dtype=np.float32)), 5)
        assert nums.tolist() == [3]
    assert index.snapshot().nearest(SparseVector(DIMENSIONS[2:3], np.ones(1, dtype=np.float32)), 5)[0].tolist() == []


def test_an_empty_index_finds_nothing() -> None:
    snapshot = SparseIndex().snapshot()
    query = SparseVector(DIMENSIONS[:3], np.ones(3, dtype=np.float32))
    assert snapshot.nearest(query, 10)[0].tolist() == []
    assert snapshot.document_frequencies(DIMENSIONS, None).tolist() == [0] * len(DIMENSIONS)
