"""What handlers work with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import trio

from vdb.api.observer import Observer
from vdb.api.quotas import Quotas
from vdb.config import Settings
from vdb.inference.embedders import Embedders, load_embedders
from vdb.registry import Registry
from vdb.snapshots.service import Snapshots


@dataclass(slots=True)
class Services:
    """Owned by the application; one for its whole life. ``decoding`` bounds the threads that take bodies apart."""

    registry: Registry
    settings: Settings
    started_at: float = field(default_factory=time.monotonic)
    decoding: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))
    embedders: Embedders = field(init=False)
    observer: Observer = field(init=False)
    quotas: Quotas = field(init=False)
    snapshots: Snapshots = field(init=False)

    def __post_init__(self) -> None:
        """Loads the models that the settings name; raises Misconfigured."""
        self.observer = Observer(self.registry, self.settings)
        self.quotas = Quotas(Path(self.settings.storage.storage_path))
        self.snapshots = Snapshots(self.registry)
        self.embedders = load_embedders(self.settings.inference)
