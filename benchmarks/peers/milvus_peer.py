"""Milvus Lite behind pymilvus, as its manual shows it: a `.db` path, gRPC to an engine in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pymilvus import DataType, MilvusClient

from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Kind, Payload, Peer, sql


class Milvus(Peer):
    """Index type HNSW with Milvus's own M and efConstruction; fields of filters have INVERTED indexes."""

    kind: ClassVar[Kind] = "in process"
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "ef"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.client: Any = None

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.client = MilvusClient(str(self.folder / "bench.db"))
        if create:
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
            for name, kind in self.fields.items():
                if kind == "keyword":
                    schema.add_field(name, DataType.VARCHAR, max_length=1_000, nullable=True)
                else:
                    schema.add_field(name, DataType.INT64, nullable=True)
            self.client.create_collection("bench", schema=schema)
        else:
            self.client.load_collection("bench")

    def close(self) -> None:
        self.client.close()

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        rows = [
            {**payload, "id": first + number, "vector": vector}
            for number, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
        ]
        self.client.insert("bench", rows)

    def finish(self) -> None:
        self.client.flush("bench")
        parameters = MilvusClient.prepare_index_params()
        parameters.add_index("vector", index_type="HNSW", metric_type="COSINE", params={})
        for name in self.fields:
            parameters.add_index(name, index_type="INVERTED")
        self.client.create_index("bench", parameters)
        self.client.load_collection("bench")

    def count(self) -> int:
        return int(self.client.query("bench", filter="", output_fields=["count(*)"])[0]["count(*)"])

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        return self._search(query[None], width, wanted)[0]

    def search_batch(self, queries: Floats) -> list[list[int]]:
        return self._search(queries)

    def _search(self, queries: Floats, width: int | None = None, wanted: Filter | None = None) -> list[list[int]]:
        params = {} if width is None else {"ef": width}
        answers = self.client.search(
            "bench",
            data=queries.tolist(),
            limit=K,
            anns_field="vector",
            filter="" if wanted is None else sql(wanted, "==").replace(" IN (", " in [").replace(")", "]"),
            search_params={"metric_type": "COSINE", "params": params},
        )
        return [[hit["id"] for hit in hits] for hits in answers]
