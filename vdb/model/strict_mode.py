"""Strict mode: limits that a collection sets to what its clients may ask for.

The limits themselves are a section of the settings too, so that their struct stands there.
"""

from __future__ import annotations

from vdb.config import StrictModeConfig as StrictModeConfig
from vdb.model.bounds import merge


def with_defaults(given: StrictModeConfig | None, defaults: StrictModeConfig) -> StrictModeConfig | None:
    """The limits of a new collection: its own, field by field, over the server's; None where neither sets any."""
    if defaults == StrictModeConfig():
        return given
    return merge(defaults, given)


def enforced(config: StrictModeConfig | None) -> StrictModeConfig | None:
    """The limits that hold; None where strict mode is off or sets none."""
    if config is None or not config.enabled:
        return None
    return config if config != _ENABLED else None


_ENABLED = StrictModeConfig(enabled=True)
