"""One server for all tests of queries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.client import Client, Create
from tests.http.running_server import serving


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("query") / "storage") as server:
        client = Client(server.url)
        yield client
        client.close()


@pytest.fixture
def create(client: Client) -> Iterator[Create]:
    with client.making() as create:
        yield create
