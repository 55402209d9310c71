"""The executable of one file: its launcher, and the folder that it unpacks itself to.

PyInstaller's launcher unpacks shared objects to ``_MEI…`` in the folder for temporary files, runs the program as its
child, and removes the folder when that child ends. A launcher that is killed does neither, so the program does.

Guarantees: a program whose launcher was killed removes the folder when it leaves. Where both were killed, the next
start of any executable of vdb does. A folder that a process uses is never removed.

Assumes: POSIX; the folder for temporary files knows file locks. On Windows nothing here does anything: a folder cannot
be removed there while its libraries are loaded, and the system clears ``%TEMP%``.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PREFIX: Final = "_MEI"  # PyInstaller's, of the folder's name

# Held by the child of the launcher for as long as it lives; says who both are. Other processes share the folder.
OWNER_NAME: Final = "vdb.owner"

# Tells our folders from those of other programs.
_MARK: Final = Path("vdb", "_resources", "config.yaml")

# Seconds. A folder without an owner may be one whose launcher is still unpacking, or whose program has not begun.
_UNPACKING_S: Final = 600.0


def is_one_file() -> bool:
    """Whether this process runs from a folder that the launcher of a one-file executable unpacked."""
    if sys.platform == "win32" or not hasattr(sys, "_MEIPASS"):
        return False
    # An executable in a folder of its own finds its libraries in `_internal` there.
    return _folder().name.startswith(_PREFIX)


@contextmanager
def unpacked() -> Iterator[None]:
    """What a program does around its body: own the folder, and remove those that nobody owns any more."""
    if not is_one_file() or (_folder() / OWNER_NAME).exists():
        yield
        return
    descriptor = _own(_folder())
    try:
        sweep(_folder().parent)
        yield
    finally:
        remove_if_abandoned()
        os.close(descriptor)


def remove_if_abandoned() -> None:
    """Removes this process's folder if it owns one whose launcher is gone. The last thing that a process does."""
    if not is_one_file():
        return
    try:
        owner, launcher = (_folder() / OWNER_NAME).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return
    if int(owner) == os.getpid() and int(launcher) != os.getppid():
        shutil.rmtree(_folder(), ignore_errors=True)


def sweep(temporary: Path) -> None:
    """Removes folders below ``temporary`` that executables of vdb unpacked and left behind."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        try:
            stale = _is_stale(folder)
        except OSError:  # somebody else's, or removed by another start at this moment
            continue
        if stale:
            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    return Path(getattr(sys, "_MEIPASS"))  # noqa: B009 - PyInstaller sets it, types do not know it


def _own(folder: Path) -> int:
    """Returns the descriptor that holds the lock. The name appears locked: a sweep never meets it free."""
    import fcntl

    begun = folder / f".{OWNER_NAME}"
    descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, f"{os.getpid()} {os.getppid()}".encode("ascii"))
    begun.rename(folder / OWNER_NAME)
    return descriptor


def _is_stale(folder: Path) -> bool:
    """Whether ``folder`` is ours and its owner is gone; raises OSError."""
    import fcntl

    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or not (folder / _MARK).is_file():
        return False
    try:
        descriptor = os.open(folder / OWNER_NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - status.st_mtime > _UNPACKING_S
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
