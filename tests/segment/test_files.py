"""The files of a sealed segment: what is written, where it is kept, and that damage is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.segment.segments import QUANTIZATIONS, build_segment, clustered, reopened, space_of
from vdb.config import Memory
from vdb.errors import Corrupt
from vdb.model.vectors import Distance
from vdb.segment.builder import Previous
from vdb.segment.manifest import MANIFEST_NAME
from vdb.segment.placement import open_array, open_bytes
from vdb.segment.recipe import Quantization, Recipe

SPACE = space_of(Distance.EUCLID, 24)
BLOCK = clustered(600, 24)
RECIPES = {
    "none": Recipe(8, 32),
    "plain": Recipe(0, 0),
    "scalar": Recipe(8, 32, "scalar", 0.99, 4),
    "scalar without a graph": Recipe(0, 0, "scalar", None, 4),
    "binary": Recipe(8, 32, "binary", None, 32),
    "binary without a graph": Recipe(0, 0, "binary", None, 32),
    "product": Recipe(8, 32, "product", None, 16),
    "product without a graph": Recipe(0, 0, "product", None, 8),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_manifest_names_every_file_and_notices_damage_to_each(tmp_path: Path, name: str) -> None:
    segment = build_segment(tmp_path / "segment", SPACE, BLOCK, RECIPES[name])
    files = {file.name for vector in segment.manifest.vectors for file in vector.files}
    assert {path.name for path in segment.folder.iterdir()} == files | {MANIFEST_NAME}
    for file in sorted(files):
        for damage in ("flipped", "short", "missing"):
            folder = tmp_path / f"{file}.{damage}"
            shutil.copytree(segment.folder, folder)
            content = bytearray((folder / file).read_bytes())
            content[len(content) // 2] ^= 1
            match damage:
                case "flipped":
                    (folder / file).write_bytes(content)
                case "short":
                    (folder / file).write_bytes(content[:-1])
                case _:
                    (folder / file).unlink()
            with pytest.raises(Corrupt, match=file):
                reopened(folder)


@pytest.mark.parametrize("memory", ["cold", "cached", "pinned"])
@pytest.mark.parametrize("name", RECIPES)
def test_places_in_memory_change_nothing_that_is_found(tmp_path: Path, name: str, memory: Memory) -> None:
    matrix: Memory = "cold" if memory == "cold" else "cached"
    recipe = msgspec.structs.replace(RECIPES[name], matrix=matrix, graph=memory, codes=memory)
    rows = build_segment(tmp_path / "segment", SPACE, BLOCK, recipe).rows[0]
    np.testing.assert_array_equal(rows.matrix, BLOCK[rows.nums])
    np.testing.assert_array_equal(rows.gathered, BLOCK[rows.nums])
    assert not rows.matrix.flags.writeable
    (seventh,) = np.flatnonzero(rows.nums == 7)
    if rows.graph is not None:
        assert rows.graph.search(BLOCK[7:8], 20, 64)[0].tolist()[0] == seventh or rows.graph.coarse
    if rows.quantised is not None:
        everything = np.arange(len(BLOCK))
        assert int(rows.quantised.estimate(BLOCK[7], everything).argmax()) == seventh
        np.testing.assert_allclose(
            rows.quantised.rank(BLOCK[7]), rows.quantised.rank(BLOCK[7], everything), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("memory", ["cold", "cached", "pinned"])
def test_a_file_is_the_same_wherever_it_is_kept(tmp_path: Path, memory: Memory) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 40_000)
    content = open_bytes(path, memory)
    path.unlink()
    assert content.tobytes() == bytes(range(256)) * 40_000
    with pytest.raises(FileNotFoundError):
        open_bytes(path, memory)
    path.write_bytes(b"")
    assert open_array(path, memory, np.dtype("<f4"), (0, 4)).shape == (0, 4)
    path.write_bytes(bytes(12))
    with pytest.raises(ValueError):
        open_array(path, memory, np.dtype("<f4"), (1, 4))


def test_another_place_in_memory_builds_nothing_anew(tmp_path: Path) -> None:
    former = build_segment(tmp_path / "former", SPACE, BLOCK, RECIPES["binary"])
    recipe = msgspec.structs.replace(RECIPES["binary"], matrix="cold", graph="pinned")
    previous = Previous(str(former.folder), former.manifest.vectors[0])
    moved = build_segment(tmp_path / "moved", SPACE, BLOCK, recipe, previous=previous)
    assert moved.manifest.vectors[0].recipe == recipe
    assert moved.manifest.vectors[0].files == former.manifest.vectors[0].files
    for file in moved.manifest.vectors[0].files:
        assert (moved.folder / file.name).samefile(former.folder / file.name)
    shutil.rmtree(former.folder)
    assert reopened(moved.folder).rows[0].cold


@pytest.mark.parametrize("kind", ["none", "scalar", "binary", "product"])
def test_another_quantisation_keeps_the_matrix(tmp_path: Path, kind: Quantization) -> None:
    former = build_segment(tmp_path / "former", SPACE, BLOCK, RECIPES["none"])
    previous = Previous(str(former.folder), former.manifest.vectors[0])
    recipe = Recipe(8, 48, kind, None, 16)
    changed = build_segment(tmp_path / "changed", SPACE, BLOCK, recipe, previous=previous)
    assert (changed.folder / "0.matrix").samefile(former.folder / "0.matrix")
    assert not (changed.folder / "0.graph").samefile(former.folder / "0.graph")
    for rows in (reopened(former.folder).rows[0], changed.rows[0]):
        np.testing.assert_array_equal(rows.matrix, BLOCK[rows.nums])


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_one_row_and_none_can_be_sealed(tmp_path: Path, kind: str) -> None:
    recipe = RECIPES[{"x4": "product", "x16": "product", "x64": "product"}.get(kind, kind)]
    assert build_segment(tmp_path / "none", SPACE, BLOCK[:0], recipe).rows[0].graph is None
    rows = build_segment(tmp_path / "one", SPACE, BLOCK[:1], recipe).rows[0]
    assert rows.graph is not None
    assert rows.graph.search(BLOCK[:1], 1, 16)[0].tolist() == [0]
