"""Points in time as payloads and filters spell them, as microseconds since 1970 (UTC).

RFC 3339 and what Qdrant takes beside it: a space for the ``T``, seconds left out, no time at all, no zone (UTC then).
A zone needs seconds before it. Fractions beyond microseconds are cut off. Epoch numbers and RFC 2822 are not datetimes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_SPELLING: Final = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[Tt ]\s*(\d{1,2}):(\d{1,2})"
    r"(?::(\d{1,2})(?:\.(\d+))?(?:\s*(?:([Zz])|([+-])(\d{2}):?(\d{2})?))?)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
# Longer than any spelling; keeps long texts out of the cache.
_CHARACTERS_MAX: Final = 64
# A filter and a payload field repeat few spellings, a scan of distinct ones gains nothing from more.
_SPELLINGS_CACHED_MAX: Final = 4096


def datetime_micros(text: str) -> int | None:
    """Microseconds since 1970-01-01 UTC; None where ``text`` is no datetime."""
    return _micros(text) if len(text) <= _CHARACTERS_MAX else None


def parse_datetime(text: str) -> int:
    """Microseconds since 1970-01-01 UTC; raises ValueError."""
    micros = datetime_micros(text)
    if micros is None:
        raise ValueError(f"'{text[:100]}' is not a datetime in RFC 3339 format, such as 2023-02-08T10:49:00Z")
    return micros


def format_micros(micros: int) -> str:
    """RFC 3339 in UTC; raises OverflowError beyond the years 1 to 9999."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + micros * _MICROSECOND).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=_SPELLINGS_CACHED_MAX)
def _micros(text: str) -> int | None:
    match = _SPELLING.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, offset_hours, offset_minutes = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    micros = (moment - _EPOCH) // _MICROSECOND + int((fraction or "")[:6].ljust(6, "0"))
    if sign is None:
        return micros
    if int(offset_hours) > 23 or int(offset_minutes or 0) > 59:
        return None
    offset = (int(offset_hours) * 60 + int(offset_minutes or 0)) * 60_000_000
    return micros - offset if sign == "+" else micros + offset
