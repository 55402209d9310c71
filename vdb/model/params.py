"""Query parameters of requests. Times are in seconds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

TimeoutSeconds = Annotated[int, msgspec.Meta(ge=1)]
WriteOrdering = Literal["weak", "medium", "strong"]


class TimeoutParams(msgspec.Struct, frozen=True, kw_only=True):
    timeout: TimeoutSeconds | None = None


class WriteParams(msgspec.Struct, frozen=True, kw_only=True):
    """``wait`` answers when the change is visible; ``ordering`` is accepted for clusters' sake."""

    wait: bool = False
    ordering: WriteOrdering | None = None
    timeout: TimeoutSeconds | None = None


class ReadParams(msgspec.Struct, frozen=True, kw_only=True):
    """``consistency`` is accepted for clusters' sake: there is one replica."""

    consistency: Annotated[int, msgspec.Meta(ge=1)] | Literal["majority", "quorum", "all"] | None = None
    timeout: TimeoutSeconds | None = None
