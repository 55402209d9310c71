"""The envelope around every answer: ``{"result": …, "status": "ok", "time": seconds}``."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import orjson

from vdb.api.routing import Encoded
from vdb.model.usage import Usage

_ENCODER = msgspec.json.Encoder()


def encode_result(result: Any) -> bytes:
    """A handler's result as JSON: text that already is, or a struct, or plain values."""
    if isinstance(result, Encoded):
        return result
    return _ENCODER.encode(result)


def success(result: Any, started: float, usage: Usage | None = None) -> bytes:
    """``started`` is a reading of ``time.perf_counter()``; ``usage`` is answered where it was measured."""
    if usage is not None:
        fields = (encode_result(result), _ENCODER.encode(usage), _elapsed(started))
        return b'{"result":%b,"status":"ok","usage":%b,"time":%b}' % fields
    return b'{"result":%b,"status":"ok","time":%b}' % (encode_result(result), _elapsed(started))


def accepted(started: float) -> bytes:
    return b'{"status":"accepted","time":%b}' % _elapsed(started)


def failure(message: str, started: float) -> bytes:
    return b'{"status":{"error":%b},"time":%b}' % (_text(message), _elapsed(started))


def _elapsed(started: float) -> bytes:
    return f"{time.perf_counter() - started:.9f}".encode()


def _text(message: str) -> bytes:
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError:  # a lone surrogate that came in through a path
        return orjson.dumps(message.encode(errors="replace").decode())
