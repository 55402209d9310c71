"""Two servers: most tests take the first, copies go to the second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.client import Client
from tests.http.running_server import serving


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("cli")
    with serving(folder / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(folder / "snapshots")) as server:
        client = Client(server.url)
        yield client
        client.close()


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Where copies go."""
    folder = tmp_path_factory.mktemp("other")
    with serving(folder / "storage", VDB__STORAGE__SNAPSHOTS_PATH=str(folder / "snapshots")) as server:
        client = Client(server.url)
        yield client
        client.close()
