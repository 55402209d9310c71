"""One server for all HTTP tests; a test has its own collections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.client import Client, Collection, Create
from tests.http.running_server import serving


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("http") / "storage") as server:
        client = Client(server.url)
        yield client
        client.close()


@pytest.fixture
def create(client: Client) -> Iterator[Create]:
    with client.making() as create:
        yield create


@pytest.fixture
def plain(create: Create) -> Collection:
    """Four-dimensional unnamed vectors, compared by Dot, with three points."""
    collection = create()
    collection.upsert(
        {"id": 1, "vector": [1, 0, 0, 0], "payload": {"city": "Paris", "tags": ["a", "b"]}},
        {"id": 2, "vector": [0, 2, 0, 0], "payload": {"city": "Rome", "size": {"height": 3, "width": 4}}},
        {"id": 3, "vector": [0, 0, 3, 0]},
    )
    return collection


@pytest.fixture
def named(create: Create) -> Collection:
    """Two named vectors: image (4, Cosine) and text (2, Euclid). Point 2 has no image, point 3 no vector at all."""
    collection = create(vectors={"image": {"size": 4, "distance": "Cosine"}, "text": {"size": 2, "distance": "Euclid"}})
    collection.upsert(
        {"id": 1, "vector": {"image": [3, 0, 4, 0], "text": [1, 2]}, "payload": {"n": 1}},
        {"id": 2, "vector": {"text": [3, 4]}, "payload": {"n": 2}},
        {"id": 3, "vector": {}, "payload": {"n": 3}},
    )
    return collection
