"""A vdb server whose event loop is watched: ``watched_server.py REPORT`` and the flags that ``vdb serve`` takes.

Writes the report as JSON when it is told to stop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.watchdog.loop_watch import LoopWatch
from vdb import server, telemetry
from vdb.config import Settings, load_settings

parser = argparse.ArgumentParser()
parser.add_argument("report", type=Path)
for flag in ("--storage-path", "--host", "--port"):
    parser.add_argument(flag)
given = parser.parse_args()


def parts() -> tuple[server.OpenRegistry, server.CreateApp]:
    open_registry, create_app = server.real_parts()

    @asynccontextmanager
    async def open_watched(settings: Settings) -> AsyncIterator[object]:
        watch = LoopWatch()
        async with trio.open_nursery() as nursery, open_registry(settings) as registry:
            trio.lowlevel.add_instrument(watch)
            nursery.start_soon(watch.tick)
            yield registry
            nursery.cancel_scope.cancel()
            trio.lowlevel.remove_instrument(watch)
            given.report.write_bytes(msgspec.json.encode(watch.report()))

    return open_watched, create_app


settings = load_settings(
    flags={"storage.storage_path": given.storage_path, "service.host": given.host, "service.http_port": int(given.port)}
)
telemetry.configure_logging(settings.log_level)
server.leave(server.run(settings, parts))
