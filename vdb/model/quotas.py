"""Quotas: how much of the machine the server may take before it refuses what would take more."""

from __future__ import annotations

from typing import Annotated

import msgspec

Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
PercentFromOne = Annotated[int, msgspec.Meta(ge=1, le=100)]


class QuotaConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``release_margin_percent``: by how many points use must fall below a limit before updates are taken again."""

    enabled: bool = msgspec.field(default_factory=lambda: False)
    max_resident_memory_percent: PercentFromOne | None = None
    max_disk_usage_percent: PercentFromOne | None = None
    release_margin_percent: Percent | None = None


class QuotaUsage(msgspec.Struct, frozen=True, kw_only=True):
    """None where the platform does not tell."""

    resident_memory_percent: Percent | None = None
    disk_usage_percent: Percent | None = None


class QuotaStatus(msgspec.Struct, frozen=True, kw_only=True):
    config: QuotaConfig
    usage: QuotaUsage


class QuotaExceeded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What updates are refused for now; None where no limit is enforced."""

    resident_memory: bool | None = None
    disk_usage: bool | None = None


class QuotaTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    config: QuotaConfig
    exceeded: QuotaExceeded
