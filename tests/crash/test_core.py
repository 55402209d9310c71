"""kill -9 on the storage core, many times: what was acknowledged is there, and nothing is half applied.

The long version is `scripts/crash_core.py`, which runs here too: it forks, and this process has threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.core_record import INDEXER, LIFE_ROUNDS, WRITERS, Life, Round, operations

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "crash_core.py"
RUN_MAX_S = 300.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT TESTED: the storage core's rounds are forked processes")
def test_nothing_is_lost_in_rounds_of_kill_9() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", "40", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=RUN_MAX_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing lost" in done.stdout


def test_a_seed_repeats_rounds_collections_and_operations() -> None:
    """Whatever was in flight when an earlier round died."""
    for number in (1, LIFE_ROUNDS, LIFE_ROUNDS + 1):
        round = Round.of(3, number)
        assert round == Round.of(3, number)
        assert Life.of(3, round.life) == Life.of(3, round.life)
        for writer in (*range(WRITERS), INDEXER):
            first, again = operations(round, writer), operations(round, writer)
            assert [next(first) for _ in range(20)] == [next(again) for _ in range(20)]
