"""Errors as HTTP: the only place that knows which status an error has."""

from __future__ import annotations

import errno
import re
from typing import Any, Final

import msgspec
import orjson

from vdb.errors import (
    AlreadyExists,
    BadRequest,
    Busy,
    CollectionBroken,
    CollectionClosing,
    Corrupt,
    DeadlineExceeded,
    Forbidden,
    InsufficientStorage,
    MalformedBody,
    MalformedQuery,
    NoPointsGiven,
    NotClustered,
    NotFound,
    OutcomeUnknown,
    OutOfBounds,
    StorageFailed,
    StrictModeViolation,
    TooLarge,
    Unauthorized,
    UnknownEncoding,
    VdbError,
)
from vdb.model.decode import with_documented_names
from vdb.model.ids import InvalidPointId

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DISK_FAILS: Final = (errno.EIO, errno.EROFS, errno.EFBIG)
_TOO_MANY_FILES: Final = (errno.EMFILE, errno.ENFILE)
_BOUND: Final = re.compile(
    r"^Expected `(?:int|float|array|str|object)(?: \| null)?` (?:of )?(length )?(>=|<=|>|<) (\S+)"
)
_PATH: Final = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_LIMITS: Final = {
    ">=": "must be {} or larger",
    "<=": "must be {} or smaller",
    ">": "must be larger than {}",
    "<": "must be smaller than {}",
}


def to_http(error: VdbError) -> tuple[int, str, dict[str, str]]:
    """``(status, message, extra headers)``."""
    match error:
        case OutOfBounds():
            return 422, f"Validation error in {error.part}: {error}", {}
        case MalformedBody() | InvalidPointId():
            return 400, f"Format error in JSON body: {error}", {}
        case MalformedQuery():
            return 400, f"Deserialize error in query parameters: {error}", {}
        case NoPointsGiven():
            return 400, f"Bad request: {error}", {}
        case UnknownEncoding():
            return 415, f"Unsupported media type: {error}", {"Accept-Encoding": "gzip, deflate"}
        case TooLarge():
            return 413, f"Payload too large: {error}", {}
        case BadRequest():
            return 400, f"Wrong input: {error}", {}
        case NotFound():
            return 404, f"Not found: {error}", {}
        case AlreadyExists():
            return 409, f"Wrong input: {error}", {}
        case Unauthorized():
            return 401, str(error), {}
        case Forbidden():
            return 403, f"Forbidden: {error}", {}
        case StrictModeViolation():
            return 400, f"Bad request: {error}", {}
        case NotClustered():
            return 405, f"Service error: {error}", {}
        case Busy(retry_after_s=retry_after_s):
            return 429, f"Rate limiting exceeded: {error}", {"Retry-After": str(retry_after_s)}
        case DeadlineExceeded():
            return 408, f"Timeout error: {error}", {}
        case InsufficientStorage() | StorageFailed():
            return 507, f"Service error: {error}", {}
        case CollectionClosing():
            return 503, f"Service unavailable: {error}", {"Retry-After": "1"}
        case OutcomeUnknown() | CollectionBroken() | Corrupt():
            return 500, f"Service error: {error}", {}
    return 500, f"Service error: {error}", {}


def named(error: Exception) -> VdbError | None:
    """What the operating system refused, as the error that says who must act; None for a fault of vdb's own."""
    if not isinstance(error, OSError):
        return None
    if error.errno in _DISK_FULL:
        return InsufficientStorage(f"{error.strerror}: nothing was applied")
    if error.errno in _DISK_FAILS:
        return StorageFailed(f"The disk failed ({error.strerror}): nothing was applied")
    if error.errno in _TOO_MANY_FILES:
        return Busy(f"{error.strerror}: the server is at its limit of open files")
    return None


def explain_validation(error: msgspec.ValidationError, body: bytes, kind: Any) -> BadRequest:
    """msgspec's complaint as Qdrant's: a broken bound is a validation error, 422, a wrong type a format error, 400."""
    message = str(error)
    bound = _BOUND.match(message)
    if bound is None:
        return MalformedBody(message.replace(" - at `$.", " at `").replace(" - at `$", " at `"))
    is_length, comparison, limit = bound.groups()
    found = _PATH.search(message)
    steps = _STEP.findall(found.group(1)) if found else []
    field = "".join(f"[{index}]" if index else f".{key}" for key, index in steps).lstrip(".")
    value = _value_at(body, kind, steps)
    if is_length:
        return OutOfBounds(field, f"length {len(value) if isinstance(value, (list, str, dict)) else ''} invalid")
    if type(value) is int and value < 0 and limit in ("0", "1"):
        return MalformedBody(f"{field}: invalid value: integer `{value}`, expected an unsigned integer")
    shown = "null" if value is None else value
    return OutOfBounds(field, f"value {shown} invalid, {_LIMITS[comparison].format(limit)}")


def explain_query(error: msgspec.ValidationError, given: dict[str, str]) -> BadRequest:
    """msgspec's complaint about query parameters as Qdrant's, by the same rule as that about a body."""
    message = str(error)
    bound = _BOUND.match(message)
    place = _PATH.search(message)
    if bound is None or place is None:
        return MalformedQuery(message.replace(" - at `$.", " at `"))
    _, comparison, limit = bound.groups()
    name = place.group(1).lstrip(".")
    value = given.get(name, "")
    if value.startswith("-"):
        return MalformedQuery(f"{name}: invalid value: integer `{value}`, expected an unsigned integer")
    reason = f"value {value} invalid, {_LIMITS[comparison].format(limit)}"
    return OutOfBounds(name, reason, "query parameters")


def _value_at(body: bytes, kind: Any, steps: list[tuple[str, str]]) -> Any:
    """The value that was refused; None where the path cannot be followed."""
    try:
        value: Any = orjson.loads(with_documented_names(body, kind))
        for key, index in steps:
            value = value[int(index)] if index else value[key]
    except (ValueError, LookupError, TypeError, RecursionError, msgspec.DecodeError, BadRequest):
        return None
    return value
