"""A snapshot: an uncompressed tar of regular files that ``tar -tf`` lists, and nothing else.

::

    of a collection                     of the whole storage
        manifest.json   Manifest            manifest.json   Manifest
        config.json     its settings        aliases.json    body of POST /collections/aliases
        collection.sqlite                   0001.snapshot   the first collection's snapshot
                                            0002.snapshot   …

The manifest comes first and names every other member with its size and XXH3-128. Segments and field indexes are left
out: they are derived, and a graph from outside is never opened.

Guarantees
    ``open_archive`` takes an archive of exactly this shape. No member can be a link, a device, a folder or sparse, none
    can be called anything else, and together they are no longer than the file: nothing can be unpacked beside the place
    meant for it, and nothing grows when it is unpacked.
    ``extract`` leaves a file whose checksum is the manifest's, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import msgspec
import xxhash

from vdb.errors import BadSnapshot
from vdb.files import fsync_file
from vdb.segment.manifest import FileEntry

FORMAT_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"
CONFIG_NAME: Final = "config.json"
DATABASE_NAME: Final = "collection.sqlite"
ALIASES_NAME: Final = "aliases.json"

BLOCK_BYTES: Final = 512  # tar's
COPY_BYTES: Final = 2**20  # read at once
_JSON_BYTES_MAX: Final = 32 * 2**20  # of a member that is read into memory
_MEMBERS_MAX: Final = 100_000
_END_BYTES_MAX: Final = 64 * 1024  # tar pads the end of an archive with zeros, to 10 KiB by default
_OCTAL_SIZE_MAX: Final = 8**11
_NAMES: Final = re.compile(r"manifest\.json|config\.json|collection\.sqlite|aliases\.json|[0-9]{4,6}\.snapshot")
_KINDS_OF_MEMBER: Final = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device",
                           b"5": "a folder", b"6": "a pipe", b"S": "a sparse file"}  # fmt: skip

Kind = Literal["collection", "storage"]


class CollectionEntry(msgspec.Struct, frozen=True):
    """One collection of a storage snapshot, and the member that is its own snapshot."""

    name: str
    file: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``points`` and ``seq`` are a collection's at that moment: for people, the database is what counts."""

    format: int
    kind: Kind
    vdb: str
    created_at: str
    files: tuple[FileEntry, ...]
    collection: str | None = None
    points: int | None = None
    seq: int | None = None
    collections: tuple[CollectionEntry, ...] = ()


class _Format(msgspec.Struct, frozen=True):
    format: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside the archive: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive whose shape is right; the content of its members is not checked yet."""

    file: BinaryIO
    manifest: Manifest
    members: Mapping[str, Member]

    def read(self, name: str) -> bytes:
        """A small member, whole and checked."""
        member = self.members[name]
        if member.size > _JSON_BYTES_MAX:
            raise BadSnapshot(f"{name} is too large")
        self.file.seek(member.offset)
        content = _read_exactly(self.file, member.size)
        self._check(name, xxhash.xxh3_128(content).hexdigest())
        return content

    def extract(self, name: str, target: Path, check_cancelled: Callable[[], None]) -> None:
        """Writes a member to ``target``, a new file; blocks on the disk, flushes nothing."""
        member = self.members[name]
        digest = xxhash.xxh3_128()
        self.file.seek(member.offset)
        try:
            with target.open("xb") as out:
                left = member.size
                while left:
                    check_cancelled()
                    block = _read_exactly(self.file, min(COPY_BYTES, left))
                    digest.update(block)
                    out.write(block)
                    left -= len(block)
            self._check(name, digest.hexdigest())
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise

    def _check(self, name: str, checksum: str) -> None:
        entry = next(entry for entry in self.manifest.files if entry.name == name)
        if entry.xxh3 != checksum:
            raise BadSnapshot(f"{name} does not match its checksum")


def write_archive(
    target: Path, manifest: Manifest, files: Sequence[Path], at: datetime, check_cancelled: Callable[[], None]
) -> str:
    """Writes ``manifest`` and ``files`` to ``target``, flushed to the disk; returns the SHA-256 of the archive.

    ``manifest.files`` describes ``files``, in order.
    """
    digest = hashlib.sha256()
    seconds = int(at.timestamp())
    with target.open("xb") as out:

        def write(block: bytes) -> None:
            digest.update(block)
            out.write(block)

        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        write(_header(MANIFEST_NAME, len(text), seconds) + text + _padding(len(text)))
        for path, entry in zip(files, manifest.files, strict=True):
            write(_header(entry.name, entry.size_bytes, seconds))
            written = 0
            with path.open("rb") as source:
                while block := source.read(COPY_BYTES):
                    check_cancelled()
                    write(block)
                    written += len(block)
            assert written == entry.size_bytes, "nobody else writes these files"
            write(_padding(written))
        write(bytes(2 * BLOCK_BYTES))
        out.flush()
        fsync_file(out.fileno())
    return digest.hexdigest()


def open_archive(file: BinaryIO, kind: Kind) -> Archive:
    """Checks the shape of an archive from outside; raises BadSnapshot. Reads headers and the manifest."""
    file.seek(0)
    members = list(_members(file, file.seek(0, 2)))
    if not members or members[0].name != MANIFEST_NAME:
        raise BadSnapshot("it is not an archive of vdb's: its first file is not manifest.json")
    by_name = {member.name: member for member in members}
    if len(by_name) < len(members):
        raise BadSnapshot("it holds two files of one name")
    manifest = _manifest(file, members[0])
    if manifest.kind != kind:
        raise BadSnapshot(f"it is the snapshot of a {manifest.kind}, not of a {kind}")
    described = {entry.name: entry.size_bytes for entry in manifest.files}
    if described != {member.name: member.size for member in members[1:]} or len(described) < len(manifest.files):
        raise BadSnapshot("its manifest describes other files than it holds")
    needed = {CONFIG_NAME, DATABASE_NAME} if kind == "collection" else {ALIASES_NAME}
    needed |= {entry.file for entry in manifest.collections}
    if needed != described.keys():
        raise BadSnapshot(f"it does not hold what the snapshot of a {kind} holds")
    return Archive(file, manifest, by_name)


def _manifest(file: BinaryIO, member: Member) -> Manifest:
    if member.size > _JSON_BYTES_MAX:
        raise BadSnapshot("its manifest is too large")
    file.seek(member.offset)
    text = _read_exactly(file, member.size)
    try:
        version = msgspec.json.decode(text, type=_Format).format
        if version != FORMAT_VERSION:
            raise BadSnapshot(f"archive format {version} is unknown to this version of vdb")
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadSnapshot(f"its manifest cannot be read: {error}") from error


def _members(file: BinaryIO, size: int) -> Iterator[Member]:
    """The members in order, and after them zeros to the end of the file; raises BadSnapshot."""
    offset = 0
    for _ in range(_MEMBERS_MAX):
        file.seek(offset)
        header = file.read(BLOCK_BYTES)
        if len(header) < BLOCK_BYTES:
            raise BadSnapshot("it ends too early")
        if not any(header):
            _check_end(file, size - offset)
            return
        member = _parse(header, offset + BLOCK_BYTES)
        yield member
        offset = member.offset + member.size + len(_padding(member.size))
        if offset > size:
            raise BadSnapshot("it ends too early")
    raise BadSnapshot("it holds too many files")


def _check_end(file: BinaryIO, length: int) -> None:
    if length < 2 * BLOCK_BYTES:
        raise BadSnapshot("it ends too early")
    if length > _END_BYTES_MAX or any(file.read(length)):
        raise BadSnapshot("something follows its end")


def _parse(header: bytes, offset: int) -> Member:
    try:
        checksum = int(header[148:156].strip(b"\0 ") or b"x", 8)
    except ValueError:
        raise BadSnapshot("it is not a tar archive") from None
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != checksum:
        raise BadSnapshot("it is not a tar archive, or it is damaged")
    name = header[:100].rstrip(b"\0").decode("ascii", errors="backslashreplace")
    kind = header[156:157]
    if kind not in (b"0", b"\0"):
        raise BadSnapshot(f"{name!r} in it is {_KINDS_OF_MEMBER.get(kind, 'not a regular file')}")
    if not _NAMES.fullmatch(name) or any(header[345:500]):
        raise BadSnapshot(f"a file called {name!r} has no place in it")
    return Member(name, offset, _size(header[124:136]))


def _size(field: bytes) -> int:
    if field[0] == 0x80:  # what does not fit into octal digits: a number of 95 bits, as GNU and star write it
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b"\0 ") or b"x", 8)
    except ValueError:
        raise BadSnapshot("the size of a file in it is no number") from None


def _header(name: str, size: int, mtime: int) -> bytes:
    octal = size < _OCTAL_SIZE_MAX
    header = b"".join(
        (
            name.encode("ascii").ljust(100, b"\0"),
            b"0000644\0" + b"0000000\0" * 2,
            b"%011o\0" % size if octal else b"\x80" + size.to_bytes(11, "big"),
            b"%011o\0" % mtime,
            b" " * 8,
            b"0".ljust(101, b"\0"),
            b"ustar\x0000",
        )
    ).ljust(BLOCK_BYTES, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK_BYTES)


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise BadSnapshot("it ends too early")
    return content


def sha256_of(file: BinaryIO, check_cancelled: Callable[[], None]) -> str:
    """Reads all of ``file``."""
    digest: Any = hashlib.sha256()
    file.seek(0)
    while block := file.read(COPY_BYTES):
        check_cancelled()
        digest.update(block)
    checksum: str = digest.hexdigest()
    return checksum
