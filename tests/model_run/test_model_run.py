"""Whatever is done to a collection, in whatever order, it holds what a dictionary holds.

The long version is `scripts/model_run.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.model_run.points import Json
from tests.model_run.run import replay, run_seed


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_collection_agrees_with_a_dictionary(tmp_path: Path, seed: int) -> None:
    run_seed(tmp_path / "lives", seed, 250)


def test_a_trace_replays_step_by_step(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    run_seed(tmp_path / "first", 7, 60, trace)
    steps: list[Json] = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    taken: list[Json] = []
    replay(tmp_path / "second", steps, taken.append)
    assert taken == steps[1:]
