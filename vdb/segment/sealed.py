"""A sealed segment: immutable files, mapped or in memory as the recipe in its manifest says.

Guarantees
    Nothing is opened before its checksum has been verified (``open_segment(verify_files=True)``), now or since its
    last change (``verified.py``), because a damaged graph crashes the process and a damaged matrix lies.
    The files of a retired segment are deleted only when the last View that holds it is gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.config import Memory
from vdb.errors import Corrupt
from vdb.model.vectors import Datatype, Distance, VectorSpace
from vdb.segment.code import Code, Codec
from vdb.segment.codecs import codec_of
from vdb.segment.hnsw import Graph
from vdb.segment.manifest import FileEntry, Manifest, VectorEntry, verify
from vdb.segment.placement import open_array, open_bytes, open_for_scans
from vdb.segment.product import codebook_shape
from vdb.segment.quantised import QuantisedRows
from vdb.segment.rows import Mask, RowNumbers, RowsView
from vdb.segment.verified import VerifiedFiles

_FLOAT32: Final = np.dtype("<f4")


class SealedRows:
    """Vectors of one name in one sealed segment. Safe to read from any thread."""

    def __init__(self, folder: Path, entry: VectorEntry) -> None:
        """Raises Corrupt."""
        self.space = VectorSpace(entry.name, entry.dim, Distance(entry.distance), Datatype(entry.datatype))
        self.cold = entry.recipe.matrix == "cold"
        self.nums: NDArray[np.uint32] = _array(folder, entry.nums, "cached", np.dtype("<u4"), (entry.rows,))
        self.by_num: NDArray[np.int64] | None = None
        if entry.order is not None:
            self.by_num = _array(folder, entry.order, "cached", np.dtype("<i8"), (entry.rows,))
        self.nums_ascend = self.by_num is None and bool((self.nums[1:] > self.nums[:-1]).all())
        shape, dtype = (entry.rows, entry.dim), self.space.datatype.dtype
        self.gathered: NDArray[Any] = _array(folder, entry.matrix, entry.recipe.matrix, dtype, shape)
        self.matrix: NDArray[Any] = self.gathered
        if self.cold:
            with _damage_named(folder / entry.matrix.name):
                self.matrix = open_for_scans(folder / entry.matrix.name, dtype, shape)
        self.graph: Graph | None = None
        self.quantised: QuantisedRows | None = None
        if entry.rows:
            self._open_codes(folder, entry)

    def _open_codes(self, folder: Path, entry: VectorEntry) -> None:
        recipe, space = entry.recipe, self.space
        centre = codebook = None
        if entry.centre is not None:
            centre = _array(folder, entry.centre, "pinned", _FLOAT32, (2, space.dim))
        if entry.codebook is not None:
            shape = codebook_shape(space.dim, recipe.compression)
            codebook = _array(folder, entry.codebook, "pinned", _FLOAT32, shape)

        def codec(code: Code) -> Codec:
            with _damage_named(folder):
                return codec_of(space, code, centre, codebook)

        if entry.graph is not None:
            path, graph = folder / entry.graph.file.name, entry.graph
            with _damage_named(path):
                content = open_bytes(path, recipe.graph)
                self.graph = Graph(content, space, entry.rows, codec(graph.code), graph.m, graph.ef_construct)
        if entry.codes is None:
            return
        coder = codec(entry.codes.code)
        if entry.codes.file is not None:
            codes = _array(folder, entry.codes.file, recipe.codes, coder.dtype, (entry.rows, coder.width))
        else:
            if self.graph is None:
                raise Corrupt(folder, "names codes in a graph that it does not name")
            codes = self.graph.codes(entry.rows)
        factors = None
        if entry.factors is not None:
            factors = _array(folder, entry.factors, recipe.codes, _FLOAT32, (entry.rows, 2))
        self.quantised = QuantisedRows(coder, codes, factors)


class MaskedRows:
    """Sealed rows with the mask of those that died since. Owned by the collection's actor."""

    def __init__(self, rows: SealedRows) -> None:
        self._rows = rows
        self._mask = Mask()

    @property
    def space(self) -> VectorSpace:
        return self._rows.space

    @property
    def length(self) -> int:
        return len(self._rows.nums)

    def kill(self, rows: RowNumbers) -> None:
        """Marks rows as dead, each once; views that are out keep the mask they were given."""
        self._mask.kill(rows, self.length)

    def view(self) -> RowsView:
        return self._mask.publish(self._rows, self.length)


class SealedSegment:
    """The open files of one folder; ``rows`` maps a vector_id to its rows."""

    def __init__(self, segment_id: int, folder: Path, built_from_seq: int, manifest: Manifest) -> None:
        self.segment_id = segment_id
        self.folder = folder
        self.built_from_seq = built_from_seq
        self.manifest = manifest
        self.rows: Mapping[int, SealedRows] = {entry.vector_id: SealedRows(folder, entry) for entry in manifest.vectors}

    def retire(self, delete: Callable[[Path], None]) -> None:
        """Calls ``delete(folder)`` once nothing holds any part of this segment any more."""
        remaining = list(self.rows.values())
        count = len(remaining)

        def one_is_gone() -> None:
            nonlocal count
            count -= 1
            if count == 0:
                delete(folder)

        folder = self.folder
        if not remaining:
            delete(folder)
        for rows in remaining:
            weakref.finalize(rows, one_is_gone).atexit = False


def open_segment(
    segment_id: int,
    folder: Path,
    built_from_seq: int,
    manifest_text: str,
    *,
    verify_files: bool,
    verified: VerifiedFiles | None = None,
) -> SealedSegment:
    """Opens a folder as the database's manifest describes it; raises Corrupt.

    ``verify_files`` reads every byte that ``verified`` does not vouch for; only a folder that was written a moment ago
    may do without.
    """
    try:
        manifest = Manifest.from_json(manifest_text)
    except ValueError as error:
        raise Corrupt(folder, str(error)) from error
    if verify_files:
        verify(folder, manifest, verified)
    try:
        return SealedSegment(segment_id, folder, built_from_seq, manifest)
    except OSError as error:
        raise Corrupt(folder, str(error)) from error


def _array(folder: Path, file: FileEntry, memory: Memory, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    with _damage_named(folder / file.name):
        return open_array(folder / file.name, memory, dtype, shape)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise Corrupt(path, str(error)) from error
