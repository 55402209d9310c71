"""The ``timeout`` of changes: 408 when it is over, and the change goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from vdb.api.deadlines import within_deadline
from vdb.api.routing import AccessKind, Call, Route
from vdb.errors import BadRequest, DeadlineExceeded
from vdb.model.params import TimeoutParams

TIMEOUT_S = 5


class Background:
    """What a registry offers for work that outlives its request."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.failures: list[Exception] = []

    def start_in_background(self, work: Callable[[], Any], what: str) -> None:
        async def run() -> None:
            try:
                await work()
            except Exception as error:
                self.failures.append(error)

        self._nursery.start_soon(run)


class Services:
    def __init__(self, registry: Background) -> None:
        self.registry = registry


@asynccontextmanager
async def request(seconds: float, error: Exception | None = None) -> AsyncIterator[Any]:
    """Runs a handler that takes some seconds; yields how to ask, what is done, and what failed late."""
    done: list[str] = []

    async def handler(call: Call) -> str:
        await trio.sleep(seconds)
        if error is not None:
            raise error
        done.append("done")
        return "answer"

    async with trio.open_nursery() as nursery:
        background = Background(nursery)

        async def ask(access: AccessKind, timeout: int | None) -> Any:
            route = Route("PUT", "/x", "X", "", handler, access)
            params = TimeoutParams(timeout=timeout)
            call = Call(Services(background), {}, params, None, access=None)  # type: ignore[arg-type]
            return await within_deadline(route, call)

        yield ask, done, background.failures


@pytest.mark.parametrize("access", ["read", "write", "manage"])
@pytest.mark.parametrize("timeout", [None, TIMEOUT_S])
async def test_what_is_done_in_time_is_answered(
    autojump_clock: object, access: AccessKind, timeout: int | None
) -> None:
    async with request(TIMEOUT_S - 1) as (ask, done, _):
        assert await ask(access, timeout) == "answer"
    assert done == ["done"]


@pytest.mark.parametrize("access", ["write", "manage"])
async def test_a_change_that_is_late_is_408_and_goes_on(autojump_clock: object, access: AccessKind) -> None:
    async with request(TIMEOUT_S + 1) as (ask, done, failures):
        with pytest.raises(DeadlineExceeded):
            await ask(access, TIMEOUT_S)
        assert done == []
    assert (done, failures) == (["done"], [])


async def test_a_read_that_is_late_is_408_and_ends(autojump_clock: object) -> None:
    async with request(TIMEOUT_S + 1) as (ask, done, _):
        with pytest.raises(DeadlineExceeded):
            await ask("read", TIMEOUT_S)
    assert done == []


async def test_what_a_change_is_refused_for_is_answered_in_time_and_told_the_log_afterwards(
    autojump_clock: object,
) -> None:
    async with request(TIMEOUT_S - 1, BadRequest("no")) as (ask, _, failures):
        with pytest.raises(BadRequest):
            await ask("write", TIMEOUT_S)
    assert failures == []
    async with request(TIMEOUT_S + 1, BadRequest("no")) as (ask, _, failures):
        with pytest.raises(DeadlineExceeded):
            await ask("write", TIMEOUT_S)
    assert [str(failure) for failure in failures] == ["no"]
