"""A limit on operations a minute: a bucket of as many tokens, which fills evenly again."""

from __future__ import annotations

import math
import time
from typing import Final

from vdb.errors import Busy, StrictModeViolation

MINUTE_S: Final = 60.0


class RateLimiter:
    """Owned by the loop. ``per_minute`` is also what may be taken at once after a pause."""

    def __init__(self, name: str, per_minute: int) -> None:
        self.per_minute = per_minute
        self._name = name
        self._tokens = float(per_minute)
        self._filled_at = time.monotonic()

    def take(self, tokens: int) -> None:
        """Raises Busy, which says when there will be enough, and StrictModeViolation for more than there ever are."""
        if tokens > self.per_minute:
            raise StrictModeViolation(
                f"{self._name} rate limit exceeded, the request takes {tokens} of {self.per_minute} a minute",
                "Split the request.",
            )
        now = time.monotonic()
        filled = (now - self._filled_at) * self.per_minute / MINUTE_S
        self._tokens = min(float(self.per_minute), self._tokens + filled)
        self._filled_at = now
        if tokens > self._tokens:
            missing = tokens - self._tokens
            raise Busy(
                f"{self._name} rate limit exceeded: Operation requires {tokens} tokens but only "
                f"{math.floor(self._tokens)} were available",
                max(1, math.ceil(missing * MINUTE_S / self.per_minute)),
            )
        self._tokens -= tokens
