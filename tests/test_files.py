"""Files: what ships, durable replacement, and the lock of a storage folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vdb.errors import Misconfigured
from vdb.files import StorageLock, fsync_dir, resource, self_command, write_atomically

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from vdb.files import StorageLock

with StorageLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_ships_is_found() -> None:
    assert resource("config.yaml").is_file()
    assert resource("migrations/catalog").is_dir()
    assert resource("migrations/collection").is_dir()


def test_what_does_not_ship_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"migrations/absent is missing"):
        resource("migrations/absent")


def test_the_program_can_run_itself() -> None:
    ran = subprocess.run(self_command("--version"), capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("vdb ")


def test_a_frozen_program_runs_itself_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert self_command("serve") == [sys.executable, "serve"]


def test_writing_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_atomically(path, b"a longer first version")
    write_atomically(path, memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_can_be_made_durable(tmp_path: Path) -> None:
    fsync_dir(tmp_path)


def test_a_storage_folder_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with (
        StorageLock(tmp_path / "storage"),
        pytest.raises(Misconfigured, match=r"storage is in use by another vdb server"),
        StorageLock(tmp_path / "storage"),
    ):
        pass
    with StorageLock(tmp_path / "storage"):
        pass


def test_a_killed_holder_does_not_block_the_next(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Misconfigured), StorageLock(tmp_path):
            pass
        holder.kill()
    with StorageLock(tmp_path):
        pass


def test_a_storage_path_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "storage"
    path.touch()
    with pytest.raises(Misconfigured, match=r"storage cannot be used: File exists"), StorageLock(path):
        pass


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the owner of the machine may write anywhere")
def test_a_storage_folder_without_write_permission_is_refused_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Misconfigured, match=r"cannot be used: Permission denied"), StorageLock(tmp_path):
        pass
