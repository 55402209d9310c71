"""Snapshots beside clients that write and read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.http.client import Collection
from tests.snapshots.keeper import Keeper, answers

WRITERS = 2


def test_a_snapshot_is_one_moment_while_writes_go_on(keeper: Keeper) -> None:
    """Each request writes the same number to two points far apart: in no snapshot do they differ."""
    collection = keeper.client.create(keeper.new_name(), vectors={"size": 4, "distance": "Dot"})
    collection.upsert(*({"id": number, "vector": [1, 2, 3, 4]} for number in range(5_000)))
    stop = threading.Event()

    def write(writer: int) -> int:
        count = 0
        with httpx.Client(base_url=keeper.server.url, timeout=60) as client:
            while not stop.is_set():
                count += 1
                pair = [{"id": point, "vector": [0, 0, 0, count]} for point in (writer, 4_999 - writer)]
                answer = client.put(f"{collection.path}/points", params={"wait": "true"}, json={"points": pair})
                assert answer.status_code == 200, answer.text
        return count

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write, writer) for writer in range(WRITERS)]
        try:
            made = [keeper.create(collection.name) for _ in range(5)]
        finally:
            stop.set()
        assert all(writer.result() > 0 for writer in writers)
    copy = Collection(keeper.client, keeper.new_name())
    for snapshot in made:
        keeper.recover(copy.name, keeper.location(collection.name, snapshot["name"]))
        assert copy.count() == 5_000
        for writer in range(WRITERS):
            assert copy.get(writer)["vector"] == copy.get(4_999 - writer)["vector"]
    keeper.client.result("DELETE", copy.path)


def test_reads_go_on_while_their_collection_is_replaced(keeper: Keeper) -> None:
    collection = keeper.filled()
    made = keeper.create(collection.name)
    expected = answers(collection)
    query = {"query": [1.0] * 8, "using": "short", "limit": 10, "with_payload": True, "params": {"exact": True}}
    stop = threading.Event()

    def read() -> Iterator[str]:
        with httpx.Client(base_url=keeper.server.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post(f"{collection.path}/points/query", json=query)
                assert answer.status_code == 200, answer.text
                # Without the scores: their last digit depends on where in a matrix a row lies.
                yield str([(hit["id"], hit["version"], hit["payload"]) for hit in answer.json()["result"]["points"]])

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(lambda: set(read())) for _ in range(3)]
        try:
            for _ in range(5):
                keeper.recover(collection.name, keeper.location(collection.name, made["name"]))
        finally:
            stop.set()
        assert len(set.union(*(reader.result() for reader in readers))) == 1
    assert answers(collection) == expected
