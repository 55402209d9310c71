"""The HNSW graph of a sealed segment: a usearch file, built once, then only ever viewed.

::

    rows uint32 · bytes of a code uint32 · the codes, row by row · the graph

Facts of usearch that shape this module
    An index holds one lock for a whole search, so a graph keeps one view of its bytes for each thread that searches.
    Several queries in one call share threads of usearch's own, which never wait for the interpreter lock: two of them
    take 0.55 of the time of one, and nothing is added by threads, so that issue 735 below does not touch them.
    A view takes any buffer and does not keep it alive: this side decides whether its bytes are mapped or copied.
    ``save``, ``load`` and ``add`` hold the interpreter lock: they run in the builder's process, never in the server.
    ``add`` with several threads leaves vectors that no search finds (upstream issue 735): one thread builds a graph.
    A damaged file crashes the process: a file is checked against its manifest before the first view.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from usearch.index import BatchMatches, Index

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.segment.code import Code, Codec
from vdb.segment.placement import Bytes
from vdb.segment.rows import RowNumbers

_ADD_ROWS: Final = 1_000  # rows encoded and added at once
_CODES_OFFSET: Final = 8  # bytes before the first code


def metric_of(space: VectorSpace) -> str | None:
    """usearch's name of the metric, or None where it has no such graph (Manhattan)."""
    match space.distance:
        case Distance.DOT:
            return "ip"
        case Distance.COSINE:
            return "ip" if space.normalised else "cos"
        case Distance.EUCLID:
            return "l2sq"
        case Distance.MANHATTAN:
            return None


def _index(space: VectorSpace, code: Code, m: int, ef_construct: int) -> Index:
    metric = "hamming" if code.dtype == "b1" else metric_of(space)
    assert metric is not None, "a distance without a graph is compared row by row"
    assert code.dtype != "pq", "usearch has no metric for such codes"
    return Index(
        ndim=space.dim,
        metric=metric,
        dtype=code.dtype,
        connectivity=m,
        expansion_add=ef_construct,
        enable_key_lookups=False,
    )


def build_graph(
    space: VectorSpace,
    matrix: NDArray[Any],
    codec: Codec,
    m: int,
    ef_construct: int,
    path: Path,
    proceed: Callable[[], None],
) -> None:
    """Builds the graph of ``(n, dim)`` rows and writes it to ``path``; keys are row numbers. Slow: for the builder.

    ``proceed`` is called now and then, and may raise to give up.
    """
    index = _index(space, codec.code, m, ef_construct)
    for start in range(0, len(matrix), _ADD_ROWS):
        proceed()
        rows = codec.encode(matrix[start : start + _ADD_ROWS])
        index.add(np.arange(start, start + len(rows), dtype=np.uint64), rows, copy=True, threads=1)
    index.save(str(path))


class Graph:
    """Concurrent searches of one graph file. Safe to use from any thread."""

    def __init__(self, content: Bytes, space: VectorSpace, rows: int, codec: Codec, m: int, ef_construct: int) -> None:
        """Opens one view; raises ValueError when the file does not hold ``rows`` vectors."""
        self._content = content
        self._space = space
        self._codec = codec
        self._parameters = (m, ef_construct)
        self._lock = threading.Lock()
        self._idle: list[Index] = []
        index = self._open()
        if len(index) != rows:
            raise ValueError(f"holds {len(index)} vectors, not {rows}")
        self._idle.append(index)

    @property
    def coarse(self) -> bool:
        """True where many more must be found than are wanted, because codes order them only roughly."""
        return self._codec.code.coarse

    @property
    def codec(self) -> Codec:
        return self._codec

    def codes(self, rows: int) -> NDArray[Any]:
        """The codes that the file holds: ``(rows, width)``, not copied."""
        width, dtype = self._codec.width, self._codec.dtype
        end = _CODES_OFFSET + rows * width * dtype.itemsize
        return self._content[_CODES_OFFSET:end].view(dtype).reshape(rows, width)

    def _open(self) -> Index:
        index = _index(self._space, self._codec.code, *self._parameters)
        index.view(self._content.data)
        return index

    def search(self, queries: Floats, count: int, ef: int, threads: int = 1) -> list[RowNumbers]:
        """Row numbers of about the ``count`` nearest to each of ``(q, dim)`` queries, best first.

        ``ef`` is the width of the search. Several queries share up to ``threads`` threads.
        """
        with self._lock:
            index = self._idle.pop() if self._idle else None
        if index is None:
            index = self._open()
        index.expansion_search = max(ef, count)  # type: ignore[misc]  # a property with a setter by another name
        try:
            codes = self._codec.encode(queries)
            if len(codes) == 1:
                return [index.search(codes[0], count, threads=1).keys.astype(np.int64)]
            found = cast(BatchMatches, index.search(codes, count, threads=min(threads, len(codes))))
        finally:
            with self._lock:
                self._idle.append(index)
        keys = found.keys.astype(np.int64)
        return [row[:length] for row, length in zip(keys, found.counts.tolist(), strict=True)]
