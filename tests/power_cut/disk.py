"""A disk whose power can be cut: a file system in an image file on a loop device, shut down by its own ioctl.

The ioctl stops the file system as it stands: what was not written stays unwritten, the journal is not flushed, and
every later write or read fails. Unmounting and mounting again then does what a machine does when the power is back: it
recovers from the journal.

What this does not show is a drive that loses what it had confirmed: whatever the file system handed to the loop device
is there afterwards, flushed or not.
"""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal, get_args

FileSystem = Literal["ext4", "xfs"]
FILE_SYSTEMS: Final[tuple[FileSystem, ...]] = get_args(FileSystem)

IMAGE_BYTES: Final = 512 * 2**20  # sparse; XFS wants 300 MiB at least
UNMOUNT_MAX_S: Final = 20.0  # builders of a killed server hold files open until they notice
_POLL_S: Final = 0.05
_SHUTDOWN: Final = 2 << 30 | 4 << 16 | ord("X") << 8 | 125  # _IOR('X', 125, __u32), the same for ext4 and XFS
_NO_LOG_FLUSH: Final = 2  # 0 freezes first, 1 flushes the journal: both are kinder than a power cut
_MAKE: Final[dict[FileSystem, list[str]]] = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


_MEMORY: Final = Path("/dev/shm")  # an image there is flushed at once, so that rounds are short
_numbers = itertools.count()


class NoPowerCut(Exception):
    """Why this machine cannot do it."""


class CuttableDisk:
    """An empty file system, mounted at ``path``, below ``folder``, from the beginning to ``close``.

    ``is_cut`` is set just before the power goes: what is acknowledged while it is false was acknowledged before.
    """

    def __init__(self, folder: Path, kind: FileSystem) -> None:
        """Raises NoPowerCut where the machine has no loop devices, no such file system, or no right to mount."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise NoPowerCut("needs Linux, and root to mount")
        if shutil.which(_MAKE[kind][0]) is None:
            raise NoPowerCut(f"{_MAKE[kind][0]} is not installed")
        self.path = folder / "disk"
        self.is_cut = False
        self._kind = kind
        self.image = _image_folder(folder) / f"vdb-disk-{os.getpid()}-{next(_numbers)}.image"
        self._descriptor: int | None = None
        self.path.mkdir(parents=True)
        with self.image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        try:
            _run(*_MAKE[kind], str(self.image))
            self.mount()
        except NoPowerCut:
            self.close()
            raise

    def mount(self) -> None:
        """Recovers what the image holds."""
        _run("mount", "-t", self._kind, "-o", "loop", str(self.image), str(self.path))
        self._descriptor = os.open(self.path, os.O_RDONLY)
        self.is_cut = False

    def cut(self) -> None:
        import fcntl

        assert self._descriptor is not None, "it is mounted"
        self.is_cut = True
        try:
            fcntl.ioctl(self._descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        except OSError as error:
            raise NoPowerCut(f"{self._kind} cannot be shut down: {error}") from error

    def unmount(self) -> None:
        """Waits for whoever has files open; raises NoPowerCut."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        deadline = time.monotonic() + UNMOUNT_MAX_S
        while True:
            try:
                _run("umount", str(self.path))
            except NoPowerCut:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def close(self) -> None:
        """Leaves nothing mounted, whatever has happened."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if os.path.ismount(self.path):
            _run("umount", "-l", str(self.path))
        self.image.unlink(missing_ok=True)


def _image_folder(folder: Path) -> Path:
    """Memory where it has plenty of room, else ``folder``."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * IMAGE_BYTES:
        return _MEMORY
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoPowerCut(f"{' '.join(command)}: {done.stderr.strip()}")
