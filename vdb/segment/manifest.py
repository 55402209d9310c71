"""What a sealed segment's folder holds, with sizes and checksums.

::

    segments/<uuid>/
        manifest.json     this module's Manifest
        0.matrix          rows × dim values of the datatype, row-major, little-endian
        0.nums            rows × uint32, the point of each row
        0.order           rows × int64, the rows by ascending point, where they do not stand so themselves
        0.graph           usearch's file (``hnsw.py``); it holds codes of all rows
        0.codes           rows × codes, where the graph holds other ones or there is none
        0.centre          2 × dim float32, where a code is binary (``binary.py``)
        0.factors         rows × 2 float32, beside a binary copy
        0.codebook        groups × 256 × group_dim float32, where a code is a product (``product.py``)
        1.matrix …        the number is the vector's id in the collection's database

The manifest stands in the database too, and the database's copy is the one that is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from vdb.errors import Corrupt
from vdb.segment.code import Code
from vdb.segment.recipe import Recipe
from vdb.segment.verified import Fingerprint, VerifiedFiles

FORMAT_VERSION: Final = 2
MANIFEST_NAME: Final = "manifest.json"
_READ_BYTES: Final = 4 * 2**20


class FileEntry(msgspec.Struct, frozen=True):
    """One file: its size in bytes and the XXH3-128 of its content, in hexadecimal."""

    name: str
    size_bytes: int
    xxh3: str


class GraphEntry(msgspec.Struct, frozen=True):
    file: FileEntry
    m: int
    ef_construct: int
    code: Code


class CodesEntry(msgspec.Struct, frozen=True):
    """The quantised copy of all rows; ``file`` is None where it is the graph's."""

    code: Code
    file: FileEntry | None = None


class VectorEntry(msgspec.Struct, frozen=True):
    """The vectors of one name."""

    vector_id: int
    name: str
    dim: int
    distance: str
    datatype: str
    rows: int
    matrix: FileEntry
    nums: FileEntry
    recipe: Recipe
    order: FileEntry | None = None
    graph: GraphEntry | None = None
    codes: CodesEntry | None = None
    centre: FileEntry | None = None
    factors: FileEntry | None = None
    codebook: FileEntry | None = None

    @property
    def files(self) -> list[FileEntry]:
        graph = self.graph.file if self.graph is not None else None
        codes = self.codes.file if self.codes is not None else None
        optional = (self.order, graph, codes, self.centre, self.factors, self.codebook)
        return [self.matrix, self.nums, *(file for file in optional if file is not None)]


class Manifest(msgspec.Struct, frozen=True):
    format: int
    vectors: tuple[VectorEntry, ...]

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Raises ValueError for what is not a manifest of this version."""
        manifest = msgspec.json.decode(text, type=cls)
        if manifest.format != FORMAT_VERSION:
            raise ValueError(f"segment format {manifest.format} is unknown here")
        return manifest

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for vector in self.vectors for file in vector.files)


def describe_file(path: Path) -> FileEntry:
    """Reads the whole file."""
    return FileEntry(path.name, path.stat().st_size, _checksum(path))


def verify(folder: Path, manifest: Manifest, verified: VerifiedFiles | None = None) -> None:
    """Reads every file that the manifest names; raises Corrupt at the first that is missing or differs.

    Those that ``verified`` knows to be right are not read, and it is told of the others.
    """
    for vector in manifest.vectors:
        for file in vector.files:
            verify_file(folder / file.name, file, verified)


def verify_file(path: Path, file: FileEntry, verified: VerifiedFiles | None = None) -> None:
    """``verify`` for one file."""
    try:
        before = Fingerprint.of(path)
        if before.size_bytes != file.size_bytes:
            raise Corrupt(path, f"is {before.size_bytes} bytes long, not {file.size_bytes}")
        if verified is not None and verified.holds(path):
            return
        if _checksum(path) != file.xxh3:
            raise Corrupt(path, "does not match its checksum")
        if verified is not None:
            verified.note(path, before)
    except OSError as error:
        raise Corrupt(path, error.strerror or str(error)) from error


def _checksum(path: Path) -> str:
    for found in checksum_in_steps(path):
        if found is not None:
            return found
    raise AssertionError("the last step is the checksum")


def checksum_in_steps(path: Path) -> Iterator[str | None]:
    """Reads a block at each step; the last one is the checksum. Raises OSError."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            yield None
    yield digest.hexdigest()
