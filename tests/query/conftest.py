"""One server for all tests of queries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.http.client import Client
from tests.http.conftest import Create
from tests.http.running_server import serving


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("query") / "storage") as server:
        client = Client(server.url)
        yield client
        client.close()


@pytest.fixture
def create(client: Client, request: pytest.FixtureRequest) -> Iterator[Create]:
    """Makes collections with names of their own, and removes them after the test."""
    numbers = itertools.count()
    made = []

    def create(name: str | None = None, **config: object) -> object:
        made.append(client.create(name or f"q{next(numbers)}", **config))
        return made[-1]

    yield create  # type: ignore[misc]
    for collection in made:
        client.result("DELETE", collection.path)
