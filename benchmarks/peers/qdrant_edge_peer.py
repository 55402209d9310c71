"""Qdrant's engine in process, without a server: the package qdrant-edge-py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import qdrant_edge as edge

from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Kind, Payload, Peer, conditions

TYPES = {"keyword": edge.PayloadSchemaType.Keyword, "integer": edge.PayloadSchemaType.Integer}


class QdrantEdge(Peer):
    """Its defaults: the log is what keeps a write, and `optimize` builds what is to be built."""

    kind: ClassVar[Kind] = "in process"
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "hnsw_ef"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.shard: Any = None

    def open(self, create: bool) -> None:
        path = self.folder / "shard"
        if not create:
            self.shard = edge.EdgeShard.load(str(path))
            return
        path.mkdir(parents=True)
        vectors = edge.EdgeVectorParams(size=self.dim, distance=edge.Distance.Cosine)
        self.shard = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=vectors))
        for name, kind in self.fields.items():
            self.shard.update(edge.UpdateOperation.create_field_index(name, TYPES[kind]))

    def close(self) -> None:
        self.shard.close()

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        points = [
            edge.Point(first + number, vector, dict(payload))
            for number, (vector, payload) in enumerate(zip(vectors.tolist(), payloads, strict=True))
        ]
        self.shard.update(edge.UpdateOperation.upsert_points(points))

    def finish(self) -> None:
        self.shard.optimize()
        self.shard.flush()

    def count(self) -> int:
        return int(self.shard.count(edge.CountRequest(exact=True)))

    def _request(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> Any:
        return edge.QueryRequest(
            limit=K,
            query=edge.Query.Nearest(query.tolist()),
            filter=None if wanted is None else _filter(wanted),
            params=None if width is None else edge.SearchParams(hnsw_ef=width),
        )

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        return [point.id for point in self.shard.query(self._request(query, width, wanted))]

    def search_batch(self, queries: Floats) -> list[list[int]]:
        requests = [self._request(query) for query in queries]
        answers = self.shard.query_batch(edge.QueryBatchRequest(requests))
        return [[point.id for point in points] for points in answers]


def _filter(wanted: Filter) -> Any:
    parts = []
    for one in conditions(wanted):
        match one.operator:
            case "==":
                parts.append(edge.FieldCondition(one.key, match=edge.MatchValue(one.value)))
            case "in":
                parts.append(edge.FieldCondition(one.key, match=edge.MatchAny(one.value)))
            case ">=":
                parts.append(edge.FieldCondition(one.key, range=edge.RangeFloat(gte=one.value)))
            case "<":
                parts.append(edge.FieldCondition(one.key, range=edge.RangeFloat(lt=one.value)))
    return edge.Filter(must=parts)
