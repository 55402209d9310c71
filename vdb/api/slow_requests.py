"""The slowest requests since the start, told apart by what they asked for.

Guarantees
    At most ``KEPT_MAX`` of each kind are kept, and of each body at most ``BODY_BYTES_MAX``: memory is bounded. One that
    is too fast to be kept costs a comparison.
Assumes
    One thread, the loop's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import xxhash

from vdb.api.routing import Call, Routes
from vdb.model.bounds import Count

routes = Routes("Service")

SLOW_S: Final = 0.05  # Qdrant's threshold
KEPT_MAX: Final = 32
BODY_BYTES_MAX: Final = 16 * 1024
LIMIT_DEFAULT: Final = 10


class SlowRequest(msgspec.Struct, kw_only=True):
    """``duration`` is in seconds; ``request_body`` is JSON, or the beginning of its text where that is long."""

    collection_name: str
    duration: float
    datetime: datetime
    request_name: str
    approx_count: int
    request_body: Any


class SlowRequestsResponse(msgspec.Struct, frozen=True):
    requests: list[SlowRequest]


@dataclass(slots=True)
class SlowRequests:
    """Owned by the application. By name of the request, then by a hash of what it asked for."""

    _kept: dict[str, dict[bytes, SlowRequest]] = field(default_factory=dict)

    def note(self, name: str, collection: str, duration_s: float, body: Any) -> None:
        """Keeps a slow request where it is among the slowest of its kind."""
        kept = self._kept.setdefault(name, {})
        if len(kept) >= KEPT_MAX and duration_s <= min(entry.duration for entry in kept.values()):
            return
        text = body if isinstance(body, bytes) else msgspec.json.encode(body, enc_hook=_as_list)
        key = xxhash.xxh3_128_digest(collection.encode(errors="replace") + b"\0" + text)
        if (present := kept.get(key)) is not None:
            present.approx_count += 1
            if duration_s > present.duration:
                present.duration, present.datetime = duration_s, datetime.now(UTC)
            return
        if len(kept) >= KEPT_MAX:
            del kept[min(kept, key=lambda key: kept[key].duration)]
        kept[key] = SlowRequest(
            collection_name=collection,
            duration=duration_s,
            datetime=datetime.now(UTC),
            request_name=name,
            approx_count=1,
            request_body=msgspec.Raw(text)
            if len(text) <= BODY_BYTES_MAX
            else text[:BODY_BYTES_MAX].decode(errors="replace"),
        )

    def slowest(self, limit: int, name: str) -> list[SlowRequest]:
        """Those whose kind has ``name`` in it, slowest first."""
        found = [entry for kind, kept in self._kept.items() if name in kind for entry in kept.values()]
        return sorted(found, key=lambda entry: -entry.duration)[:limit]


class SlowRequestsParams(msgspec.Struct, frozen=True, kw_only=True):
    limit: Count = LIMIT_DEFAULT
    request: str = ""


@routes.add(
    "GET",
    "/profiler/slow_requests",
    summary="The slowest requests since the start",
    access="manage",
    params=SlowRequestsParams,
    result=SlowRequestsResponse,
    documented=False,
)
async def get_slow_requests(call: Call) -> SlowRequestsResponse:
    params: SlowRequestsParams = call.params
    return SlowRequestsResponse(call.services.observer.slow.slowest(params.limit, params.request))


def _as_list(value: Any) -> Any:
    """Sparse vectors in a decoded body are arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no part of a request")
