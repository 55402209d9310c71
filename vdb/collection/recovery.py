"""Opening a collection: SQLite is read, derived files are verified, and what is damaged is rebuilt from SQLite.

Files that were verified before and have not changed since are not read again (``segment/verified.py``): how long a
start takes must not grow with the data.

Guarantees
    The state that comes out is what SQLite holds, whatever the segment folders look like.
    A damaged or missing segment is named in the log once; its vectors are in memory and the optimizer seals them again.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vdb.collection.actor import FREEZE_BYTES
from vdb.collection.commit import keep_vectors, spaces_of
from vdb.collection.field_files import FIELDS_NAME, read_indexes
from vdb.collection.payload_memory import read_all_payloads
from vdb.collection.state import State
from vdb.errors import Corrupt
from vdb.files import resource
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import decode_schema
from vdb.segment.fields.bitmaps import bitmap_of
from vdb.segment.sealed import SealedSegment, open_segment
from vdb.segment.verified import VERIFIED_NAME, VerifiedFiles
from vdb.storage import field_indexes, log, points, segments
from vdb.storage.migrate import load_migrations, migrate
from vdb.storage.segments import SegmentRow
from vdb.storage.sqlite import transaction

logger = logging.getLogger(__name__)

DATABASE_NAME: Final = "collection.sqlite"
SEGMENTS_NAME: Final = "segments"


@dataclass(frozen=True, slots=True)
class Recovered:
    """``rebuilt`` names the segments that were damaged; ``reread`` how far the files of restored indexes are behind."""

    state: State
    log_bytes: int
    next_segment_id: int
    rebuilt: Sequence[str]
    reread: Mapping[str, int]
    verified: VerifiedFiles


def recover(connection: sqlite3.Connection, name: str, folder: Path, config: CollectionConfig) -> Recovered:
    """Runs on the writer's thread before the actor starts; raises Corrupt where SQLite itself is damaged."""
    database = folder / DATABASE_NAME
    migrate(connection, database, load_migrations(resource("migrations/collection")))
    spaces, sparse_spaces = spaces_of(config)
    with transaction(connection):
        vector_ids = keep_vectors(connection, [*spaces.values(), *sparse_spaces.values()])
    verified = VerifiedFiles(folder / VERIFIED_NAME)
    good, damaged = _open_segments(connection, folder / SEGMENTS_NAME, verified)
    verified.keep(segment.folder.name for segment, _ in good)
    try:
        verified.save(clean=False)
    except OSError as error:
        logger.warning("collection %s: what was verified is forgotten: %s", name, error)
    for row in damaged:
        held = {
            vector_id: [_living_nums(segment, kept, vector_id) for segment, kept in good if vector_id in segment.rows]
            for vector_id in vector_ids.values()
        }
        with transaction(connection):
            moved = segments.drop_segment(connection, row.segment_id, held)
        logger.warning("collection %s: segment %s is rebuilt from SQLite (%d vectors)", name, row.folder, moved)
    identities = points.read_identities(connection)
    state = State(
        config=config,
        spaces=spaces,
        vector_ids=vector_ids,
        seq=log.head(connection),
        all_points=bitmap_of(np.concatenate([part.nums for part in identities])),
        sparse_spaces=sparse_spaces,
    )
    state.identities.load(identities)
    for vector_id, index in state.sparse.items():
        for block in points.read_all_sparse(connection, vector_id):
            index.apply(block)
        index.compact()
    schemas = {path: decode_schema(schema) for path, schema in field_indexes.read_field_indexes(connection).items()}
    restored = read_indexes(connection, folder / FIELDS_NAME, schemas, state.all_points, state.seq)
    for path, schema in schemas.items():
        if path in restored:
            state.fields.restore(path, restored[path][0])
        else:
            state.fields.begin(path, schema, state.seq)
    if not config.params.cold_payload:
        state.payloads = read_all_payloads(connection)
    for segment, row in good:
        state.attach(segment, row.tombstones)
    for vector_name, space in spaces.items():
        for nums, data in points.read_unsealed(connection, vector_ids[vector_name], space):
            state.load(vector_ids[vector_name], nums, data)
            if state.active_size_bytes() >= FREEZE_BYTES:
                state.open_appendable()
    _sweep(folder / SEGMENTS_NAME, {segment.folder.name for segment, _ in good})
    newest = max((row.segment_id for _, row in good), default=0)
    return Recovered(
        state,
        log.size_bytes(connection),
        newest + 1,
        [row.folder for row in damaged],
        {path: reread for path, (_, reread) in restored.items()},
        verified,
    )


def _open_segments(
    connection: sqlite3.Connection, folder: Path, verified: VerifiedFiles
) -> tuple[list[tuple[SealedSegment, SegmentRow]], list[SegmentRow]]:
    """Segments that the manifest names, opened, and those that cannot be."""
    good: list[tuple[SealedSegment, SegmentRow]] = []
    damaged: list[SegmentRow] = []
    for row in segments.read_segments(connection):
        try:
            segment = open_segment(
                row.segment_id,
                folder / row.folder,
                row.built_from_seq,
                row.manifest,
                verify_files=True,
                verified=verified,
            )
        except Corrupt as error:
            logger.warning("damaged segment file: %s", error)
            damaged.append(row)
        else:
            good.append((segment, row))
    return good, damaged


def _living_nums(segment: SealedSegment, row: SegmentRow, vector_id: int) -> points.Nums:
    nums = np.asarray(segment.rows[vector_id].nums)
    dead = row.tombstones.get(vector_id)
    return nums if dead is None else np.delete(nums, dead)


def _sweep(folder: Path, named: set[str]) -> None:
    """Deletes what the manifest does not name: unfinished builds, and segments retired before a crash."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in named:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
