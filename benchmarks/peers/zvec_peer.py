"""zvec in process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import zvec

from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Kind, Payload, Peer, sql

TYPES = {"keyword": zvec.DataType.STRING, "integer": zvec.DataType.INT64}


class Zvec(Peer):
    """HNSW with its own m (50) and ef_construction (500). Its log is what keeps a write; `optimize` builds."""

    kind: ClassVar[Kind] = "in process"
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "ef"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.collection: Any = None

    def open(self, create: bool) -> None:
        zvec.init(log_level=zvec.LogLevel.ERROR)
        path = str(self.folder / "bench")
        if not create:
            self.collection = zvec.open(path)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = [
            zvec.FieldSchema(name, TYPES[kind], nullable=True, index_param=zvec.InvertIndexParam(True))
            for name, kind in self.fields.items()
        ]
        vector = zvec.VectorSchema(
            "embedding", zvec.DataType.VECTOR_FP32, self.dim, zvec.HnswIndexParam(zvec.MetricType.COSINE)
        )
        payload = zvec.FieldSchema("payload", zvec.DataType.STRING)
        self.collection = zvec.create_and_open(path, zvec.CollectionSchema("bench", [*fields, payload], [vector]))

    def close(self) -> None:
        self.collection.close()

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        documents = [
            zvec.Doc(
                id=str(first + number),
                vectors={"embedding": vector},
                fields={"payload": json.dumps(payload), **{name: payload.get(name) for name in self.fields}},
            )
            for number, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
        ]
        for status in self.collection.insert(documents):
            if not status.ok():
                raise RuntimeError(str(status))

    def finish(self) -> None:
        self.collection.optimize()
        self.collection.flush()

    def count(self) -> int:
        return int(self.collection.stats.doc_count)

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        asked = zvec.Query(
            field_name="embedding", vector=query, param=None if width is None else zvec.HnswQueryParam(ef=width)
        )
        found = self.collection.query(asked, topk=K, filter=None if wanted is None else sql(wanted), output_fields=[])
        return [int(document.id) for document in found]
