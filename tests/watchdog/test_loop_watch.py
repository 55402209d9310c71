"""The instrument sees what keeps a loop: work of its own, and a wait that no kernel imposed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio

from tests.watchdog.loop_watch import LoopWatch

KEPT_S = 0.05


def compute() -> None:
    end = time.thread_time() + KEPT_S
    while time.thread_time() < end:
        pass


def wait() -> None:
    time.sleep(KEPT_S)


@pytest.mark.parametrize("keep", [compute, wait])
def test_a_step_that_keeps_the_loop_is_reported(keep: Callable[[], None]) -> None:
    watch = LoopWatch()

    async def main() -> None:
        trio.lowlevel.add_instrument(watch)
        await trio.lowlevel.checkpoint()
        keep()
        await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(watch)

    trio.run(main)
    longest = watch.report().steps[0]
    assert longest.blocked_ms >= KEPT_S * 1000 * 0.9
