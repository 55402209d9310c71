"""Waiting for the reads that were on their way."""

from __future__ import annotations

import threading
from functools import partial

import trio
import trio.testing

from vdb.collection.drainable_threads import DrainableThreads


async def test_drained_waits_for_all_jobs_before_it_and_for_none_after_it() -> None:
    threads = DrainableThreads(3, "test")
    threads.start()
    first, second, third = threading.Event(), threading.Event(), threading.Event()
    over: list[str] = []

    async def drain(name: str) -> None:
        await threads.drained()
        over.append(name)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(threads.run, first.wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(drain, "one")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(threads.run, second.wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(drain, "two")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(threads.run, third.wait)
            second.set()
            await threads.run(partial(int, 0))
            await trio.testing.wait_all_tasks_blocked()
            assert over == [], "the first job is running: what it reads may be what the second drain is about"
            first.set()
            with trio.fail_after(10):
                while len(over) < 2:
                    await threads.run(partial(int, 0))
            assert not third.is_set()
            third.set()
        with trio.fail_after(10):
            await threads.drained()
    finally:
        for event in (first, second, third):
            event.set()
        threads.stop()
