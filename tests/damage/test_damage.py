"""Derived files are damaged: every damage is noticed before the file is used, and no answer changes."""

from __future__ import annotations

from pathlib import Path

from tests.damage.damage_loop import DamageLoop
from tests.damage.mutations import derived_files


async def test_damaged_files_are_noticed_before_they_are_used_and_made_again(tmp_path: Path) -> None:
    loop = DamageLoop(tmp_path, seed=1)
    await loop.run(mutations=30)
    assert sum(loop.noticed.values()) == 30
    assert len(loop.noticed) >= 7, f"too few kinds of damage: {loop.noticed}"
    kinds = {path.suffix for path in derived_files(tmp_path / "whole")}
    assert kinds >= {".matrix", ".nums", ".graph", ".codes", ".centre", ".factors", ".codebook", ".json", ".index"}
