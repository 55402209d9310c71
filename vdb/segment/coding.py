"""What the builder makes of a finished matrix: codes, and a graph over codes.

=============  ==================================================  =====================================================
quantisation   graph over                                          quantised copy
=============  ==================================================  =====================================================
none           int8, or bfloat16 where int8 loses neighbours       none
scalar         int8 over the range that ``quantile`` leaves        the graph's codes
binary         bits                                                the graph's codes
product        bits where a sample shows that they find the        a file of its own
               neighbourhood, else as without quantisation
=============  ==================================================  =====================================================

Without a graph the scalar and binary copies are files too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vdb.files import fsync_file
from vdb.model.vectors import VectorSpace
from vdb.segment.binary import SignCodec, centre_of
from vdb.segment.code import Codec, choose_code, overlap_of, sample_of, scalar_code
from vdb.segment.codecs import codec_of
from vdb.segment.hnsw import build_graph
from vdb.segment.manifest import CodesEntry, FileEntry, GraphEntry, describe_file
from vdb.segment.product import ProductCodec, train
from vdb.segment.recipe import Recipe

_ENCODE_ROWS: Final = 16_384
# Share of the ten nearest that must be among sixteen times as many by their bits, about what a search looks at.
_BITS_FACTOR: Final = 16
_BITS_OVERLAP_MIN: Final = 0.95


class Coding(msgspec.Struct, frozen=True):
    """The files that were written, each flushed to the disk."""

    graph: GraphEntry | None = None
    codes: CodesEntry | None = None
    centre: FileEntry | None = None
    factors: FileEntry | None = None
    codebook: FileEntry | None = None


def code_vectors(
    folder: Path,
    vector_id: int,
    space: VectorSpace,
    matrix: NDArray[Any],
    recipe: Recipe,
    proceed: Callable[[], None],
) -> Coding:
    """Writes what ``recipe`` asks for beside the ``(n, dim)`` matrix, n > 0. ``proceed`` may raise to give up."""
    stem = str(vector_id)
    codes: CodesEntry | None = None
    codebook: FileEntry | None = None
    copied = _quantised_codec(space, matrix, recipe, proceed)
    traverse = _graph_codec(space, matrix, recipe, copied) if recipe.m else None
    graph: GraphEntry | None = None
    if traverse is not None:
        path = folder / f"{stem}.graph"
        build_graph(space, matrix, traverse, recipe.m, recipe.ef_construct, path, proceed)
        graph = GraphEntry(_flushed(path), recipe.m, recipe.ef_construct, traverse.code)
    if copied is not None:
        file = None if copied is traverse else _write_rows(folder / f"{stem}.codes", copied.encode, matrix, proceed)
        codes = CodesEntry(copied.code, file)
        if isinstance(copied, ProductCodec):
            codebook = _write_array(folder / f"{stem}.codebook", copied.codebook)
    signs = [codec for codec in (copied, traverse) if isinstance(codec, SignCodec)]
    centre = _write_array(folder / f"{stem}.centre", signs[0].centre) if signs else None
    factors = None
    if isinstance(copied, SignCodec):
        factors = _write_rows(folder / f"{stem}.factors", copied.factors, matrix, proceed)
    return Coding(graph, codes, centre, factors, codebook)


def _quantised_codec(
    space: VectorSpace, matrix: NDArray[Any], recipe: Recipe, proceed: Callable[[], None]
) -> Codec | None:
    sample = sample_of(matrix)
    match recipe.quantization:
        case "none":
            return None
        case "scalar":
            return codec_of(space, scalar_code(space, sample, recipe.quantile), None, None)
        case "binary":
            return SignCodec(space, centre_of(sample))
        case "product":
            return ProductCodec(space, train(sample, recipe.compression, proceed))


def _graph_codec(space: VectorSpace, matrix: NDArray[Any], recipe: Recipe, copied: Codec | None) -> Codec:
    if copied is not None and recipe.quantization != "product":
        return copied
    if recipe.quantization == "product":
        sample = sample_of(matrix)
        bits = SignCodec(space, centre_of(sample))
        if overlap_of(space, sample, bits, _BITS_FACTOR) >= _BITS_OVERLAP_MIN:
            return bits
    return codec_of(space, choose_code(space, matrix), None, None)


def _write_rows(
    path: Path,
    compute: Callable[[NDArray[Any]], NDArray[Any]],
    matrix: NDArray[Any],
    proceed: Callable[[], None],
) -> FileEntry:
    """Writes what ``compute`` makes of the matrix, block by block."""
    with path.open("wb") as file:
        for start in range(0, len(matrix), _ENCODE_ROWS):
            proceed()
            file.write(np.ascontiguousarray(compute(matrix[start : start + _ENCODE_ROWS])).data)
    return _flushed(path)


def _write_array(path: Path, values: NDArray[np.float32]) -> FileEntry:
    path.write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return _flushed(path)


def _flushed(path: Path) -> FileEntry:
    with path.open("rb+") as file:
        fsync_file(file.fileno())
    return describe_file(path)
