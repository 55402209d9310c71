"""Preparing a build: what the builder's process needs on disk, and the job that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vdb.collection.state import SlotView
from vdb.files import write_atomically
from vdb.model.collection_config import CollectionConfig
from vdb.segment.builder import Job, JobInput, JobVector, Previous
from vdb.segment.recipe import recipe_for
from vdb.segment.rows import RowsView
from vdb.segment.sealed import SealedRows

JOB_NAME = "job.json"


def prepare(
    scratch: Path, output: Path, config: CollectionConfig, vector_ids: dict[str, int], slots: Sequence[SlotView]
) -> Path | None:
    """Writes memory and row numbers below ``scratch`` and returns the job's path; None when no row is alive.

    Blocks on the disk: for a worker thread. ``slots`` are pinned views, so the actor goes on meanwhile.
    """
    vectors: list[JobVector] = []
    for name, params in config.vectors().items():
        vector_id = vector_ids[name]
        space = params.space(name)
        inputs = tuple(
            _input(scratch, slot, vector_id, slot.rows[vector_id])
            for slot in slots
            if vector_id in slot.rows and slot.rows[vector_id].alive_count
        )
        rows = sum(slot.rows[vector_id].alive_count for slot in slots if vector_id in slot.rows)
        previous = _previous(slots, vector_id)
        present = None if previous is None else previous.entry.recipe
        vectors.append(
            JobVector(
                vector_id=vector_id,
                name=name,
                dim=space.dim,
                distance=space.distance.value,
                datatype=space.datatype.value,
                recipe=recipe_for(config, name, rows, present),
                inputs=inputs,
                previous=previous,
                multi=space.multi,
            )
        )
    if not any(vector.inputs for vector in vectors):
        return None
    path = scratch / JOB_NAME
    write_atomically(path, msgspec.json.encode(Job(str(output), tuple(vectors))))
    return path


def _previous(slots: Sequence[SlotView], vector_id: int) -> Previous | None:
    """The one sealed segment that all rows come from, none of them dead; else None."""
    if len(slots) != 1 or (sealed := slots[0].sealed) is None or vector_id not in slots[0].rows:
        return None
    entry = next(entry for entry in sealed.manifest.vectors if entry.vector_id == vector_id)
    if not entry.rows or slots[0].rows[vector_id].alive_count < entry.rows:
        return None
    return Previous(str(sealed.folder), entry)


def _input(scratch: Path, slot: SlotView, vector_id: int, view: RowsView) -> JobInput:
    stem = f"{slot.number}.{vector_id}"
    rows_path: Path | None = None
    if view.alive_count < view.length:
        rows_path = _dump(scratch / f"{stem}.rows", view.alive_rows())
    if isinstance(view.rows, SealedRows):
        assert slot.sealed is not None
        matrix, nums = slot.sealed.folder / f"{vector_id}.matrix", slot.sealed.folder / f"{vector_id}.nums"
    else:
        matrix = _dump(scratch / f"{stem}.matrix", view.rows.matrix[: view.length])
        nums = _dump(scratch / f"{stem}.nums", view.rows.nums[: view.length])
    return JobInput(
        matrix=str(matrix),
        dtype=view.rows.matrix.dtype.str,
        nums=str(nums),
        count=view.length,
        rows=None if rows_path is None else str(rows_path),
    )


def _dump(path: Path, values: NDArray[Any]) -> Path:
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(values).data)
    return path
