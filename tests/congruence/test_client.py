"""The same random calls through qdrant-client to vdb and to local mode; every answer must agree.

A failing seed is in the test's name, and the calls that led there are in the output of the test.
"""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from tests.congruence.worlds import DIM, READS, WRITES, Pair, Shape, pair, scroll_all

COSINE, DOT, EUCLID, MANHATTAN = (
    models.Distance.COSINE,
    models.Distance.DOT,
    models.Distance.EUCLID,
    models.Distance.MANHATTAN,
)
SHAPES = {
    "cosine": Shape(None, (COSINE,)),
    "dot": Shape(None, (DOT,)),
    "euclid": Shape(None, (EUCLID,)),
    "manhattan": Shape(None, (MANHATTAN,)),
    "named": Shape(("one", "two", "three", "four"), (COSINE, DOT, EUCLID, MANHATTAN)),
    "without-vectors": Shape((), ()),
}
STEPS = 50


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_random_calls_are_answered_as_local_mode_answers_them(url: str, shape: Shape, seed: int) -> None:
    with pair(url, shape, seed) as world:
        for step in range(STEPS):
            write = world.random.choice(WRITES)
            print(step, write.__name__)  # noqa: T201 - the trace of a failing seed
            write(world)
            if step % 10 == 9:
                scroll_all(world)
            read = world.random.choice(READS)
            print(step, read.__name__)  # noqa: T201
            read(world)
        for read in READS:
            read(world)


def points(world: Pair, count: int) -> list[models.PointStruct]:
    return [models.PointStruct(id=i, vector=world.vector(), payload={"i": i}) for i in range(count)]


def test_upload_points_arrives_whole_and_is_searched_alike(url: str) -> None:
    with pair(url, SHAPES["cosine"], seed=7) as world:
        batch = points(world, 700)
        for client in (world.server, world.local):
            client.upload_points(world.name, batch, batch_size=64, wait=True, max_retries=1)
        world.ids.update(range(700))
        scroll_all(world)
        for read in READS:
            read(world)


def test_the_client_manages_collections_and_aliases(url: str) -> None:
    server = QdrantClient(url=url, timeout=60, check_compatibility=False)
    server.create_collection("managed", vectors_config=models.VectorParams(size=DIM, distance=DOT))
    assert server.collection_exists("managed")
    assert "managed" in {collection.name for collection in server.get_collections().collections}
    info = server.get_collection("managed")
    assert info.status == models.CollectionStatus.GREEN
    assert info.config.params.vectors == models.VectorParams(size=DIM, distance=DOT)
    alias = models.CreateAlias(collection_name="managed", alias_name="other")
    assert server.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert [found.alias_name for found in server.get_aliases().aliases] == ["other"]
    assert [found.alias_name for found in server.get_collection_aliases("managed").aliases] == ["other"]
    server.upsert("other", [models.PointStruct(id=1, vector=[1.0] * DIM)], wait=True)
    assert server.count("managed").count == 1
    assert server.update_collection("managed", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=123))
    assert server.get_collection("managed").config.optimizer_config.indexing_threshold == 123
    assert server.delete_collection("managed")
    assert not server.collection_exists("managed")
    assert server.get_aliases().aliases == []
    server.close()


def test_the_client_recognises_what_is_not_there(url: str) -> None:
    server = QdrantClient(url=url, timeout=60, check_compatibility=False)
    assert server.collection_exists("nothing-here") is False
    with pytest.raises(Exception, match=r"(?s)404.*Collection `nothing-here` doesn.+t exist!"):
        server.get_collection("nothing-here")
    server.close()


def test_a_batch_update_of_the_client_agrees(url: str) -> None:
    with pair(url, SHAPES["named"], seed=9) as world:
        vectors: Any = {"one": world.vector(), "two": world.vector()}
        operations = [
            models.UpsertOperation(
                upsert=models.PointsList(points=[models.PointStruct(id=i, vector=vectors) for i in range(6)])
            ),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"a": 1, "b": 2}, points=[1, 2, 3])),
            models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["a"], points=[2])),
            models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"c": 3}, points=[3])),
            models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[1])),
            models.UpdateVectorsOperation(
                update_vectors=models.UpdateVectors(
                    points=[models.PointVectors(id=4, vector={"three": world.vector()})]
                )
            ),
            models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(points=[5], vector=["one"])),
            models.DeleteOperation(delete=models.PointIdsList(points=[0])),
        ]
        world.both("batch_update_points", update_operations=operations, wait=True)
        world.ids.update(range(1, 6))
        scroll_all(world)
