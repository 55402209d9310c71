"""Is a collection's folder whole? The database against itself, and every derived file against the database.

Guarantees
    Nothing is changed, locked or left behind. A server may run meanwhile: what it replaces while it is looked at is no
    damage.
    ``truth`` is damage to SQLite's file, that only a backup mends. ``derived`` is damage to what is made from it: a
    start, or ``repair_collection``, makes it again.

What holds in a whole collection, for each name of dense vectors: every vector in SQLite either is ``unsealed`` or lives
in exactly one row of one segment, and that row has the same bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vdb.collection.check_fields import read_files, verify_indexes
from vdb.collection.commit import spaces_of
from vdb.collection.field_files import FIELDS_NAME, StoredIndex
from vdb.collection.recovery import DATABASE_NAME, SEGMENTS_NAME
from vdb.errors import Corrupt
from vdb.files import resource
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import decode_schema
from vdb.model.vectors import VectorSpace
from vdb.segment.fields.bitmaps import bitmap_of
from vdb.segment.manifest import Manifest, VectorEntry, verify
from vdb.storage import field_indexes, integrity, log, points, segments
from vdb.storage.integrity import Disturbed, inspecting
from vdb.storage.migrate import load_migrations
from vdb.storage.segments import SegmentRow

Kind = Literal["truth", "derived", "bookkeeping"]

_ATTEMPTS: Final = 5  # a server that starts meanwhile does so once, and nobody starts it five times in a row


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong. ``bookkeeping`` is derived too: rows of the database that say where vectors lie.

    ``segment_id`` names the segment that has to go, where it is one.
    """

    kind: Kind
    path: str
    what: str
    segment_id: int | None = None


class Report(msgspec.Struct, frozen=True):
    """What was looked at, and what is wrong with it."""

    findings: list[Finding]
    points: int = 0
    segments: int = 0
    field_files: int = 0


@dataclass(slots=True)
class _Placed:
    """Living rows of one name in one segment: ``rows[i]`` is the first of ``counts[i]`` rows of point ``nums[i]``."""

    segment: SegmentRow
    path: Path
    matrix: NDArray[Any]
    nums: NDArray[np.uint32]
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]


def check_collection(folder: Path, config: CollectionConfig, *, content: bool = True) -> Report:
    """Looks at everything. Without ``content`` files are held against their checksums alone, which takes less time."""
    database = folder / DATABASE_NAME
    for _ in range(_ATTEMPTS):
        # Before the database: so no file knows more than the moment of the database that it is held against.
        stored, wrong_files = read_files(folder / FIELDS_NAME)
        try:
            with inspecting(database) as connection:
                report = _check(connection, folder, config, stored, content)
        except Disturbed:
            continue
        except Corrupt as error:
            return Report([Finding("truth", str(error.path), error.why)])
        findings = [Finding("derived", str(file), why) for file, why in wrong_files.items()]
        return msgspec.structs.replace(report, findings=[*report.findings, *findings])
    return Report([Finding("truth", str(database), "cannot be read: servers start and stop all the time")])


def _check(
    connection: sqlite3.Connection,
    folder: Path,
    config: CollectionConfig,
    stored: Mapping[Path, StoredIndex],
    content: bool,
) -> Report:
    database = str(folder / DATABASE_NAME)
    errors = integrity.file_errors(connection)
    errors += integrity.schema_errors(connection, load_migrations(resource("migrations/collection")))
    if not errors:
        errors += integrity.row_errors(connection)
    if errors:
        return Report([Finding("truth", database, error) for error in errors])
    spaces, _ = spaces_of(config)
    findings: list[Finding] = []
    rows = segments.read_segments(connection)
    good = [(row, manifest) for row in rows if (manifest := _whole(folder, row, findings)) is not None]
    names = integrity.read_names(connection)
    for vector_id, (name, dim, datatype) in names.items():
        space = spaces.get(name)
        if dim is None:
            continue
        if space is None or (space.dim, space.datatype.value) != (dim, datatype):
            findings.append(Finding("truth", database, f"vector `{name}` is not what the catalog says"))
            continue
        placed = [
            _placed(folder, row, entry, space)
            for row, manifest in good
            for entry in manifest.vectors
            if entry.vector_id == vector_id
        ]
        findings += _vector_errors(connection, Path(database), vector_id, space, placed, content, len(good) < len(rows))
    nums = points.read_all_nums(connection)
    schemas = {path: decode_schema(schema) for path, schema in field_indexes.read_field_indexes(connection).items()}
    wrong = verify_indexes(stored, connection, schemas, bitmap_of(nums), log.head(connection), content)
    findings += [Finding("derived", str(file), why) for file, why in wrong.items()]
    return Report(findings, len(nums), len(rows), len(stored))


def _whole(folder: Path, row: SegmentRow, findings: list[Finding]) -> Manifest | None:
    """The manifest of a segment whose files are what it says; else None, and ``findings`` says why.

    A segment that a running server replaced meanwhile is gone from the manifest too: its vectors are not looked at.
    """
    path = folder / SEGMENTS_NAME / row.folder
    try:
        manifest = Manifest.from_json(row.manifest)
        verify(path, manifest)
    except ValueError as error:
        findings.append(Finding("derived", str(path), str(error), row.segment_id))
    except Corrupt as error:
        if _still_named(folder / DATABASE_NAME, row.segment_id):
            findings.append(Finding("derived", str(error.path), error.why, row.segment_id))
    else:
        return manifest
    return None


def _still_named(database: Path, segment_id: int) -> bool:
    try:
        with inspecting(database) as connection:
            return integrity.segment_is_named(connection, segment_id)
    except Disturbed:
        return True


def _placed(folder: Path, row: SegmentRow, entry: VectorEntry, space: VectorSpace) -> _Placed:
    path = folder / SEGMENTS_NAME / row.folder / entry.matrix.name
    try:
        every = np.fromfile(path.with_name(entry.nums.name), dtype="<u4")
        matrix: NDArray[Any] = np.empty((0, space.row_bytes), dtype=np.uint8)
        if len(every):
            matrix = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, space.row_bytes)
    except FileNotFoundError as error:
        raise Disturbed from error  # it was there a moment ago
    living = np.delete(np.arange(len(every)), row.tombstones.get(entry.vector_id, np.empty(0, dtype=np.int64)))
    nums, first, counts = np.unique(every[living], return_index=True, return_counts=True)
    return _Placed(row, path, matrix, nums.astype(np.uint32), living[first], counts)


def _vector_errors(
    connection: sqlite3.Connection,
    database: Path,
    vector_id: int,
    space: VectorSpace,
    placed: Sequence[_Placed],
    content: bool,
    incomplete: bool,
) -> Iterator[Finding]:
    """Of one name. ``incomplete`` says that a damaged segment is missing in ``placed``: its vectors are nowhere."""
    unsealed = integrity.read_unsealed_nums(connection, vector_id)
    stored: list[NDArray[np.uint32]] = []
    differs: dict[int, int] = {}
    misshapen = 0
    for nums, blobs in integrity.read_vector_blocks(connection, vector_id):
        stored.append(nums)
        sizes = np.array([len(blob) for blob in blobs])
        right = (sizes % space.row_bytes == 0) & (sizes > 0) if space.multi else sizes == space.row_bytes
        misshapen += int(np.count_nonzero(~right))
        if content and right.all():
            _compare(nums, blobs, space, placed, differs)
    known = np.concatenate(stored) if stored else np.empty(0, dtype=np.uint32)
    if misshapen:
        yield Finding("truth", str(database), f"{misshapen} vectors `{space.name}` are not {space.dim} numbers long")
    for position, count in differs.items():
        one = placed[position]
        what = f"{count} vectors are not those of the database"
        yield Finding("derived", str(one.path), what, one.segment.segment_id)
    for what, count in _misplaced(known, unsealed, placed, incomplete):
        yield Finding("bookkeeping", str(database), f"{count} vectors `{space.name}` {what}")


def _compare(
    nums: NDArray[np.uint32],
    blobs: Sequence[bytes],
    space: VectorSpace,
    placed: Sequence[_Placed],
    differs: dict[int, int],
) -> None:
    """Holds the stored vectors of ``nums`` against the rows of the segments that have them; counts into ``differs``."""
    counts = np.array([len(blob) // space.row_bytes for blob in blobs])
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = np.frombuffer(b"".join(blobs), dtype=np.uint8).reshape(-1, space.row_bytes)
    for position, one in enumerate(placed):
        _, ours, theirs = np.intersect1d(nums, one.nums, assume_unique=True, return_indices=True)
        same = counts[ours] == one.counts[theirs]
        wrong = int(np.count_nonzero(~same))
        ours, theirs = ours[same], theirs[same]
        if space.multi:
            for mine, its in zip(ours.tolist(), theirs.tolist(), strict=True):
                first, count = int(one.rows[its]), int(counts[mine])
                wrong += not np.array_equal(rows[starts[mine] : starts[mine + 1]], one.matrix[first : first + count])
        else:
            wrong += int(np.count_nonzero((rows[ours] != one.matrix[one.rows[theirs]]).any(axis=1)))
        if wrong:
            differs[position] = differs.get(position, 0) + wrong


def _misplaced(
    stored: NDArray[np.uint32], unsealed: NDArray[np.uint32], placed: Sequence[_Placed], incomplete: bool
) -> Iterator[tuple[str, int]]:
    """What is wrong with where vectors are said to lie, and of how many."""
    sealed = np.concatenate([one.nums for one in placed]) if placed else np.empty(0, dtype=np.uint32)
    everywhere = np.concatenate([sealed, unsealed])
    different, times = np.unique(everywhere, return_counts=True)
    complaints = [
        ("are in more than one place", int(np.count_nonzero(times > 1))),
        ("are in a segment or in `unsealed` and not in `vectors`", len(np.setdiff1d(different, stored))),
    ]
    if not incomplete:
        complaints.append(("are neither in a segment nor in `unsealed`", len(np.setdiff1d(stored, different))))
    yield from ((what, count) for what, count in complaints if count)
