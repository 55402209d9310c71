"""The time that a request may take. Set at the edge; long work asks it between its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vdb.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """``expires_at`` is a reading of ``time.monotonic()`` in seconds, None for no limit."""

    timeout_s: float | None = None
    expires_at: float | None = None

    @classmethod
    def after(cls, timeout_s: float | None) -> Deadline:
        return cls() if timeout_s is None else cls(timeout_s, time.monotonic() + timeout_s)

    def check(self) -> None:
        """Raises DeadlineExceeded once the time is up."""
        if self.expires_at is not None and time.monotonic() >= self.expires_at:
            assert self.timeout_s is not None
            raise DeadlineExceeded(self.timeout_s)
