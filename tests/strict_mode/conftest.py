"""One server for strict mode, and qdrant-client to talk to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.http.running_server import RunningServer, serving

DIM: Final = 4
VECTOR: Final = [1.0, 2.0, 3.0, 4.0]

Create = Callable[..., str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(tmp_path_factory.mktemp("strict") / "storage") as server:
        yield server


@pytest.fixture(scope="session")
def qdrant(server: RunningServer) -> Iterator[QdrantClient]:
    client = QdrantClient(url=server.url, timeout=30)
    yield client
    client.close()


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def create(qdrant: QdrantClient, _numbers: Iterator[int]) -> Iterator[Create]:
    """Makes a collection with these limits; its name."""
    made: list[str] = []

    def create(vectors: Any = None, sparse: dict[str, models.SparseVectorParams] | None = None, **limits: Any) -> str:
        name = f"s{next(_numbers)}"
        qdrant.create_collection(
            name,
            vectors_config=vectors or models.VectorParams(size=DIM, distance=models.Distance.DOT),
            sparse_vectors_config=sparse,
            strict_mode_config=models.StrictModeConfig(enabled=True, **limits) if limits else None,
        )
        made.append(name)
        return name

    yield create
    for name in made:
        qdrant.delete_collection(name)


def points(count: int, start: int = 0, payload: dict[str, Any] | None = None) -> list[models.PointStruct]:
    return [models.PointStruct(id=start + number, vector=VECTOR, payload=payload) for number in range(count)]


def refusal(work: Callable[[], Any], status: int = 400) -> str:
    """The text of the answer to ``work``, which must be refused."""
    with pytest.raises(UnexpectedResponse) as refused:
        work()
    assert refused.value.status_code == status, refused.value
    message: str = refused.value.structured()["status"]["error"]
    return message
