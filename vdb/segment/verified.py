"""Which files have been read and found to match their checksum: so that a start need not read them all again.

::

    verified.json     {"format": 1, "boot": …, "clean": …, "files": {"<folder>/<file>": [inode, bytes, mtime, ctime]}}

A segment's file is written once and never again. Whoever changes it, by whatever way, changes its ``ctime``, which no
program can set; whoever puts another file in its place changes the inode. So a file that has both as they were when it
was read holds what was read then, as far as the operating system knows. It is read again where

* any of the four numbers differs, or the file is not listed;
* the machine was started anew since, and vdb did not close the collection before: after a power cut the disk may not
  hold what it had promised;
* it had changed within ``SETTLED_S`` before it was read: two changes within one tick of the clock leave one ``ctime``.

What this does not see is a medium that decays under a file that nobody touches: that is what reading everything now and
then is for, in the background and by ``vdb check``.

Guarantees
    The list is a cache: where it is missing, damaged or of another kind everything is read.
Assumes
    One process at a time works in the folder.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from vdb.files import write_atomically

VERIFIED_NAME: Final = "verified.json"
SETTLED_S: Final = 2.0  # the coarsest clock of a common file system (FAT) ticks so rarely
_FORMAT_VERSION: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# On Windows `st_ctime` is when the file was made, which a change leaves as it was.
_TELLS_CHANGES: Final = sys.platform != "win32"


class Fingerprint(msgspec.Struct, frozen=True, array_like=True):
    """What the operating system says about a file; times are in nanoseconds."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Raises OSError."""
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def settled(self) -> bool:
        """True where the last change is so long ago that another one would show."""
        return _TELLS_CHANGES and time.time_ns() - self.ctime_ns > SETTLED_S * 1e9


class _List(msgspec.Struct, frozen=True):
    format: int
    boot: str | None
    clean: bool
    files: dict[str, Fingerprint]


class VerifiedFiles:
    """The list of one collection. Owned by whoever opens it: one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Reads the list, where there is one of use."""
        self._path = path
        self._boot = _boot()
        self._files: dict[str, Fingerprint] = {}
        self._stored: _List | None = None
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_List)
        except (OSError, ValueError):
            return
        if stored.format == _FORMAT_VERSION and (
            stored.clean or (stored.boot is not None and stored.boot == self._boot)
        ):
            self._files, self._stored = dict(stored.files), stored

    def holds(self, path: Path) -> bool:
        """True where the file was read and has not changed since; raises OSError."""
        return _TELLS_CHANGES and self._files.get(_key(path)) == Fingerprint.of(path)

    def note(self, path: Path, before: Fingerprint) -> bool:
        """The file was found to be right; ``before`` is what it was before it was read. False where it is too new."""
        if not before.settled() or Fingerprint.of(path) != before:
            return False
        self._files[_key(path)] = before
        return True

    def forget(self, path: Path) -> None:
        self._files.pop(_key(path), None)

    def keep(self, folders: Iterable[str]) -> None:
        """Forgets the files of all other folders."""
        kept = set(folders)
        self._files = {key: known for key, known in self._files.items() if key.partition("/")[0] in kept}

    def save(self, clean: bool) -> None:
        """Writes the list where it differs from what is on disk; ``clean`` when the collection is closed.

        Raises OSError. Blocks on the disk.
        """
        wanted = _List(_FORMAT_VERSION, self._boot, clean, dict(self._files))
        if wanted == self._stored or (not self._files and not self._path.exists()):
            return
        write_atomically(self._path, msgspec.json.encode(wanted))
        self._stored = wanted


def _key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _boot() -> str | None:
    """What tells one start of the machine from another; None where nothing does."""
    try:
        return os.fsdecode(_BOOT_ID.read_bytes()).strip() or None
    except OSError:
        return None
