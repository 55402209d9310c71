"""A server of one's own for the length of a command: this very program, on a free port and a temporary folder."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vdb.cli.client import Server
from vdb.errors import VdbError
from vdb.files import self_command

_LISTENS: Final = re.compile(r"listens on (http://[^\s,]+)")
_START_S: Final = 30.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.02


@contextmanager
def serving() -> Iterator[Server]:
    """Settings of the environment that say where to listen and to store do not count; raises VdbError."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VDB__", "QDRANT__"))}
    # The log is the server's own while it runs, and Windows deletes no open file: it may stay behind for a moment.
    with tempfile.TemporaryDirectory(prefix="vdb-bench-", ignore_cleanup_errors=True) as folder:
        log_path = Path(folder) / "server.log"
        command = self_command("serve", "--host", "127.0.0.1", "--port", "0", "--storage-path", f"{folder}/storage")
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            yield Server(_url(process, log_path))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[bytes], log_path: Path) -> str:
    deadline = time.monotonic() + _START_S
    while True:
        log = log_path.read_text(encoding="utf-8", errors="replace")
        if (found := _LISTENS.search(log)) is not None:
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.strip().splitlines()[-1:] or ["it said nothing"]
            raise VdbError(f"the server did not start: {last[0]}")
        time.sleep(_POLL_S)
