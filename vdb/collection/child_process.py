"""Builders' processes: started, waited for, and ended when nobody waits any more."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from vdb.files import self_command

# Carries out the job that a file describes; raises BuildFailed, and OSError where it cannot even begin.
Builder = Callable[[Path], Awaitable[None]]

_STDERR_BYTES_MAX: Final = 4_000  # of a failed child, what goes into the log


class BuildFailed(Exception):
    """The builder ended with an error."""


async def build_segment(job: Path) -> None:
    """Runs ``vdb build-segment``."""
    await _run("build-segment", job)


async def build_index(job: Path) -> None:
    """Runs ``vdb build-index``."""
    await _run("build-index", job)


async def _run(command: str, job: Path) -> None:
    """Cancelling this ends the child, and returns when it is gone.

    A server that is killed cannot end its child: the pipe that the child reads from breaks then, and it leaves.
    """
    child_end, our_end = os.pipe()
    try:
        result = await trio.run_process(
            self_command(command, str(job)), stdin=child_end, capture_stderr=True, check=False
        )
    finally:
        os.close(child_end)
        os.close(our_end)
    if result.returncode != 0:
        assert result.stderr is not None
        raise BuildFailed(
            f"the builder exited with {result.returncode}: "
            + result.stderr[-_STDERR_BYTES_MAX:].decode(errors="replace").strip()
        )
