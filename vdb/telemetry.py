"""The log: on stderr, one line a message, times in UTC; as text for people or as JSON for programs that collect logs.

What a message is about can come with it as facts: ``logger.warning("slow", extra=facts(request_id=…, seconds=…))``. As
text they follow the message, ``key=value``; in JSON they are keys of their own.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO

import orjson

LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}

LogFormat = Literal["text", "json"]

# Libraries whose INFO and DEBUG tell an operator nothing (the HTTP server would announce its address a second time).
_QUIET: Final = ("hypercorn", "asyncio", "aiosqlite", "filelock", "quart")


def facts(**values: Any) -> dict[str, Any]:
    """The ``extra`` of a message; None is left out."""
    return {"facts": {key: value for key, value in values.items() if value is not None}}


class LineFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO  vdb.server: message key=value``; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-5s %(name)s: %(message)s")
        self._second = -1
        self._second_text = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """In UTC; the lines of one second share its text (the handler's lock makes that safe)."""
        second = int(record.created)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message += "".join(f" {key}={_text(value)}" for key, value in _facts_of(record).items())
        # A client's text may hold line breaks, with which it could forge lines of the log.
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


class JsonFormatter(LineFormatter):
    """An object a line: ``timestamp``, ``level``, ``target``, ``message``, the facts, and a trace as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
            **_facts_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:  # a lone surrogate in what a client sent
            return json.dumps(line, default=str)


def configure_logging(level: str, format: LogFormat = "text", stream: TextIO | None = None) -> None:
    """Sends the whole process's log to ``stream`` (stderr); ``level`` is a key of LEVELS."""
    logging.addLevelName(logging.WARNING, "WARN")
    # No line shows where in the code, in which thread or process it was made, and finding out is a third of its cost.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if format == "json" else LineFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, LEVELS[level]))


def _facts_of(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, "facts", {})
    return found


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text) if not text or any(character in text for character in ' "=') else text
