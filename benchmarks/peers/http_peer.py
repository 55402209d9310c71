"""Servers that are asked over HTTP: one client for all of them."""

from __future__ import annotations

import abc
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from benchmarks.load import http_request
from benchmarks.peers.peer import Filter, Floats, Kind, Peer

HOST: Final = "127.0.0.1"
START_MAX_S: Final = 60.0
STOP_MAX_S: Final = 30.0
ANSWER_MAX_S: Final = 300.0
IDLE_MAX_S: Final = 2.0  # servers close connections that nobody uses, some of them after a few seconds
_POLL_S: Final = 0.005


class Refused(Exception):
    """An answer other than 2xx."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class HttpPeer(Peer, abc.ABC):
    """A child process that listens, and one keep-alive connection for each thread that calls it."""

    kind: ClassVar[Kind] = "HTTP"
    ingest_clients: ClassVar[int] = 2

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        super().__init__(folder, dim, fields)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._local = threading.local()

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """What starts the server on ``self.port`` over ``self.folder``."""

    @abc.abstractmethod
    def ready(self) -> bool:
        """Whether it answers; OSError and Refused mean no."""

    @abc.abstractmethod
    def search_request(
        self, queries: Floats, width: int | None = None, wanted: Filter | None = None
    ) -> tuple[str, object]:
        """Path and body of a POST: for one query, or in one request for several."""

    @abc.abstractmethod
    def ids(self, answer: Any) -> list[list[int]]:
        """Of a whole answer, a list a query."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def open(self, create: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        log_path = self.folder.with_name(self.folder.name + ".log")
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.environment())
            )
        deadline = time.monotonic() + START_MAX_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, Refused):
                if self.ready():
                    break
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = log_path.read_text(errors="replace")[-500:]
                raise RuntimeError(f"the server does not answer (exit code {self.process.poll()}): {tail}")
            time.sleep(_POLL_S)
        if create:
            self.create()
        else:
            self.reopen()

    @abc.abstractmethod
    def create(self) -> None:
        """The collection, in a server that answers."""

    def reopen(self) -> None:
        """Learns what it must know of a collection that is there already."""

    def close(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def server_pids(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that is answered; raises Refused for anything but 2xx."""
        connection = self._connection()
        data = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            connection.request(method, path, data, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        self._local.used_at = time.monotonic()
        if answer.status // 100 != 2:
            raise Refused(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content) if content else None

    def _connection(self) -> http.client.HTTPConnection:
        """That of this thread; a new one where the server may have closed it meanwhile."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            if connection.port == self.port and time.monotonic() - self._local.used_at < IDLE_MAX_S:
                return connection
            connection.close()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_MAX_S)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._local.connection, self._local.used_at = connection, time.monotonic()
        return connection

    def prepared(self, queries: Floats, width: int | None = None, wanted: Filter | None = None) -> bytes:
        """The bytes of a search, for the load generator."""
        path, body = self.search_request(queries, width, wanted)
        return http_request("POST", path, json.dumps(body, separators=(",", ":")).encode())

    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        return self.ids(self.call("POST", *self.search_request(query[None], width, wanted)))[0]

    def search_batch(self, queries: Floats) -> list[list[int]]:
        return self.ids(self.call("POST", *self.search_request(queries)))
