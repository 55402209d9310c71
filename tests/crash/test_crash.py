"""kill -9 at any moment and restart: every acknowledged write is there, and nothing else is."""

from __future__ import annotations

from pathlib import Path

from tests.crash.crash_loop import CrashLoop


def test_nothing_acknowledged_is_lost_and_nothing_is_half_applied(tmp_path: Path) -> None:
    CrashLoop(tmp_path / "storage", seed=1).run(rounds=5)
