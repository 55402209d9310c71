"""A collection's snapshot made, and the folder of a collection made from one.

Guarantees
    Nothing in an archive is believed: its shape, checksums, schema, rows, vectors and settings are checked before
    anybody may open what came out. What is refused raises BadSnapshot.
    Memory does not grow with the size of a snapshot: vectors that are more than the memory takes are written to sealed
    segments straight from the database. They get their graphs from the optimizer, as all segments do.
Assumes
    Worker threads run this; nobody else knows the folder yet.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Final
from uuid import uuid4

import numpy as np
import orjson

from vdb import __version__
from vdb.collection.archive import (
    CONFIG_NAME,
    DATABASE_NAME,
    FORMAT_VERSION,
    Archive,
    Manifest,
    write_archive,
)
from vdb.collection.commit import utc_now
from vdb.collection.recovery import SEGMENTS_NAME
from vdb.errors import BadRequest, BadSnapshot
from vdb.files import fsync_dir, fsync_file, resource, write_atomically
from vdb.model import collection_config
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import decode_schema
from vdb.model.names import validate_vector_names
from vdb.model.sparse import sparse_from_bytes
from vdb.model.vectors import VectorSpace
from vdb.segment import manifest as segment_manifest
from vdb.segment.fields.build import new_index
from vdb.segment.manifest import VectorEntry, describe_file
from vdb.segment.recipe import Recipe, recipe_for, sealing_bytes
from vdb.storage import backup, field_indexes
from vdb.storage.integrity import unseal_everything
from vdb.storage.migrate import load_migrations
from vdb.storage.points import Nums
from vdb.storage.vector_names import read_vector_ids

# Vectors up to so many bytes are left in memory, as writing them would have left them: the optimizer takes them there.
_MEMORY_BYTES_MAX: Final = 16 * 2**20
_VALUE_BYTES_MAX: Final = 128 * 2**20  # a payload, a vector or a request: what a request of 32 MiB can become
_SPARSE_ENTRY_BYTES: Final = 8

CheckCancelled = Callable[[], None]
RawRows = Iterator[tuple[Nums, bytes]]


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """How large a segment may be: bytes of stored vectors, and rows."""

    bytes_max: int
    rows_max: int


def make_snapshot(
    pinned: Connection, name: str, config: str, scratch: Path, at: datetime, check_cancelled: CheckCancelled
) -> tuple[Path, str]:
    """The archive of a pinned database, in ``scratch``, and its SHA-256. ``scratch`` is an empty folder."""
    database, settings = scratch / DATABASE_NAME, scratch / CONFIG_NAME
    backup.copy_pinned(pinned, database, check_cancelled)
    settings.write_text(config, encoding="utf-8")
    points, seq = backup.points_and_seq(pinned)
    manifest = Manifest(
        format=FORMAT_VERSION,
        kind="collection",
        vdb=__version__,
        created_at=utc_now(),
        collection=name,
        points=points,
        seq=seq,
        files=(describe_file(settings), describe_file(database)),
    )
    target = scratch / "archive"
    checksum = write_archive(target, manifest, [settings, database], at, check_cancelled)
    database.unlink()
    return target, checksum


def restore(archive: Archive, folder: Path, size: SegmentSize, check_cancelled: CheckCancelled) -> CollectionConfig:
    """Fills ``folder``, which exists and is empty, and returns the collection's settings; durable on return.

    Raises BadSnapshot, InsufficientStorage and OSError; the caller removes the folder then.
    """
    config = _config(archive.read(CONFIG_NAME))
    database = folder / DATABASE_NAME
    archive.extract(DATABASE_NAME, database, check_cancelled)
    with backup.admitting(database, _VALUE_BYTES_MAX) as connection:
        backup.admit(connection, database, load_migrations(resource("migrations/collection")))
        check_cancelled()
        _check_indexes(connection)
        _check_payloads(connection, check_cancelled)
        unseal_everything(connection)
        _take_vectors(connection, config, folder / SEGMENTS_NAME, size, check_cancelled)
    with database.open("rb+") as file:
        fsync_file(file.fileno())
    fsync_dir(folder)
    return config


def _config(text: bytes) -> CollectionConfig:
    try:
        config = collection_config.decode(text.decode())
        validate_vector_names(config.vectors(), config.sparse_vectors())
        collection_config.refuse_unsupported(config)
    except (BadRequest, ValueError, RecursionError) as error:
        raise BadSnapshot(f"its config.json cannot be a collection's: {error}") from error
    return config


def _check_indexes(connection: Connection) -> None:
    for path, schema in field_indexes.read_field_indexes(connection).items():
        try:
            new_index(path, decode_schema(schema))
        except (BadRequest, ValueError) as error:
            raise BadSnapshot(f"the index of {path[:80]!r} in it is of no known kind: {error}") from error


def _check_payloads(connection: Connection, check_cancelled: CheckCancelled) -> None:
    """What SQLite takes for JSON, a parser that will read it later may not."""
    for texts in backup.read_payload_blocks(connection):
        check_cancelled()
        try:
            whole = all(isinstance(orjson.loads(text), dict) for text in texts)
        except (ValueError, RecursionError) as error:
            raise BadSnapshot(f"a payload in it is no JSON object: {error}") from error
        if not whole:
            raise BadSnapshot("a payload in it is no JSON object")


def _take_vectors(
    connection: Connection, config: CollectionConfig, folder: Path, size: SegmentSize, check_cancelled: CheckCancelled
) -> None:
    """Checks every vector, and writes segments where there are too many of them for the memory."""
    vector_ids = read_vector_ids(connection)
    dense = {name: vector for name, vector in config.vectors().items() if name in vector_ids}
    total = 0
    for name, params in dense.items():
        space = params.space(name)
        total += backup.vector_bytes(connection, vector_ids[name]) // space.row_bytes * space.dim * 4
    folder.mkdir()
    if total <= min(sealing_bytes(config), _MEMORY_BYTES_MAX):
        for name, params in dense.items():
            for _ in _rows(connection, vector_ids[name], params.space(name)):
                check_cancelled()
    else:
        _write_segments(connection, config, {name: vector_ids[name] for name in dense}, folder, size, check_cancelled)
    for name in config.sparse_vectors():
        if name in vector_ids:
            _check_sparse(connection, vector_ids[name], name)
            check_cancelled()


def _rows(connection: Connection, vector_id: int, space: VectorSpace) -> RawRows:
    """All vectors of a name as they are stored, some at a time: the point of each row, and the rows' bytes."""
    for nums, sizes, data in backup.read_raw_blocks(connection, vector_id):
        lengths = np.array(sizes)
        wrong = lengths % space.row_bytes != 0 if space.multi else lengths != space.row_bytes
        if wrong.any() or not lengths.all():
            raise BadSnapshot(f"a vector of `{space.name}` in it has not {space.dim} dimensions")
        values = np.frombuffer(data, dtype=space.datatype.dtype)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadSnapshot(f"a vector of `{space.name}` in it holds a number that is not finite")
        yield np.repeat(nums, lengths // space.row_bytes), data


def _check_sparse(connection: Connection, vector_id: int, name: str) -> None:
    for _, sizes, data in backup.read_raw_blocks(connection, vector_id):
        place = 0
        for length in sizes:
            vector = sparse_from_bytes(data[place : place + length])
            place += length
            ascending = (vector.indices[1:] > vector.indices[:-1]).all()
            if length % _SPARSE_ENTRY_BYTES or not ascending or not np.isfinite(vector.values).all():
                raise BadSnapshot(f"a sparse vector of `{name}` in it is none")


def _write_segments(
    connection: Connection,
    config: CollectionConfig,
    vector_ids: dict[str, int],
    folder: Path,
    size: SegmentSize,
    check_cancelled: CheckCancelled,
) -> None:
    """Segments without graphs: the first takes the first rows of every name, the next what follows, and so on."""
    spaces = {name: config.vector(name).space(name) for name in vector_ids}
    streams = {name: _rows(connection, vector_ids[name], space) for name, space in spaces.items()}
    for segment_id in itertools.count(1):
        path = folder / str(uuid4())
        path.mkdir()
        entries = []
        for name, rows in streams.items():
            stem = path / str(vector_ids[name])
            count = _write_rows(rows, stem, size, check_cancelled)
            if count:
                entries.append(_describe(config, spaces[name], vector_ids[name], stem, count))
        if not entries:
            path.rmdir()
            break
        manifest = segment_manifest.Manifest(segment_manifest.FORMAT_VERSION, tuple(entries))
        write_atomically(path / segment_manifest.MANIFEST_NAME, manifest.to_json().encode())
        backup.add_segment(connection, segment_id, path.name, utc_now(), manifest.to_json())
    for vector_id in vector_ids.values():
        backup.seal(connection, vector_id)
    fsync_dir(folder)


def _write_rows(rows: RawRows, stem: Path, size: SegmentSize, check_cancelled: CheckCancelled) -> int:
    """Moves rows of ``rows`` to two files until a segment is full; returns how many. The files of none are not made."""
    count = written = 0
    matrix_path, nums_path = stem.with_suffix(".matrix"), stem.with_suffix(".nums")
    with contextlib.ExitStack() as stack:
        while written < size.bytes_max and count < size.rows_max:
            block = next(rows, None)
            if block is None:
                break
            check_cancelled()
            if not count:
                matrix, nums = (stack.enter_context(path.open("xb")) for path in (matrix_path, nums_path))
            matrix.write(block[1])
            nums.write(block[0].astype("<u4").tobytes())
            count += len(block[0])
            written += len(block[1])
        if count:
            for file in (matrix, nums):
                file.flush()
                fsync_file(file.fileno())
    return count


def _describe(config: CollectionConfig, space: VectorSpace, vector_id: int, stem: Path, rows: int) -> VectorEntry:
    """The entry of rows without graph and codes: where some are wanted, the optimizer sees the difference."""
    wanted = recipe_for(config, space.name, rows)
    return VectorEntry(
        vector_id=vector_id,
        name=space.name,
        dim=space.dim,
        distance=space.distance.value,
        datatype=space.datatype.value,
        rows=rows,
        matrix=describe_file(stem.with_suffix(".matrix")),
        nums=describe_file(stem.with_suffix(".nums")),
        recipe=Recipe(m=0, ef_construct=0, matrix=wanted.matrix, graph=wanted.graph, codes=wanted.codes),
    )
