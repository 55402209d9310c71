"""What a start reads of segment files: nothing that was verified and has not changed, and everything else."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.collection.conftest import Open, opening
from tests.collection.operations import everything, nearest, until, upsert, vector
from tests.collection.test_segments import INDEXED, optimizing, settled
from vdb.collection import verifier
from vdb.collection.recovery import SEGMENTS_NAME
from vdb.segment import manifest, verified
from vdb.segment.verified import VERIFIED_NAME, Fingerprint

COUNT: Final = 200


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once: nothing here changes one twice within a tick of the clock."""
    monkeypatch.setattr(verified, "SETTLED_S", 0.0)
    monkeypatch.setattr(verifier, "_NEW_AFTER_S", 0.0)
    monkeypatch.setattr(verifier, "_STEP_PAUSE_S", 0.0)


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose checksums are computed."""
    read: list[str] = []
    in_steps = manifest.checksum_in_steps

    def noted(path: Path) -> Any:
        read.append(path.name)
        return in_steps(path)

    monkeypatch.setattr(manifest, "checksum_in_steps", noted)
    return read


@pytest.fixture
async def sealed(folder: Path, opened: Open, no_waiting: None) -> Open:
    """A collection whose points lie in one sealed segment that is known to be whole."""
    async with opened(**INDEXED) as collection, optimizing(collection) as optimizer:
        await collection.write(upsert(*range(COUNT)))
        await settled(collection, optimizer)
        await until((folder / VERIFIED_NAME).exists)
    return opened


def segment_file(folder: Path, suffix: str) -> Path:
    (path,) = (folder / SEGMENTS_NAME).glob(f"*/*.{suffix}")
    return path


async def test_a_start_reads_no_file_that_was_verified_before(sealed: Open, files_read: list[str]) -> None:
    async with sealed(**INDEXED) as collection:
        assert files_read == []
        assert set(await nearest(collection, vector(1))) == set(range(COUNT))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flipped_in_secret(path: Path) -> None:
    """With the time of the last change as it was before."""
    before = path.stat()
    flipped(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """By another file of the same size and time."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("suffix", ["matrix", "nums", "graph"])
@pytest.mark.parametrize("damage", [flipped, flipped_in_secret, replaced])
async def test_a_verified_file_that_changes_is_noticed(
    sealed: Open, folder: Path, damage: Callable[[Path], None], suffix: str
) -> None:
    damage(segment_file(folder, suffix))
    async with sealed(**INDEXED) as collection:
        assert len(collection.rebuilt) == 1
        assert set(await nearest(collection, vector(1))) == set(range(COUNT))


@pytest.mark.parametrize("boot", ["another boot of this machine", None])
async def test_after_a_power_cut_everything_is_read_again(
    sealed: Open, folder: Path, files_read: list[str], boot: str | None
) -> None:
    path = folder / VERIFIED_NAME
    known = msgspec.json.decode(path.read_bytes())
    assert known["clean"]
    path.write_bytes(msgspec.json.encode(known | {"boot": boot}))
    async with sealed(**INDEXED):
        assert files_read == []  # it was closed: the machine was shut down in order
    path.write_bytes(msgspec.json.encode(known | {"boot": boot, "clean": False}))
    async with sealed(**INDEXED):
        assert sorted(files_read) == ["1.graph", "1.matrix", "1.nums", "1.order"]


async def test_a_server_that_was_killed_does_not_read_everything_again(
    sealed: Open, folder: Path, files_read: list[str]
) -> None:
    async with sealed(**INDEXED):
        assert not msgspec.json.decode((folder / VERIFIED_NAME).read_bytes())["clean"]
        while_open = (folder / VERIFIED_NAME).read_bytes()
    (folder / VERIFIED_NAME).write_bytes(while_open)
    async with sealed(**INDEXED):
        assert files_read == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"format":9,"boot":null,"clean":true,"files":{}}'])
async def test_a_damaged_list_of_what_is_known_is_no_list(
    sealed: Open, folder: Path, files_read: list[str], content: bytes
) -> None:
    (folder / VERIFIED_NAME).write_bytes(content)
    async with sealed(**INDEXED) as collection:
        assert sorted(files_read) == ["1.graph", "1.matrix", "1.nums", "1.order"]
        assert collection.rebuilt == []


async def test_a_copied_folder_is_read_again(sealed: Open, folder: Path, files_read: list[str], tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    async with opening(tmp_path / "copy", **INDEXED):
        assert sorted(files_read) == ["1.graph", "1.matrix", "1.nums", "1.order"]


async def test_a_medium_that_loses_bits_is_found_out_while_the_collection_is_open(
    sealed: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has touched the file, as far as the operating system knows."""
    path, known = segment_file(folder, "matrix"), folder / VERIFIED_NAME
    flipped(path)
    listed = msgspec.json.decode(known.read_bytes())
    listed["files"][f"{path.parent.name}/{path.name}"] = msgspec.to_builtins(Fingerprint.of(path))
    known.write_bytes(msgspec.json.encode(listed))
    monkeypatch.setattr(verifier, "_ALL_AFTER_S", 0.0)
    with caplog.at_level(logging.ERROR):
        async with sealed(**INDEXED) as collection:
            assert collection.rebuilt == []
            await until(lambda: collection.damaged)
    assert str(path) in caplog.text
    async with sealed(**INDEXED) as collection:
        assert len(collection.rebuilt) == 1
        assert {point["id"]: point["vector"] for point in await everything(collection)} == {
            number: vector(number) for number in range(COUNT)
        }
