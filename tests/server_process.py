"""A vdb server with a fake database, run as a process by ``test_server.py``: ``server_process.py MODE STORAGE``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from quart_trio import QuartTrio

from vdb import server, telemetry
from vdb.config import Settings, load_settings
from vdb.errors import Misconfigured

MODE, STORAGE = sys.argv[1:]


class FakeRegistry:
    recovered = "recovered nothing"

    def __init__(self, tasks: trio.Nursery) -> None:
        self.tasks = tasks


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[FakeRegistry]:
    if MODE == "refuse":
        raise Misconfigured("the storage is not ours")
    async with trio.open_nursery() as tasks:
        yield FakeRegistry(tasks)
        if MODE == "never-closes":
            await trio.sleep_forever()
        sys.stdout.write("closed\n")


def create_app(registry: FakeRegistry, settings: Settings) -> QuartTrio:
    app = QuartTrio("fake")
    entered = trio.Event()

    async def die() -> None:
        raise RuntimeError("an actor died")

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "there"}

    @app.get("/large")
    async def more_than_the_kernel_buffers() -> bytes:
        return bytes(64 * 1024 * 1024)

    @app.get("/die")
    async def kill_an_actor() -> dict[str, str]:
        registry.tasks.start_soon(die)
        return {}

    @app.get("/held")
    async def hold_until_a_line_on_stdin() -> dict[str, str]:
        entered.set()
        await trio.to_thread.run_sync(sys.stdin.readline)
        return {"held": "and finished"}

    @app.get("/entered")
    async def wait_until_held() -> dict[str, str]:
        await entered.wait()
        return {}

    return app


settings = load_settings(flags={"service.http_port": 0, "storage.storage_path": STORAGE})
telemetry.configure_logging(settings.log_level)
server.leave(server.run(settings, lambda: (open_registry, create_app)))
