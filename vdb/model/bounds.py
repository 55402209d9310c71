"""Integers of requests with the bounds that every one of them has, and the merge of partial updates."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET

# JSON has no largest integer, SQLite and numpy do: beyond 64 signed bits a number could be read and never written.
COUNT_MAX: Final = 2**63 - 1

Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
CountFromOne = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]

S = TypeVar("S", bound=msgspec.Struct)


def merge(current: S, diff: msgspec.Struct | None) -> S:
    """``current`` with every field of ``diff`` that is set; None and UNSET keep what there is."""
    if diff is None:
        return current
    given = {name: getattr(diff, name) for name in diff.__struct_fields__}
    return msgspec.structs.replace(current, **{n: v for n, v in given.items() if v is not None and v is not UNSET})
