"""The folder of snapshots: what is in it, and nothing outside it.

::

    snapshots/
        full-snapshot-<number>-<time>.snapshot      of the whole storage
        <collection>/<collection>-<number>-<time>.snapshot
        <collection>/shards/0/…                     made through the routes of shards
        *.snapshot.checksum                         SHA-256 of the file beside it, in hexadecimal
        .<storage>-<random>.tmp/                    work in progress of the server whose storage it is

Guarantees
    A name that a client sends is only ever compared with the names that are there: none can lead out of the folder.
    A snapshot appears under its name whole, flushed to the disk, after its checksum.
    What a crash leaves behind is removed at the next start of the server that left it. Several servers may share one
    folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from vdb.errors import BadRequest, Forbidden, InsufficientStorage, NotFound
from vdb.files import fsync_dir, write_atomically
from vdb.model.snapshots import SnapshotDescription

SUFFIX: Final = ".snapshot"
_CHECKSUM_SUFFIX: Final = ".checksum"
_FULL_NAME: Final = "full-snapshot"
_SHARDS_NAME: Final = "shards"
_NUMBER_DIGITS: Final = 16
# Bytes of the disk that are never filled: the log of every collection has to go on growing while snapshots are made.
_DISK_RESERVE_BYTES: Final = 256 * 2**20

# Collections whose name every file system takes have a folder of that name, all others one with a hash.
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_-]")
_RESERVED_NAME: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
_SLUG: Final = re.compile(r"[^A-Za-z0-9_-]+")
_SLUG_LENGTH_MAX: Final = 60


class SnapshotsFolder:
    """``root`` need not exist before something is written to it. Methods block on the disk."""

    def __init__(self, root: Path, storage: Path) -> None:
        self.root = root.absolute()
        self._owner = hashlib.sha256(str(storage.absolute()).encode()).hexdigest()[:12]

    def sweep(self) -> None:
        """Removes what this server left unfinished when it was killed."""
        if self.root.is_dir():
            for path in self.root.glob(f".{self._owner}-*.tmp"):
                shutil.rmtree(path, ignore_errors=True)

    def of(self, collection: str | None, shard: bool = False) -> SnapshotsPlace:
        """Where the snapshots of a collection, of its one shard, or of the whole storage (None) lie."""
        if collection is None:
            return SnapshotsPlace(self, self.root, _FULL_NAME)
        name = _folder_name(collection)
        place = self.root / name
        if shard:
            return SnapshotsPlace(self, place / _SHARDS_NAME / "0", f"{name}-shard-0")
        return SnapshotsPlace(self, place, name)

    def new_scratch(self) -> Path:
        """An empty folder on the same file system, which whoever asked for it removes."""
        path = self.root / f".{self._owner}-{secrets.token_hex(8)}.tmp"
        path.mkdir(parents=True)
        return path

    def require_space(self, needed_bytes: int) -> None:
        """Raises InsufficientStorage where that many bytes would fill the disk."""
        require_space(self.root, needed_bytes)

    def resolve(self, location: str) -> Path:
        """The file of a ``file://`` URL, which must lie below the folder.

        Raises BadRequest for another URL or a file that is missing, Forbidden for one outside the folder.
        """
        parts = split_url(location)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise BadRequest(f"{location[:200]!r} is not a file:// URL of this machine")
        return self.below(Path(url2pathname(parts.path)))

    def below(self, path: Path) -> Path:
        """``path`` itself where it is a file below the folder; raises Forbidden and BadRequest."""
        root = self.root.resolve()
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise BadRequest("the path of the snapshot cannot be followed") from error
        if not resolved.is_relative_to(root):
            raise Forbidden("Snapshots are recovered from files below the snapshots folder only")
        if not resolved.is_file():
            raise BadRequest(f"Snapshot file {str(resolved.relative_to(root))!r} does not exist")
        return resolved


class SnapshotsPlace:
    """The snapshots of one collection, of one shard, or of the whole storage."""

    def __init__(self, folder: SnapshotsFolder, path: Path, stem: str) -> None:
        self.folder = folder
        self.path = path
        self._stem = stem

    def new_name(self, at: datetime) -> str:
        number = secrets.randbelow(9 * 10 ** (_NUMBER_DIGITS - 1)) + 10 ** (_NUMBER_DIGITS - 1)
        return f"{self._stem}-{number}-{at.strftime('%Y-%m-%d-%H-%M-%S')}{SUFFIX}"

    def list(self) -> list[SnapshotDescription]:
        """All snapshots, oldest first."""
        if not self.path.is_dir():
            return []
        found = []
        for path in self.path.iterdir():
            if _is_snapshot(path):
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    found.append(describe(path))
        return sorted(found, key=lambda snapshot: (snapshot.creation_time or "", snapshot.name))

    def find(self, name: str) -> Path:
        """The file of that name; raises NotFound."""
        for path in self.path.iterdir() if self.path.is_dir() else ():
            if path.name == name and _is_snapshot(path):
                return path
        raise NotFound(f"Snapshot `{name}` doesn't exist!")

    def adopt(self, finished: Path, name: str, checksum: str) -> SnapshotDescription:
        """Gives a finished file of the same file system its name, durably."""
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / name
        write_atomically(_checksum_path(target), checksum.encode())
        finished.rename(target)
        fsync_dir(self.path)
        return describe(target)

    def delete(self, name: str) -> None:
        """Raises NotFound."""
        path = self.find(name)
        path.unlink(missing_ok=True)
        _checksum_path(path).unlink(missing_ok=True)
        fsync_dir(self.path)


@contextmanager
def named_disk() -> Iterator[None]:
    """Turns the operating system's complaint about a full disk into the error that names who must act."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InsufficientStorage(f"No space left on device for the snapshot: {error.strerror}") from error
        raise


def split_url(location: str) -> SplitResult:
    """Raises BadRequest for what is no URL at all."""
    try:
        return urlsplit(location)
    except ValueError as error:
        raise BadRequest(f"{location[:200]!r} is not a URL: {error}") from error


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises InsufficientStorage where that many bytes more would fill the disk below ``folder``."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free - needed_bytes < _DISK_RESERVE_BYTES:
        raise InsufficientStorage(
            f"{needed_bytes} bytes are needed for the snapshot; {free} are free on the disk,"
            f" of which {_DISK_RESERVE_BYTES} are kept for writes"
        )


def describe(path: Path) -> SnapshotDescription:
    """What is known about a file without reading it; one that was put there by hand may have no checksum."""
    facts = path.stat()
    checksum = None
    with contextlib.suppress(OSError):
        text = _checksum_path(path).read_text(encoding="ascii", errors="replace").strip()
        checksum = text if re.fullmatch("[0-9a-f]{64}", text) else None
    at = datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return SnapshotDescription(name=path.name, creation_time=at, size=facts.st_size, checksum=checksum)


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + _CHECKSUM_SUFFIX)


def _is_snapshot(path: Path) -> bool:
    return path.name.endswith(SUFFIX) and not path.name.startswith(".") and path.is_file() and not path.is_symlink()


def _folder_name(collection: str) -> str:
    if _PLAIN_NAME.fullmatch(collection) and not _RESERVED_NAME.fullmatch(collection):
        return collection
    slug = _SLUG.sub("-", collection)[:_SLUG_LENGTH_MAX].strip("-") or "collection"
    # No plain name has a tilde: two collections never share a folder.
    return f"{slug}~{hashlib.sha256(collection.encode()).hexdigest()[:16]}"
