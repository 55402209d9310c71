"""vdb, from this checkout, as it comes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from benchmarks.peers.http_peer import HOST, HttpPeer
from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Payload

PATH: Final = "/collections/bench"
GREEN_MAX_S: Final = 1_800.0


class Vdb(HttpPeer):
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "hnsw_ef"

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "vdb", "serve"),
            *("--storage-path", str(self.folder), "--host", HOST, "--port", str(self.port)),
        ]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def ready(self) -> bool:
        return bool(self.call("GET", "/collections")["result"] is not None)

    def create(self) -> None:
        self.call("PUT", PATH, {"vectors": {"size": self.dim, "distance": "Cosine"}})
        for name, schema in self.fields.items():
            self.call("PUT", f"{PATH}/index?wait=true", {"field_name": name, "field_schema": schema})

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        points = [
            {"id": first + number, "vector": vector, "payload": payload}
            for number, (vector, payload) in enumerate(zip(vectors.tolist(), payloads, strict=True))
        ]
        self.call("PUT", f"{PATH}/points?wait=true", {"points": points})

    def finish(self) -> None:
        deadline = time.monotonic() + GREEN_MAX_S
        while self.call("GET", PATH)["result"]["status"] != "green":
            if time.monotonic() > deadline:
                raise RuntimeError(f"not green within {GREEN_MAX_S:g} s")
            time.sleep(0.02)

    def count(self) -> int:
        found: int = self.call("POST", f"{PATH}/points/count", {"exact": True})["result"]["count"]
        return found

    def search_request(
        self, queries: Floats, width: int | None = None, wanted: Filter | None = None
    ) -> tuple[str, object]:
        more: dict[str, object] = {"limit": K}
        if width is not None:
            more["params"] = {"hnsw_ef": width}
        if wanted is not None:
            more["filter"] = wanted
        bodies = [{"query": query, **more} for query in queries.tolist()]
        if len(bodies) == 1:
            return f"{PATH}/points/query", bodies[0]
        return f"{PATH}/points/query/batch", {"searches": bodies}

    def ids(self, answer: Any) -> list[list[int]]:
        result = answer["result"]
        answers = result if isinstance(result, list) else [result]
        return [[hit["id"] for hit in one["points"]] for one in answers]
