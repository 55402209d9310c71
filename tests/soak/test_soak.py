"""The short version of ``scripts/soak.py``: mixed load, after which nothing has grown that must not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.soak import soak

SECONDS: Final = 40.0


@pytest.mark.skipif(sys.platform != "linux", reason="samples come from /proc")
def test_mixed_load_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = soak(tmp_path / "storage", SECONDS, seed=1)
    assert figures.wrong == []
    assert figures.writes > 20
    assert figures.reads > 100
    assert figures.snapshots > 0
