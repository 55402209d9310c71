"""LanceDB in process, through its synchronous interface."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lancedb
import pyarrow

from benchmarks.peers.peer import Filter, Floats, K, Kind, Payload, Peer, sql


class LanceDb(Peer):
    """The index is the one that `create_index` makes by itself (IVF_PQ). Widths are `refine_factor`, how many
    candidates for each wanted point are compared in full: without it product codes alone decide, and more `nprobes`
    find no more.
    """

    kind: ClassVar[Kind] = "in process"
    widths: ClassVar[Sequence[int]] = (1, 2, 5, 10, 20, 50, 100)
    width_name: ClassVar[str] = "refine_factor"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.table: Any = None

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        database = lancedb.connect(self.folder)
        if not create:
            self.table = database.open_table("bench")
            return
        types = {"keyword": pyarrow.string(), "integer": pyarrow.int64()}
        self.schema = pyarrow.schema(
            [
                ("id", pyarrow.int64()),
                ("vector", pyarrow.list_(pyarrow.float32(), self.dim)),
                ("payload", pyarrow.string()),
                *((name, types[kind]) for name, kind in self.fields.items()),
            ]
        )
        self.table = database.create_table("bench", schema=self.schema)

    def close(self) -> None:
        self.table = None

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        flat = pyarrow.array(vectors.reshape(-1))
        columns = [
            pyarrow.array(range(first, first + len(vectors)), pyarrow.int64()),
            pyarrow.FixedSizeListArray.from_arrays(flat, self.dim),
            pyarrow.array([json.dumps(payload) for payload in payloads]),
            *(
                pyarrow.array([payload.get(name) for payload in payloads], self.schema.field(name).type)
                for name in self.fields
            ),
        ]
        self.table.add(pyarrow.Table.from_arrays(columns, schema=self.schema))

    def finish(self) -> None:
        self.table.optimize()
        self.table.create_index(metric="cosine", vector_column_name="vector")
        for name, kind in self.fields.items():
            self.table.create_scalar_index(name, index_type="BITMAP" if kind == "keyword" else "BTREE")
        self.table.wait_for_index([index.name for index in self.table.list_indices()])

    def count(self) -> int:
        return int(self.table.count_rows())

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        asked = self.table.search(query).distance_type("cosine").limit(K).select(["id", "_distance"])
        if width is not None:
            asked = asked.refine_factor(width)
        if wanted is not None:
            asked = asked.where(sql(wanted), prefilter=True)
        ids: list[int] = asked.to_arrow()["id"].to_pylist()
        return ids
