"""Requests as they are seen from outside: numbered, counted, and noted where they were slow or failed.

Guarantees
    A request that was fast and went well costs some additions; no lock is taken and nothing is written, unless the
    access log is on.
    However many requests are slow, at most ``LINES_MAX`` of them a second are logged, and the rest is counted.
Assumes
    One thread, the loop's.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from vdb.api.anonymous import Anonymous
from vdb.api.asked import reading, writing
from vdb.api.hardware import Meter
from vdb.api.issues import Issues
from vdb.api.routing import Route
from vdb.api.slow_requests import SLOW_S, SlowRequests
from vdb.api.statistics import RequestStatistics
from vdb.api.strict_mode import StrictMode
from vdb.config import Settings
from vdb.model.params import ReadParams, WriteParams
from vdb.registry import Registry
from vdb.telemetry import facts

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("vdb.access")

REQUEST_ID: Final = "x-request-id"
LINES_MAX: Final = 10  # of slow requests, a second
# What a header and a line of the log carry as it is; anything else gets an id of the server's own.
_ACCEPTED_ID: Final = re.compile(r"[!-~]{1,128}")


class Observed:
    """One request on its way: ``started`` is a reading of ``time.perf_counter()``, ``body`` what was decoded."""

    __slots__ = ("body", "id", "meter", "started")

    def __init__(self, request_id: str, meter: Meter | None) -> None:
        self.started = time.perf_counter()
        self.id = request_id
        self.meter = meter
        self.body: Any = None


class Observer:
    """Owned by the application."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        service = settings.service
        self.strict_mode = StrictMode(registry)
        self.statistics = RequestStatistics(registry.exists)
        self.slow = SlowRequests()
        self.issues = Issues()
        self.anonymous = Anonymous()
        self.hardware: dict[str, Meter] = {}  # by collection, what its requests took together
        self.reports_hardware = service.hardware_reporting
        self.process_id = str(uuid4())
        self._registry = registry
        self._access_log = settings.logger.access_log
        self._slow_query_s = service.slow_query_secs
        self._noted_s = min(SLOW_S, self._slow_query_s)
        self._prefix = secrets.token_hex(4)
        self._number = 0
        self._lines = _LinesPerSecond(LINES_MAX)

    def request_id(self, given: str | None) -> str:
        """The client's own, where it is fit to be answered; else a new one."""
        if given is not None and _ACCEPTED_ID.fullmatch(given):
            return given
        self._number += 1
        return f"{self._prefix}-{self._number:x}"

    def begin(self, given_id: str | None) -> Observed:
        return Observed(self.request_id(given_id), Meter() if self.reports_hardware else None)

    def _metered(self, collection: str, meter: Meter) -> None:
        """Adds what a request took to its collection's sum."""
        if self._registry.exists(collection):
            self.hardware.setdefault(self._registry.resolve(collection), Meter()).add(meter)

    def watching(self, route: Route) -> Callable[[Observed, str | None, int], None]:
        """What the view of ``route`` calls at the end of each request, with its collection and status."""
        series = self.statistics.route(route.method, route.path)
        noted_s = self._noted_s if issubclass(route.params, ReadParams | WriteParams) else float("inf")
        access_log = self._access_log

        def ended(observed: Observed, collection: str | None, status: int) -> None:
            duration_s = time.perf_counter() - observed.started
            series.add(collection, status, duration_s)
            if duration_s >= noted_s and collection is not None and status < 400:
                self._slow(route, collection, observed, status, duration_s)
            if observed.meter is not None and collection is not None:
                self._metered(collection, observed.meter)
            if access_log:
                self.log_access(route.method, route.path, observed.id, status, duration_s, collection)

        return ended

    def unrouted(self, method: str, path: str, observed: Observed, status: int) -> None:
        """A request that no route serves."""
        duration_s = time.perf_counter() - observed.started
        self.statistics.add_unknown(method, status, duration_s)
        self.log_access(method, path, observed.id, status, duration_s)

    def log_access(
        self, method: str, path: str, request_id: str, status: int, duration_s: float, collection: str | None = None
    ) -> None:
        if self._access_log:
            access_logger.info(
                "%s %s",
                method,
                path,
                extra=facts(collection=collection, status=status, seconds=duration_s, request_id=request_id),
            )

    def _slow(self, route: Route, collection: str, observed: Observed, status: int, duration_s: float) -> None:
        reads, body = issubclass(route.params, ReadParams), observed.body
        if duration_s >= SLOW_S:
            shown = body if reads else {"points": sum(writing(body).batches)}
            self.slow.note(route.operation_id, collection, duration_s, shown)
        if not reads or duration_s < self._slow_query_s:
            return
        filters = reading(body).filters
        if filters and self._registry.exists(collection):
            self.issues.note(self._registry.resolve(collection), self._registry.get(collection).view, filters)
        if (unlogged := self._lines.take()) is not None:
            logger.warning(
                "slow query",
                extra=facts(
                    method=route.method,
                    endpoint=route.path,
                    collection=collection,
                    seconds=duration_s,
                    status=status,
                    request_id=observed.id,
                    unlogged=unlogged or None,
                ),
            )


class _LinesPerSecond:
    """Lets so many lines a second through and counts the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._taken = 0
        self._unlogged = 0

    def take(self) -> int | None:
        """None where the line is one too many; else how many have been since the last that was not."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self._most:
            self._unlogged += 1
            return None
        self._taken += 1
        unlogged, self._unlogged = self._unlogged, 0
        return unlogged
