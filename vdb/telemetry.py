"""The log: plain text on stderr, one line a message, times in UTC."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final, TextIO

LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}

# Libraries whose INFO and DEBUG tell an operator nothing (the HTTP server would announce its address a second time).
_QUIET: Final = ("hypercorn", "asyncio", "aiosqlite", "filelock", "quart")


class LineFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO  vdb.server: message``; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-5s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # A client's text may hold line breaks, with which it could forge lines of the log.
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Sends the whole process's log to ``stream`` (stderr); ``level`` is a key of LEVELS."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))
