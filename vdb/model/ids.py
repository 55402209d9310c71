"""Point ids: an unsigned 64-bit integer or a UUID.

In memory an id is an ``int`` or the UUID's hyphenated lower-case text, which is also how it is answered.
In SQLite it is two columns, because SQLite's integers are signed:

==========  ==========================  =======================================
id_order    id                          what it holds
==========  ==========================  =======================================
0           INTEGER                     0 … 2^63 − 1
1           TEXT, 19 digits             2^63 … 10^19 − 1
2           TEXT, 20 digits             10^19 … 2^64 − 1
3           TEXT, 36 characters         a UUID
==========  ==========================  =======================================

Ordering by ``(id_order, id)`` is Qdrant's order: numbers by value, then UUIDs by their bytes.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from uuid import UUID

import msgspec

from vdb.errors import BadRequest

PointId = int | str

# An id as it stands in a request, not yet parsed: decoding tells numbers from texts, parse_point_id does the rest.
RequestId = Annotated[
    int | str,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "integer", "format": "uint64", "minimum": 0},
                {"type": "string", "format": "uuid"},
            ]
        }
    ),
]

ID_MAX: Final = 2**64 - 1
_SIGNED_MAX: Final = 2**63 - 1
_NINETEEN_DIGITS_MAX: Final = 10**19 - 1
_DIGITS_MAX: Final = len(str(ID_MAX))
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_TEXT: Final = re.compile(
    r"(?:urn:uuid:)?(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    re.IGNORECASE,
)


class InvalidPointId(BadRequest, ValueError):
    """Not an unsigned integer of 64 bits and not a UUID (a ValueError too, so that decoders name its place)."""

    def __init__(self, value: object) -> None:
        super().__init__(
            f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        )
        self.value = value


def parse_point_id(value: object) -> PointId:
    """The id in its one spelling; raises InvalidPointId."""
    if type(value) is int:
        if 0 <= value <= ID_MAX:
            return value
    elif type(value) is str:
        if _CANONICAL.fullmatch(value):
            return value
        if _UUID_TEXT.fullmatch(value):
            return str(UUID(value))
    raise InvalidPointId(value)


def parse_path_id(text: str) -> PointId:
    """The id in a URL path, where a number arrives as its digits; raises BadRequest."""
    digits = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    try:
        return parse_point_id(int(text) if digits else text)
    except InvalidPointId:
        raise BadRequest(f'Can not recognize "{text}" as point id') from None


def id_columns(point_id: PointId) -> tuple[int, int | str]:
    """``(id_order, id)`` as SQLite stores them."""
    if isinstance(point_id, str):
        return 3, point_id
    if point_id <= _SIGNED_MAX:
        return 0, point_id
    return (1 if point_id <= _NINETEEN_DIGITS_MAX else 2), str(point_id)


def id_from_columns(id_order: int, stored: int | str) -> PointId:
    """The inverse of ``id_columns``."""
    return int(stored) if id_order in (1, 2) else stored
