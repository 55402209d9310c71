"""A vdb server as a child process, for programs and tests that start it, kill it and start it again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

POLL_S: Final = 0.005  # between two looks at something that the server does by itself
START_MAX_S: Final = 60.0
STOP_MAX_S: Final = 15.0
_LISTENS: Final = re.compile(r"listens on (http://[^\s,]+)")


class ServerFailed(Exception):
    """The server ended, or did not do in time what was waited for; the message ends with its log."""


class VdbProcess:
    """One server over one storage folder. ``url`` is where it listens; its log goes to ``storage.log`` beside it."""

    def __init__(
        self, storage: Path, environment: Mapping[str, str] | None = None, command: Sequence[str] | None = None
    ) -> None:
        """Starts the process; ``command`` replaces ``python -m vdb serve`` and gets the same flags."""
        self.storage = storage
        self.log_path = storage.with_name(storage.name + ".log")
        self.started_at = time.perf_counter()
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [
                    *(command or (sys.executable, "-m", "vdb", "serve")),
                    *("--storage-path", str(storage), "--host", "127.0.0.1", "--port", "0"),
                ],
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.url = ""

    def log_text(self) -> str:
        """What this process has logged."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_until_listening(self) -> str:
        """The URL; raises ServerFailed."""

        def listening() -> str | None:
            found = _LISTENS.search(self.log_text())
            if found is None and self.process.poll() is not None:
                raise ServerFailed(f"the server ended with {self.process.returncode}:\n{self.log_text()}")
            return None if found is None else found[1]

        self.url = self.wait_for(listening, START_MAX_S, "listen")
        return self.url

    def wait_for(self, look: Callable[[], T | None], within_s: float, what: str) -> T:
        """The first answer of ``look`` that is not None; raises ServerFailed after ``within_s``."""
        deadline = time.monotonic() + within_s
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server did not {what} within {within_s:g} s:\n{self.log_text()}")
            time.sleep(POLL_S)
        return found

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The ``result`` of one request; raises ServerFailed for an error answer, OSError where there is no answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=START_MAX_S) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise ServerFailed(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def wait_until_green(self, collection: str, within_s: float = 300.0) -> float:
        """Seconds until every segment is as its configuration wants it; raises ServerFailed."""
        started = time.perf_counter()

        def green() -> bool | None:
            return True if self.call("GET", f"/collections/{collection}")["status"] == "green" else None

        self.wait_for(green, within_s, "become green")
        return time.perf_counter() - started

    def kill(self) -> None:
        """``kill -9``: no handler runs, nothing is flushed."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks the server to leave, waits, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"the server did not leave within {STOP_MAX_S:g} s:\n{self.log_text()}") from None


@contextmanager
def serving(
    storage: Path, environment: Mapping[str, str] | None = None, command: Sequence[str] | None = None
) -> Iterator[VdbProcess]:
    """A server that listens; killed at the end of the block if it still runs."""
    server = VdbProcess(storage, environment, command)
    try:
        server.wait_until_listening()
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
