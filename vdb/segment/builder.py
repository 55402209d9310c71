"""Builds one sealed segment from rows of others: the body of the builder's process.

A job is a JSON file. Its inputs are matrices on disk (sealed segments, or memory that the server dumped) with the rows
to take from each; the output folder gets matrices, point numbers, codes, graphs and the manifest, all flushed to the
disk. Where one sealed segment is rebuilt without a change to its rows, its files are linked instead of written again.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vdb.fail_points import fail_point
from vdb.files import fsync_dir, fsync_file
from vdb.model.vectors import Datatype, Distance, VectorSpace
from vdb.segment.coding import Coding, code_vectors
from vdb.segment.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    VectorEntry,
    describe_file,
)
from vdb.segment.neighbourhood import LEAF_ROWS, neighbourhood_order
from vdb.segment.recipe import Recipe

_COPY_ROWS: Final = 4_096


class JobInput(msgspec.Struct, frozen=True):
    """Rows of one matrix: ``rows`` names a file of int64 row numbers, None for all ``count`` rows in order."""

    matrix: str
    dtype: str
    nums: str
    count: int
    rows: str | None = None


class Previous(msgspec.Struct, frozen=True):
    """The sealed segment that is rebuilt with exactly its rows."""

    folder: str
    entry: VectorEntry


class JobVector(msgspec.Struct, frozen=True):
    vector_id: int
    name: str
    dim: int
    distance: str
    datatype: str
    recipe: Recipe
    inputs: tuple[JobInput, ...]
    previous: Previous | None = None
    multi: bool = False  # a point's rows follow each other

    @property
    def ordered(self) -> bool:
        """Whether rows are to stand in the order of neighbourhoods."""
        return bool(self.recipe.m) and not self.multi


class Job(msgspec.Struct, frozen=True):
    output: str
    vectors: tuple[JobVector, ...]


def build(job: Job) -> Manifest:
    """Writes the folder ``job.output`` (made by the caller) and returns its manifest."""
    folder = Path(job.output)
    manifest = Manifest(FORMAT_VERSION, tuple(_build_vector(folder, vector) for vector in job.vectors))
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(manifest.to_json()), indent=1) + "\n", encoding="utf-8")
    with path.open("rb+") as file:
        fsync_file(file.fileno())
    fsync_dir(folder)
    return manifest


def _build_vector(folder: Path, vector: JobVector) -> VectorEntry:
    previous = vector.previous
    if (
        previous is not None
        and _same_files(previous.entry.recipe, vector.recipe)
        and all(_linked(Path(previous.folder), folder, file) for file in previous.entry.files)
    ):
        return msgspec.structs.replace(previous.entry, name=vector.name, recipe=vector.recipe)
    space = VectorSpace(vector.name, vector.dim, Distance(vector.distance), Datatype(vector.datatype))
    rows = _rows(folder, vector, space)
    fail_point("in-build")
    coding = Coding()
    if rows.count:
        values = _open_matrix(folder / rows.matrix.name, space, rows.count)
        coding = code_vectors(folder, vector.vector_id, space, values, vector.recipe, _exit_if_orphaned)
    return VectorEntry(
        vector_id=vector.vector_id,
        name=vector.name,
        dim=vector.dim,
        distance=vector.distance,
        datatype=vector.datatype,
        rows=rows.count,
        matrix=rows.matrix,
        nums=rows.nums,
        order=rows.order,
        recipe=vector.recipe,
        graph=coding.graph,
        codes=coding.codes,
        centre=coding.centre,
        factors=coding.factors,
        codebook=coding.codebook,
    )


def _same_files(former: Recipe, wanted: Recipe) -> bool:
    """True where two recipes differ at most in where files are kept once they are open."""
    return wanted == msgspec.structs.replace(former, matrix=wanted.matrix, graph=wanted.graph, codes=wanted.codes)


def _linked(source: Path, folder: Path, file: FileEntry) -> bool:
    """Gives a file of another segment a second name here; False where the file system has no such thing."""
    target = folder / file.name
    try:
        if not target.exists():
            os.link(source / file.name, target)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Rows:
    """Files of a segment's rows, each flushed to the disk."""

    count: int
    matrix: FileEntry
    nums: FileEntry
    order: FileEntry | None


def _rows(folder: Path, vector: JobVector, space: VectorSpace) -> _Rows:
    """Writes, or links, the matrix, the points' numbers, and the order of rows."""
    linked = _linked_rows(folder, vector)
    if linked is not None:
        return linked
    stem = str(vector.vector_id)
    matrix_path, nums_path, order_path = (folder / f"{stem}.{part}" for part in ("matrix", "nums", "order"))
    for path in (matrix_path, nums_path, order_path):
        path.unlink(missing_ok=True)  # a link into the former segment must never be written to
    count = 0
    with matrix_path.open("wb") as matrix_file, nums_path.open("wb") as nums_file:
        for one in vector.inputs:
            count += _copy_rows(space, one, matrix_file, nums_file)
        if not (vector.ordered and count > LEAF_ROWS):
            _flush(matrix_file, nums_file)
            return _Rows(count, describe_file(matrix_path), describe_file(nums_path), None)
    unordered_path = folder / f"{stem}.unordered"
    matrix_path.rename(unordered_path)
    unordered = _open_matrix(unordered_path, space, count)
    order = neighbourhood_order(unordered, _exit_if_orphaned)
    nums = np.fromfile(nums_path, dtype="<u4")[order]
    with matrix_path.open("wb") as matrix_file, nums_path.open("wb") as nums_file, order_path.open("wb") as order_file:
        for start in range(0, count, _COPY_ROWS):
            matrix_file.write(unordered[order[start : start + _COPY_ROWS]].data)
        nums_file.write(nums.data)
        order_file.write(np.argsort(nums).astype("<i8").data)
        _flush(matrix_file, nums_file, order_file)
    del unordered  # Windows deletes no file that is mapped
    unordered_path.unlink()
    return _Rows(count, *(describe_file(path) for path in (matrix_path, nums_path, order_path)))


def _linked_rows(folder: Path, vector: JobVector) -> _Rows | None:
    """The files of the segment that is rebuilt with exactly its rows, where their order is the wanted one."""
    previous = vector.previous
    if previous is None:
        return None
    entry, source = previous.entry, Path(previous.folder)
    if vector.ordered and entry.order is None and entry.rows > LEAF_ROWS:
        return None
    files = (entry.matrix, entry.nums, entry.order)
    if not all(_linked(source, folder, file) for file in files if file is not None):
        return None
    return _Rows(entry.rows, *files)


def _copy_rows(space: VectorSpace, source: JobInput, matrix_file: BinaryIO, nums_file: BinaryIO) -> int:
    """Appends the source's rows to both files and returns how many there were."""
    matrix = np.memmap(source.matrix, dtype=source.dtype, mode="r").reshape(-1, space.dim)
    nums = np.memmap(source.nums, dtype="<u4", mode="r")
    rows: NDArray[np.int64] = (
        np.arange(source.count) if source.rows is None else np.fromfile(source.rows, dtype=np.int64)
    )
    for start in range(0, len(rows), _COPY_ROWS):
        chosen = rows[start : start + _COPY_ROWS]
        matrix_file.write(np.ascontiguousarray(matrix[chosen], dtype=space.datatype.dtype).data)
        nums_file.write(np.ascontiguousarray(nums[chosen]).data)
    return len(rows)


def _open_matrix(path: Path, space: VectorSpace, rows: int) -> NDArray[Any]:
    return np.memmap(path, dtype=space.datatype.dtype, mode="r", shape=(rows, space.dim))


def _flush(*files: BinaryIO) -> None:
    for file in files:
        file.flush()
        fsync_file(file.fileno())


_PARENT: Final = os.getppid()


def _exit_if_orphaned() -> None:
    """A server that was killed takes nothing from its builder any more."""
    if os.getppid() != _PARENT:
        raise SystemExit("the server that asked for this segment is gone")


def main(job_path: str) -> int:
    """The process's entry: reads the job, writes the segment, exits 0. A failure is a traceback on stderr and 1."""
    sys.setswitchinterval(0.005)
    build(msgspec.json.decode(Path(job_path).read_bytes(), type=Job))
    return 0
