"""sqlite-vec in SQLite: a `vec0` table, which compares every row."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import sqlite_vec
from pysqlite3 import dbapi2 as sqlite3  # many builds of Python load no extensions

from benchmarks.peers.peer import Filter, Floats, K, Kind, Payload, Peer, sql

TYPES = {"keyword": "text", "integer": "integer"}
ABSENT = {"keyword": "", "integer": 0}  # metadata columns of vec0 hold no NULL


class SqliteVec(Peer):
    """SQLite's defaults: a rollback journal, `synchronous=FULL`. Fields of filters are metadata columns."""

    kind: ClassVar[Kind] = "in process"

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self._local = threading.local()

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if create:
            columns = "".join(f", {name} {TYPES[kind]}" for name, kind in self.fields.items())
            self._connection().execute(
                "CREATE VIRTUAL TABLE bench USING vec0("
                f"id integer PRIMARY KEY, embedding float[{self.dim}] distance_metric=cosine{columns}, +payload text)"
            )

    def _connection(self) -> sqlite3.Connection:
        """This thread's own."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.folder / "bench.sqlite", isolation_level=None)
            connection.enable_load_extension(True)
            sqlite_vec.load(connection)
            self._local.connection = connection
        return connection

    def close(self) -> None:
        self._connection().close()
        del self._local.connection

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        rows = [
            (
                first + number,
                vector.tobytes(),
                json.dumps(payload),
                *(payload.get(name, ABSENT[kind]) for name, kind in self.fields.items()),
            )
            for number, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
        ]
        names = "".join(f", {name}" for name in self.fields)
        marks = ", ?" * len(self.fields)
        connection = self._connection()
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO bench (id, embedding, payload{names}) VALUES (?, ?, ?{marks})", rows)
        connection.execute("COMMIT")

    def count(self) -> int:
        found: int = self._connection().execute("SELECT count(*) FROM bench").fetchone()[0]
        return found

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        more = "" if wanted is None else f" AND {sql(wanted)}"
        rows = self._connection().execute(
            f"SELECT id FROM bench WHERE embedding MATCH ? AND k = {K}{more} ORDER BY distance", (query.tobytes(),)
        )
        return [row[0] for row in rows]
