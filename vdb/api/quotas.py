"""Quotas of the whole server: above them, updates that take memory or disk are refused with 507, and reads go on.

They are kept in ``quotas.json`` in the storage folder. A resource that reached its limit stays exceeded until it has
fallen by a margin, so that one that rests at its limit does not let every second update through.

Assumes: one thread, the loop's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import trio

from vdb.api import process
from vdb.api.asked import writing
from vdb.api.routing import Call, Routes
from vdb.errors import InsufficientStorage, Misconfigured
from vdb.files import write_atomically
from vdb.model.field_index import CreateFieldIndex
from vdb.model.quotas import QuotaConfig, QuotaExceeded, QuotaStatus, QuotaTelemetry, QuotaUsage

routes = Routes("Quotas")

FILE_NAME: Final = "quotas.json"
MARGIN_PERCENT: Final = 5  # where the configuration names none
READ_S: Final = 1.0  # seconds for which a reading counts

Readings = Callable[[Path], QuotaUsage]


def read_usage(folder: Path) -> QuotaUsage:
    """The use of memory, and of the file system of ``folder``, now."""
    memory = process.resident_percent()
    try:
        disk: int | None = round(process.disk_usage_percent(folder))
    except OSError:
        disk = None
    return QuotaUsage(
        resident_memory_percent=None if memory is None else min(100, round(memory)), disk_usage_percent=disk
    )


class Quotas:
    """Owned by the application."""

    def __init__(self, folder: Path, read: Readings = read_usage) -> None:
        """Raises Misconfigured for a file that is none of quotas."""
        self._folder = folder
        self._read = read
        self._read_at = float("-inf")
        self._memory_exceeded = False
        self._disk_exceeded = False
        self.config = QuotaConfig()
        path = folder / FILE_NAME
        if path.exists():
            try:
                self.config = msgspec.json.decode(path.read_bytes(), type=QuotaConfig)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Misconfigured(f"{path}: {error}") from error

    async def replace(self, config: QuotaConfig) -> None:
        """Durable, and in force, on return."""
        content = msgspec.json.encode(config)
        await trio.to_thread.run_sync(write_atomically, self._folder / FILE_NAME, content)
        self.config = config
        self._memory_exceeded = self._disk_exceeded = False
        self._read_at = float("-inf")

    def usage(self) -> QuotaUsage:
        return self._read(self._folder)

    def exceeded(self) -> QuotaExceeded:
        """By a reading that is at most ``READ_S`` old."""
        config = self.config
        if not config.enabled:
            return QuotaExceeded()
        now = time.monotonic()
        if now - self._read_at > READ_S:
            self._read_at = now
            usage = self.usage()
            margin = MARGIN_PERCENT if config.release_margin_percent is None else config.release_margin_percent
            memory, disk = usage.resident_memory_percent, usage.disk_usage_percent
            self._memory_exceeded = _is_over(memory, config.max_resident_memory_percent, margin, self._memory_exceeded)
            self._disk_exceeded = _is_over(disk, config.max_disk_usage_percent, margin, self._disk_exceeded)
        return QuotaExceeded(
            resident_memory=None if config.max_resident_memory_percent is None else self._memory_exceeded,
            disk_usage=None if config.max_disk_usage_percent is None else self._disk_exceeded,
        )

    def check(self, body: Any) -> None:
        """Raises InsufficientStorage for a write that takes memory and disk while there is too little of either."""
        if not self.config.enabled:
            return
        if not (isinstance(body, CreateFieldIndex) or writing(body).consumes):
            return
        exceeded = self.exceeded()
        if exceeded.resident_memory:
            raise InsufficientStorage(
                f"The quota of {self.config.max_resident_memory_percent}% of memory is exceeded: delete points first"
            )
        if exceeded.disk_usage:
            raise InsufficientStorage(
                f"The quota of {self.config.max_disk_usage_percent}% of the disk is exceeded: delete points first"
            )

    def telemetry(self) -> QuotaTelemetry:
        return QuotaTelemetry(config=self.config, exceeded=self.exceeded())


def _is_over(percent: int | None, most: int | None, margin: int, was_over: bool) -> bool:
    if percent is None or most is None:
        return False
    return percent >= most or (was_over and percent > most - margin)


class QuotaParams(msgspec.Struct, frozen=True, kw_only=True):
    wait: Annotated[bool, msgspec.Meta(description="Makes no difference: the answer comes when they are kept.")] = False


@routes.add("GET", "/quotas", summary="Quotas and what is used of them", access="read", result=QuotaStatus)
async def get_quotas(call: Call) -> QuotaStatus:
    quotas = call.services.quotas
    return QuotaStatus(config=quotas.config, usage=quotas.usage())


@routes.add("PUT", "/quotas", summary="Replace the quotas", access="manage", body=QuotaConfig, params=QuotaParams)
async def update_quotas(call: Call) -> bool:
    await call.services.quotas.replace(call.body)
    return True
