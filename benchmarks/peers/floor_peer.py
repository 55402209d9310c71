"""vdb's HTTP door in front of a constant: the limit that no search over this door can exceed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.peers.http_peer import HOST
from benchmarks.peers.peer import Filter, Floats, Payload, Unsupported
from benchmarks.peers.vdb_peer import PATH, Vdb

SERVER: Final = Path(__file__).resolve().parents[1] / "floor_server.py"
POINTS: Final = 1_000  # the constant is one of their answers; more would change nothing


class Floor(Vdb):
    widths: ClassVar[Sequence[int]] = ()
    width_name: ClassVar[str] = ""

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, str(SERVER)),
            *("--storage-path", str(self.folder), "--host", HOST, "--port", str(self.port)),
        ]

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        if first < POINTS:
            super().write(first, vectors, payloads)

    def search_request(
        self, queries: Floats, width: int | None = None, wanted: Filter | None = None
    ) -> tuple[str, object]:
        if len(queries) > 1 or wanted is not None:
            raise Unsupported("answers one query, with a constant")
        return f"{PATH}/points/floor", super().search_request(queries)[1]
