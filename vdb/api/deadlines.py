"""The ``timeout`` of requests: kept at the edge, so that inner code invents none.

Reads end at their deadline. A change goes on, because half a change is worse than a late one: only the wait for it
ends, with 408, and what it comes to afterwards is logged where it fails.
"""

from __future__ import annotations

from typing import Any

import trio

from vdb.api.routing import Call, Route
from vdb.errors import DeadlineExceeded


async def within_deadline(route: Route, call: Call) -> Any:
    """What the route's handler answers; raises DeadlineExceeded after the ``timeout`` that the request may have."""
    timeout_s: float | None = getattr(call.params, "timeout", None)
    if timeout_s is None:
        return await route.handler(call)
    if route.access not in ("write", "manage"):
        with trio.move_on_after(timeout_s):
            return await route.handler(call)
        raise DeadlineExceeded(timeout_s)
    return await _change_within(timeout_s, route, call)


async def _change_within(timeout_s: float, route: Route, call: Call) -> Any:
    ended = trio.Event()
    answers: list[Any] = []
    failures: list[Exception] = []
    awaited = True

    async def change() -> None:
        try:
            answers.append(await route.handler(call))
        except Exception as error:
            if not awaited:
                raise
            failures.append(error)
        finally:
            ended.set()

    call.services.registry.start_in_background(change, f"{route.method} {route.path}, after its timeout")
    with trio.move_on_after(timeout_s):
        await ended.wait()
    awaited = False
    if failures:
        raise failures[0]
    if answers:
        return answers[0]
    raise DeadlineExceeded(timeout_s)
