"""The real program, ``vdb serve``, as a process of its own on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

START_S: Final = 30.0
STOP_S: Final = 15.0
_POLL_S: Final = 0.02
_LISTENS: Final = re.compile(r"listens on (https?://[^\s,]+)")


class RunningServer:
    """``url`` is where it answers; ``storage`` is its folder; ``log`` what it has said so far."""

    def __init__(self, storage: Path, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.storage = storage
        self.process = process
        self._log_path = log_path
        self.url = until(self._find_url, START_S)

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")

    def _find_url(self) -> str | None:
        found = _LISTENS.search(self.log)
        assert self.process.poll() is None, f"the server left with {self.process.returncode}:\n{self.log}"
        return None if found is None else found[1]

    def stop(self) -> int:
        """Asks it to leave, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextlib.contextmanager
def serving(storage: Path, **environment: str) -> Iterator[RunningServer]:
    """Serves ``storage`` for this block, and demands that the server leaves with 0 and never logged an error."""
    log_path = storage.with_suffix(".log")
    command = [sys.executable, "-m", "vdb", "serve", "--port", "0", "--storage-path", str(storage)]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("VDB__", "QDRANT__"))}
    with (
        log_path.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={**inherited, **environment}) as process,
    ):
        try:
            server = RunningServer(storage, process, log_path)
            yield server
            if process.poll() is None:
                assert server.stop() == 0, server.log
            assert "ERROR" not in server.log, server.log
        finally:
            process.kill()


def until(look: Callable[[], T | None], deadline_s: float = 20.0) -> T:
    """What ``look`` returns once that is neither None nor False; fails after ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < end, f"not within {deadline_s:g} s"
        time.sleep(_POLL_S)
