"""usearch alone, in process: what vdb's graph costs when nothing stands around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from usearch.index import Index

from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Kind, Payload, Peer, Unsupported


class Usearch(Peer):
    """A limit and no database: no payloads, no filters, and nothing is on disk before it is closed. A call holds the
    index, so that threads take turns.
    """

    kind: ClassVar[Kind] = "in process"
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "expansion_search"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.index: Any = None
        self._default = 0

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.index = Index(ndim=self.dim, metric="cos")
        path = self.folder / "bench.usearch"
        if not create and path.exists():
            self.index.load(path)
        self._default = self.index.expansion_search

    def close(self) -> None:
        self.index.save(self.folder / "bench.usearch")

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        self.index.add(np.arange(first, first + len(vectors), dtype=np.uint64), vectors, threads=1)

    def count(self) -> int:
        return len(self.index)

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        if wanted is not None:
            raise Unsupported("no filters in Python")
        wide = width or self._default
        if self.index.expansion_search != wide:
            self.index.expansion_search = wide
        ids: list[int] = self.index.search(query, K, threads=1).keys.tolist()
        return ids

    def search_batch(self, queries: Floats) -> list[list[int]]:
        ids: list[list[int]] = self.index.search(queries, K).keys.tolist()
        return ids
