"""One server for all tests of texts over HTTP; a test has its own collections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.client import Client, Collection, Create
from tests.http.running_server import serving

BM25 = "Qdrant/bm25"


def document(text: str, **options: Any) -> dict[str, Any]:
    """A text for the built-in model, as a request spells it."""
    return {"text": text, "model": BM25} | ({"options": options} if options else {})


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("inference") / "storage") as server:
        client = Client(server.url)
        yield client
        client.close()


@pytest.fixture
def create(client: Client) -> Iterator[Create]:
    with client.making() as create:
        yield create


@pytest.fixture
def texts(create: Create) -> Collection:
    """A dense vector `d` and a sparse one `s` with idf, and three short texts."""
    collection = create(vectors={"d": {"size": 2, "distance": "Dot"}}, sparse_vectors={"s": {"modifier": "idf"}})
    collection.upsert(
        {"id": 1, "vector": {"d": [1, 0], "s": document("The quick brown fox jumps over the lazy dog")}},
        {"id": 2, "vector": {"d": [0, 1], "s": document("A dog sleeps, and other dogs are sleeping")}},
        {"id": 3, "vector": {"d": [3, 0], "s": document("Nothing moves in the house")}},
    )
    return collection
