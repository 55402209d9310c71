"""The registry without a server: what it does when a disk fails in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio_asyncio  # type: ignore[import-untyped]

from tests.collection.conftest import config_of
from tests.collection.operations import until
from vdb import registry
from vdb.config import load_settings
from vdb.errors import OutcomeUnknown, TryLater
from vdb.registry import open_registry


async def test_settings_that_a_disk_did_not_confirm_are_brought_to_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection that went on with a vector that its settings do not have would lose it at the next start."""
    monkeypatch.setattr(registry, "_RECONFIGURE_RETRY_S", 0.01)
    settings = load_settings([], {}, {"storage.storage_path": str(tmp_path)})
    async with trio_asyncio.open_loop(), open_registry(settings) as opened:
        vectors = {"a": {"size": 4, "distance": "Dot"}, "b": {"size": 4, "distance": "Dot"}}
        collection = await opened.create("test", config_of(vectors=vectors))
        reconfigure = collection.actor.reconfigure
        errors = [OutcomeUnknown("the disk does not say"), TryLater("not yet")]

        async def fails_at_first(config: Any) -> None:
            if errors:
                raise errors.pop(0)
            await reconfigure(config)

        monkeypatch.setattr(collection.actor, "reconfigure", fails_at_first)
        with pytest.raises(OutcomeUnknown):
            await opened.remove_vector("test", "a")
        assert set(collection.view.vectors) == {"a", "b"}
        await until(lambda: set(collection.view.vectors) == {"b"})
