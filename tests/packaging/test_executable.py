"""The folder that a one-file executable unpacks itself to: who may remove it, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vdb import executable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows clears %TEMP% by itself")

# The program of the launcher `sh`: owns its folder until its input ends.
PROGRAM = """
import os, sys
sys._MEIPASS = sys.argv[1]
from vdb.executable import unpacked
with unpacked():
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def unpack(temporary: Path, name: str = "_MEI123456") -> Path:
    """A folder as the launcher leaves it to the program."""
    folder = temporary / name
    (folder / "vdb" / "_resources").mkdir(parents=True)
    (folder / "vdb" / "_resources" / "config.yaml").touch()
    return folder


def start(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """The launcher, and the process number of its program."""
    launcher = subprocess.Popen(
        # The colon keeps the shell from becoming the program.
        ["/bin/sh", "-c", '"$0" -c "$1" "$2"; :', sys.executable, PROGRAM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    return launcher, int(launcher.stdout.readline())


def test_the_folder_of_a_program_in_use_is_kept_and_its_launcher_removes_it(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    launcher, _ = start(folder)
    with launcher:
        executable.sweep(tmp_path)
        assert folder.exists()
    assert folder.exists()


def test_a_program_whose_launcher_was_killed_removes_the_folder_on_leaving(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    launcher, _ = start(folder)
    with launcher:
        launcher.kill()
        launcher.wait()
        assert folder.exists()
        assert launcher.stdin is not None and launcher.stdout is not None
        launcher.stdin.close()
        assert launcher.stdout.read() == ""  # its end is the end of the program
    assert not folder.exists()


def test_the_next_start_removes_the_folder_of_two_that_were_killed(tmp_path: Path) -> None:
    folder, next_folder = unpack(tmp_path), unpack(tmp_path, "_MEI654321")
    launcher, program = start(folder)
    with launcher:
        launcher.kill()
        os.kill(program, 9)
        assert launcher.stdout is not None and launcher.stdout.read() == ""
    later, _ = start(next_folder)
    with later:
        assert not folder.exists()
        assert next_folder.exists()


def test_folders_of_other_programs_and_half_unpacked_ones_are_kept(tmp_path: Path) -> None:
    half, other, link = unpack(tmp_path), tmp_path / "_MEIother", tmp_path / "_MEIlink"
    other.mkdir()
    (other / executable.OWNER_NAME).touch()
    link.symlink_to(half)
    executable.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([half, other, link])


def test_a_folder_that_was_never_finished_goes_after_ten_minutes(tmp_path: Path) -> None:
    half = unpack(tmp_path)
    os.utime(half, (0, 0))
    executable.sweep(tmp_path)
    assert not half.exists()


@pytest.mark.parametrize(("unpacked", "expected"), [("/tmp/_MEI123456", True), ("/opt/vdb/_internal", False)])
def test_one_file_is_told_from_one_folder(monkeypatch: pytest.MonkeyPatch, unpacked: str, expected: bool) -> None:
    monkeypatch.setattr(sys, "_MEIPASS", unpacked, raising=False)
    # `/vdb` is an ancestor's child of everything: where the executable stands says nothing.
    monkeypatch.setattr(sys, "executable", "/vdb")
    assert executable.is_one_file() is expected


def test_a_program_that_was_not_frozen_has_no_folder() -> None:
    assert not executable.is_one_file()
    with executable.unpacked():
        executable.remove_if_abandoned()
