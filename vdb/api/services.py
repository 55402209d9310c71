"""What handlers work with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import trio

from vdb.config import Settings
from vdb.registry import Registry


@dataclass(slots=True)
class Services:
    """Owned by the application; one for its whole life. ``decoding`` bounds the threads that take bodies apart."""

    registry: Registry
    settings: Settings
    started_at: float = field(default_factory=time.monotonic)
    decoding: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))
