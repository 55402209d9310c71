"""Chroma's own server (`chroma run`), over its HTTP API v2."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from benchmarks.peers.http_peer import HOST, HttpPeer
from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Payload, conditions

DATABASE: Final = "/api/v2/tenants/default_tenant/databases/default_database"
DEFAULT_WIDTH: Final = 100
OPERATORS: Final = {"==": "$eq", "in": "$in", ">=": "$gte", "<": "$lt"}


class Chroma(HttpPeer):
    """Writes are compacted into the graph as they come; a search also looks at what is not yet."""

    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "ef_search"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self._path = ""
        self._width = -1

    def command(self) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("chroma"))
        return [program, "run", "--path", str(self.folder), "--host", HOST, "--port", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "ANONYMIZED_TELEMETRY": "False"}

    def ready(self) -> bool:
        return bool(self.call("GET", "/api/v2/heartbeat"))

    def create(self) -> None:
        body = {"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}}
        self._path = f"{DATABASE}/collections/{self.call('POST', f'{DATABASE}/collections', body)['id']}"

    def reopen(self) -> None:
        self._path = f"{DATABASE}/collections/{self.call('GET', f'{DATABASE}/collections/bench')['id']}"

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        scalars = [
            {key: value for key, value in payload.items() if isinstance(value, str | int | float)}
            for payload in payloads
        ]
        ids = [str(first + number) for number in range(len(vectors))]
        body = {"ids": ids, "embeddings": vectors.tolist(), "metadatas": scalars}
        self.call("POST", f"{self._path}/add", body)

    def count(self) -> int:
        found: int = self.call("GET", f"{self._path}/count")
        return found

    def _widen(self, width: int) -> None:
        """ef_search is a setting of the collection, which a server that has loaded the graph does not look at again."""
        if width != self._width:
            self.call("PUT", self._path, {"new_configuration": {"hnsw": {"ef_search": width}}})
            self.close()
            self.open(create=False)
            self._width = width

    def search_request(
        self, queries: Floats, width: int | None = None, wanted: Filter | None = None
    ) -> tuple[str, object]:
        if width is not None or self._width >= 0:
            self._widen(DEFAULT_WIDTH if width is None else width)
        body: dict[str, object] = {"query_embeddings": queries.tolist(), "n_results": K, "include": ["distances"]}
        if wanted is not None:
            parts = [{one.key: {OPERATORS[one.operator]: one.value}} for one in conditions(wanted)]
            body["where"] = parts[0] if len(parts) == 1 else {"$and": parts}
        return f"{self._path}/query", body

    def ids(self, answer: Any) -> list[list[int]]:
        return [[int(name) for name in names] for names in answer["ids"]]
