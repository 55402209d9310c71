"""Queries that are answered together get the answers that they would get alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from tests.http.client import Client, Collection, Create

DIM: Final = 8
POINTS: Final = 300


@pytest.fixture
def crowd(create: Create) -> Collection:
    numbers = random.Random(11)
    collection = create(vectors={"size": DIM, "distance": "Cosine"})
    collection.upsert(
        *(
            {"id": i, "vector": [numbers.uniform(-1, 1) for _ in range(DIM)], "payload": {"third": i % 3, "i": i}}
            for i in range(POINTS)
        )
    )
    return collection


def queries(count: int) -> list[dict[str, Any]]:
    """Of several kinds, some alike, some that another step of the server answers."""
    numbers = random.Random(12)
    kinds: list[Callable[[], dict[str, Any]]] = [
        dict,
        lambda: {"with_payload": True, "limit": 3},
        lambda: {"filter": {"must": [{"key": "third", "match": {"value": numbers.randrange(3)}}]}},
        lambda: {"params": {"exact": True}, "with_vector": True, "offset": 2},
        lambda: {"score_threshold": 0.3, "with_payload": ["i"]},
        lambda: {"prefetch": {"query": numbers.randrange(POINTS)}},
    ]
    return [{"query": [numbers.uniform(-1, 1) for _ in range(DIM)], **numbers.choice(kinds)()} for _ in range(count)]


def rounded(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of products differ in their last digit by the number of rows that are compared at once."""
    return [{**hit, "score": pytest.approx(hit["score"], abs=1e-5)} for hit in hits]


def test_a_batch_answers_what_its_queries_answer_alone(crowd: Collection, client: Client) -> None:
    asked = queries(150)
    alone = [crowd.query(**query) for query in asked]
    together = client.result("POST", f"{crowd.path}/points/query/batch", {"searches": asked})
    assert [answer["points"] for answer in together] == [rounded(hits) for hits in alone]


def test_queries_at_the_same_time_answer_what_they_answer_alone(crowd: Collection, client: Client) -> None:
    asked = queries(150)
    alone = [crowd.query(**query) for query in asked]

    def send(query: dict[str, Any]) -> list[dict[str, Any]]:
        response = httpx.post(f"{client.url}{crowd.path}/points/query", json=query, timeout=60)
        hits: list[dict[str, Any]] = response.json()["result"]["points"]
        return hits

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(send, asked)) == [rounded(hits) for hits in alone]


def test_a_wrong_query_spoils_no_other_that_is_answered_with_it(crowd: Collection, client: Client) -> None:
    right = {"query": [1.0] * DIM}
    wrong: list[dict[str, Any]] = [{"query": [1.0] * (DIM - 1)}, {"query": [1e39] * DIM}, {"query": [1.0] * (DIM + 1)}]

    def send(query: dict[str, Any]) -> int:
        return httpx.post(f"{client.url}{crowd.path}/points/query", json=query, timeout=60).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(send, [right, *wrong] * 25))
    assert statuses == [200, 400, 400, 400] * 25


def test_a_batch_with_a_wrong_query_is_refused_with_the_words_of_that_query(crowd: Collection, client: Client) -> None:
    searches = [{"query": [1.0] * DIM}, {"query": [1.0] * 3}]
    message = client.refusal(400, "POST", f"{crowd.path}/points/query/batch", {"searches": searches})
    assert "expected dim: 8, got 3" in message


def test_an_idf_corpus_is_refused_for_a_dense_vector(crowd: Collection, client: Client) -> None:
    asked = {"query": [1.0] * DIM, "params": {"idf": {"corpus": {"must": []}}}}
    assert "idf" in client.refusal(400, "POST", f"{crowd.path}/points/query", asked)
