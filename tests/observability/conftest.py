"""One server that calls every read slow, measures what requests take, and writes a line for each as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.http.client import Client, Create
from tests.http.running_server import RunningServer, serving, until

Line = dict[str, Any]

SETTINGS = {
    "VDB__SERVICE__SLOW_QUERY_SECS": "0",
    "VDB__SERVICE__HARDWARE_REPORTING": "true",
    "VDB__LOGGER__FORMAT": "json",
    "VDB__LOGGER__ACCESS_LOG": "true",
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(tmp_path_factory.mktemp("observability") / "storage", **SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Iterator[Client]:
    client = Client(server.url)
    yield client
    client.close()


@pytest.fixture
def create(client: Client) -> Iterator[Create]:
    with client.making() as create:
        yield create


@pytest.fixture
def lines(server: RunningServer) -> Callable[..., list[Line]]:
    """The lines of the log that have these values; waits for the first."""

    def lines(**values: Any) -> list[Line]:
        def look() -> list[Line] | None:
            # The last line may be half written.
            whole = server.log.rpartition("\n")[0].splitlines()
            found = [line for line in map(json.loads, whole) if values.items() <= line.items()]
            return found or None

        return until(look)

    return lines
