"""Field indexes as files: a start reads them instead of every payload.

::

    fields/<XXH3-128 of the path>.index
        8 bytes    "vdbfield"
        u32        bytes of the header, little-endian
        header     JSON: Header
        blocks     one after the other, as long as the header says
        16 bytes   XXH3-128 of everything before

Guarantees
    A file is used whole or not at all: its checksum, its path and schema, and the recipe that its content was made by
    must be what they would be now. Whatever else lies in the folder is removed.
    What comes out is exact for the state that SQLite holds: points that were written since the file was are read again,
    points that are gone are left out.
Assumes
    Every operation that changes a payload gives its point its own seq as version.
    ``read_indexes`` runs before anything is written: a file from the future of its database (an older copy of that was
    put in place) must go before the log's numbers reach the file's again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import orjson
import xxhash
from pyroaring import BitMap

from vdb.files import write_atomically
from vdb.model.field_index import PayloadFieldSchema, encode_schema
from vdb.segment.fields.blocks import Block
from vdb.segment.fields.build import new_index, recipe
from vdb.segment.fields.index import FieldIndex, FieldSnapshot
from vdb.storage import points

logger = logging.getLogger(__name__)

FIELDS_NAME: Final = "fields"
FORMAT_VERSION: Final = 2
# A point whose payload is read again costs the start some 10 µs, and more where it holds long texts; an index that is
# further behind is built anew, while the collection already serves.
REREAD_POINTS_MAX: Final = 20_000

_MAGIC: Final = b"vdbfield"
SUFFIX: Final = ".index"
_DIGEST_BYTES: Final = 16
_READ_POINTS: Final = 1_000


class Header(msgspec.Struct, frozen=True):
    """``seq`` is the newest operation that the index knows; ``blocks`` are names and sizes in bytes."""

    format: int
    recipe: str
    path: str
    schema: str
    seq: int
    blocks: list[tuple[str, int]]


class Unusable(Exception):
    """Why a file is not read."""


class Outdated(Unusable):
    """It was right, and another version of vdb or another schema asks for another content."""


def index_file(folder: Path, path: str) -> Path:
    """Where the index of a path is kept."""
    return folder / f"{xxhash.xxh3_128_hexdigest(path.encode())}{SUFFIX}"


def write_index(file: Path, path: str, snapshot: FieldSnapshot, seq: int) -> None:
    """Writes one index, durably; raises OSError. Takes a while: for threads."""
    blocks = snapshot.dump()
    header = Header(
        format=FORMAT_VERSION,
        recipe=recipe(snapshot.schema),
        path=path,
        schema=encode_schema(snapshot.schema),
        seq=seq,
        blocks=[(name, len(block)) for name, block in blocks.items()],
    )
    text = msgspec.json.encode(header)
    parts: list[Block] = [_MAGIC, len(text).to_bytes(4, "little"), text, *blocks.values()]
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, *parts, digest.digest())


def read_indexes(
    connection: sqlite3.Connection,
    folder: Path,
    schemas: Mapping[str, PayloadFieldSchema],
    all_points: BitMap,
    seq: int,
) -> dict[str, tuple[FieldIndex, int]]:
    """The indexes whose files are of use, as of ``seq``, by path, and how many points each had to read again.

    All others have to be built. Runs on the writer's thread before the actor starts.
    """
    if not folder.is_dir():
        return {}
    remove_indexes(folder, keep=schemas)
    found: dict[str, tuple[FieldIndex, int]] = {}
    for path, schema in schemas.items():
        file = index_file(folder, path)
        try:
            found[path] = StoredIndex(file).index(path, schema, seq)
        except FileNotFoundError:
            continue
        except (Unusable, OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
            logger.warning("the index of %s is built again: %s: %s", path, file, error)
            with suppress(OSError):
                file.unlink()
    if not found:
        return {}
    versions = points.read_changed_since(connection, min(index_seq for _, index_seq in found.values()))
    current: dict[str, tuple[FieldIndex, int]] = {}
    for path, (index, index_seq) in found.items():
        changed = [num for num, version in versions.items() if version > index_seq]
        if len(changed) <= REREAD_POINTS_MAX:
            bring_up(connection, index, changed, all_points)
            current[path] = index, len(changed)
        else:
            logger.info("the index of %s is built again: %d points changed since it was written", path, len(changed))
    return current


def remove_indexes(folder: Path, keep: Iterable[str] = ()) -> None:
    """Removes every file but those of the paths in ``keep``; one that cannot be removed does no harm."""
    kept = {index_file(folder, path) for path in keep}
    for file in folder.iterdir() if folder.is_dir() else ():
        if file not in kept:
            with suppress(OSError):
                file.unlink()


class StoredIndex:
    """A file's content, its checksum verified."""

    def __init__(self, file: Path) -> None:
        """Raises Unusable, OSError, and what decoding raises."""
        content = memoryview(file.read_bytes())
        if bytes(content[: len(_MAGIC)]) != _MAGIC:
            raise Unusable("this is not an index")
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if xxhash.xxh3_128(body).digest() != digest:
            raise Unusable("the checksum is wrong")
        start = len(_MAGIC) + 4
        end = start + int.from_bytes(body[len(_MAGIC) : start], "little")
        self._header = msgspec.json.decode(body[start:end], type=Header)
        self._blocks = body[end:]

    @property
    def path(self) -> str:
        return self._header.path

    def index(self, path: str, schema: PayloadFieldSchema, seq: int) -> tuple[FieldIndex, int]:
        """The index and the seq that it was taken at; raises Unusable, and what decoding raises."""
        header = self._header
        if (header.format, header.recipe) != (FORMAT_VERSION, recipe(schema)):
            raise Outdated(f"it was written in format {header.format} by {header.recipe}")
        if (header.path, header.schema) != (path, encode_schema(schema)):
            raise Outdated(f"it indexes {header.path} as {header.schema}")
        if header.seq > seq:
            raise Unusable(f"it knows operation {header.seq}, and the log ends with {seq}")
        blocks: dict[str, Block] = {}
        end = 0
        for name, size in header.blocks:
            start, end = end, end + size
            blocks[name] = self._blocks[start:end]
        index = new_index(path, schema)
        index.restore(blocks)
        return index, header.seq


def bring_up(connection: sqlite3.Connection, index: FieldIndex, changed: list[int], all_points: BitMap) -> None:
    """Reads the payloads of ``changed`` points again, and leaves out points that are gone."""
    for start in range(0, len(changed), _READ_POINTS):
        nums = changed[start : start + _READ_POINTS]
        stored = points.read_payloads(connection, nums)
        index.apply((num, index.values_in(orjson.loads(stored[num])) if num in stored else None) for num in nums)
    index.apply((num, None) for num in index.snapshot().presence.present - all_points)
