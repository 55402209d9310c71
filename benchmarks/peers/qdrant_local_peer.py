"""The local mode of Qdrant's Python client, over a folder: every row compared, no index."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from qdrant_client import QdrantClient, models

from benchmarks.peers.peer import Filter, Floats, K, Kind, Payload, Peer


class QdrantLocal(Peer):
    """Used through the client's public methods alone. Threads take turns: it is made for one."""

    kind: ClassVar[Kind] = "in process"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.client: Any = None

    def open(self, create: bool) -> None:
        warnings.simplefilter("ignore")  # "not recommended for collections with more than 20,000 points"
        self.client = QdrantClient(path=str(self.folder), force_disable_check_same_thread=True)
        if create:
            vectors = models.VectorParams(size=self.dim, distance=models.Distance.COSINE)
            self.client.create_collection("bench", vectors_config=vectors)

    def close(self) -> None:
        self.client.close()

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        points = [
            models.PointStruct(id=first + number, vector=vector, payload=dict(payload))
            for number, (vector, payload) in enumerate(zip(vectors.tolist(), payloads, strict=True))
        ]
        self.client.upsert("bench", points)

    def count(self) -> int:
        return int(self.client.count("bench").count)

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        condition = None if wanted is None else models.Filter(**wanted)
        found = self.client.query_points("bench", query=query, query_filter=condition, limit=K, with_payload=False)
        return [point.id for point in found.points]

    def search_batch(self, queries: Floats) -> list[list[int]]:
        requests = [models.QueryRequest(query=query.tolist(), limit=K, with_payload=False) for query in queries]
        return [[point.id for point in answer.points] for answer in self.client.query_batch_points("bench", requests)]
