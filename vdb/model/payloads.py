"""Payloads: JSON objects, kept as the text that orjson writes.

Everything that becomes a payload passes here, so that what is accepted can be written again later: orjson writes 254
levels of nesting and integers of 64 bits. Larger integers are read as floats, as Qdrant reads them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from vdb.errors import MalformedBody


def read_payload(raw: msgspec.Raw) -> dict[str, Any]:
    """The object that ``raw`` spells; raises MalformedBody."""
    try:
        payload = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"payload: {error}") from error
    if not isinstance(payload, dict):
        raise MalformedBody(f"payload: expected an object, got {type(payload).__name__}")
    payload_text(payload)
    return payload


def payload_text(payload: dict[str, Any]) -> bytes:
    """Canonical JSON text; raises MalformedBody for what is nested too deeply to be written."""
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError as error:
        raise MalformedBody(f"payload: {error}") from error
