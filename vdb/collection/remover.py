"""Deletes the folders of segments that nothing holds any more.

To unlink a gigabyte takes a quarter of a second, and whoever lets go of a segment last may be the event loop: so a
thread does it. What is left when the collection closes is swept at the next start, as after a crash.
"""

from __future__ import annotations

import math
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio


class Remover:
    """``run`` is a task of the collection."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._waiting, self._folders = trio.open_memory_channel[Path](math.inf)

    def remove(self, folder: Path) -> None:
        """From any thread, also in a finalizer. Returns at once."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._note, folder)

    def _note(self, folder: Path) -> None:
        with suppress(trio.BrokenResourceError):  # `run` has ended
            self._waiting.send_nowait(folder)

    async def run(self) -> None:
        """Until cancelled."""
        async with self._folders:
            async for folder in self._folders:
                await trio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
