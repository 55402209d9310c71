"""Files as the rest of vdb needs them: what ships with the program, durable writes, and one server per folder.

Guarantees: after ``write_atomically`` returns, the file holds the new bytes whole, also after power loss; a reader
never sees a part. A storage folder has at most one holder of its lock; the operating system frees the lock of a
process that died, however it died.

Assumes: the folder is on a local file system whose rename is atomic and which implements file locks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

import filelock

from vdb.errors import Misconfigured

LOCK_NAME: Final = ".lock"

_PACKAGE: Final = Path(__file__).resolve().parent
_RESOURCES: Final = "_resources"


def resource(name: str) -> Path:
    """A file or folder that ships with vdb (``config.yaml``, ``migrations/catalog``); raises FileNotFoundError.

    In a wheel and in a frozen executable it stands in ``vdb/_resources``, in a checkout at the top.
    """
    for folder in (_PACKAGE / _RESOURCES, _PACKAGE.parent):
        path = folder / name
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is missing from this installation of vdb ({_PACKAGE})")


def self_command(*arguments: str) -> list[str]:
    """The command line that runs this very program with ``arguments``.

    In a frozen executable ``sys.executable`` is vdb itself and not Python, so that ``-m`` would be its argument.
    """
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    return [sys.executable, "-m", "vdb", *arguments]


def fsync_file(descriptor: int) -> None:
    """Returns when the bytes of an open file are on the medium; blocks on the disk."""
    if sys.platform == "darwin":
        import fcntl

        # On macOS fsync stops at the drive's own cache, which power loss empties. Not every file system has the call.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)
    else:
        os.fsync(descriptor)


def fsync_dir(folder: Path) -> None:
    """Makes names created, renamed or removed in ``folder`` durable; blocks on the disk.

    Windows cannot open folders and journals names by itself: nothing happens there.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, *content: bytes | bytearray | memoryview) -> None:
    """Replaces ``path`` by ``content``, its parts in order: all of it or nothing, durable on return; raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines(content)
            file.flush()
            fsync_file(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_dir(path.parent)


class StorageLock:
    """Exclusive use of one storage folder for the life of a ``with`` block; creates the folder.

    Raises Misconfigured, without waiting, when another server holds the folder or when it cannot be written. The lock
    file stays behind: removing it would let two servers lock two files of one name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A soft lock would outlive a killed server, so a file system without locks is refused instead.
        # One owner whichever thread lets go: the default ties the lock to a thread.
        self._lock = filelock.FileLock(folder / LOCK_NAME, thread_local=False, fallback_to_soft=False)

    def __enter__(self) -> StorageLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Misconfigured(f"storage folder {self.folder} is in use by another vdb server") from None
        except OSError as error:
            raise Misconfigured(f"storage folder {self.folder} cannot be used: {error.strerror or error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
