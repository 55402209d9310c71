"""Makes derived files go that are damaged, so that the next start makes them again from the database.

Assumes
    The process holds the storage folder's lock: no server runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vdb.collection.check import Finding
from vdb.collection.field_files import FIELDS_NAME, remove_indexes
from vdb.collection.recovery import DATABASE_NAME, SEGMENTS_NAME
from vdb.segment.manifest import Manifest
from vdb.storage import integrity, segments
from vdb.storage.points import Nums
from vdb.storage.segments import SegmentRow
from vdb.storage.sqlite import transaction


def repair_collection(folder: Path, findings: Sequence[Finding]) -> list[str]:
    """What was done about ``findings``, a line each; the truth is never touched. Raises Corrupt, OSError."""
    if any(finding.kind == "truth" for finding in findings):
        return []
    done: list[str] = []
    damaged = {finding.segment_id for finding in findings if finding.segment_id is not None}
    if any(finding.kind == "bookkeeping" for finding in findings):
        done += rebuild_segments(folder)
    elif damaged:
        done += _drop_segments(folder, damaged)
    for finding in findings:
        if finding.kind == "derived" and finding.segment_id is None:
            Path(finding.path).unlink(missing_ok=True)
            done.append(f"removed {finding.path}")
    return done


def rebuild_segments(folder: Path) -> list[str]:
    """Removes all segments: the next start reads every vector into memory and seals it again. Raises Corrupt."""
    with integrity.repairing(folder / DATABASE_NAME) as connection:
        moved = integrity.unseal_everything(connection)
    shutil.rmtree(folder / SEGMENTS_NAME, ignore_errors=True)
    return [f"removed all segments ({moved} vectors to seal again)"]


def remove_field_files(folder: Path) -> list[str]:
    """Removes all field-index files: the next start builds the indexes from the payloads."""
    present = list((folder / FIELDS_NAME).glob("*"))
    remove_indexes(folder / FIELDS_NAME)
    return [f"removed {len(present)} field-index files"] if present else []


def _drop_segments(folder: Path, damaged: set[int]) -> list[str]:
    """As a start does it, and before the server is needed."""
    done: list[str] = []
    with integrity.repairing(folder / DATABASE_NAME) as connection:
        rows = segments.read_segments(connection)
        kept = [(row, Manifest.from_json(row.manifest)) for row in rows if row.segment_id not in damaged]
        held: dict[int, list[Nums]] = {}
        for row, manifest in kept:
            for entry in manifest.vectors:
                nums = np.fromfile(folder / SEGMENTS_NAME / row.folder / entry.nums.name, dtype="<u4")
                held.setdefault(entry.vector_id, []).append(_living(nums, row, entry.vector_id))
        for row in rows:
            if row.segment_id in damaged:
                with transaction(connection):
                    moved = segments.drop_segment(connection, row.segment_id, held)
                shutil.rmtree(folder / SEGMENTS_NAME / row.folder, ignore_errors=True)
                done.append(f"removed segment {row.folder} ({moved} vectors to seal again)")
    return done


def _living(nums: Nums, row: SegmentRow, vector_id: int) -> Nums:
    dead = row.tombstones.get(vector_id)
    return nums if dead is None else np.delete(nums, dead)
