"""Texts in the place of vectors, over HTTP: on the way in, in queries of every kind, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from tests.http.client import Client, Collection, Create
from tests.inference.conftest import BM25, document
from vdb.inference.bm25 import Bm25Embedder, dimension
from vdb.model.sparse import SparseVector


def sparse(text: str, **options: Any) -> dict[str, Any]:
    """What the server must answer for a text that was stored."""
    (vector,) = Bm25Embedder().embed([text], "document", options)
    assert isinstance(vector, SparseVector)
    return {"indices": vector.indices.tolist(), "values": [float(str(value)) for value in vector.values]}


def ids(hits: list[dict[str, Any]]) -> list[int | str]:
    return [hit["id"] for hit in hits]


def test_texts_are_stored_as_sparse_vectors_beside_dense_ones(texts: Collection) -> None:
    stored = texts.get(2)["vector"]
    assert stored["d"] == [0.0, 1.0]
    assert stored["s"] == sparse("A dog sleeps, and other dogs are sleeping")


def test_texts_come_in_columns_too(create: Create) -> None:
    collection = create(sparse_vectors={"s": {}})
    vectors = {"s": [document("one fox"), {"indices": [5], "values": [0.5]}, document("two foxes", k=0)]}
    collection.change("PUT", "", {"batch": {"ids": [1, 2, 3], "vectors": vectors}})
    assert collection.get(1)["vector"] == {"s": sparse("one fox")}
    assert collection.get(2)["vector"] == {"s": {"indices": [5], "values": [0.5]}}
    assert collection.get(3)["vector"] == {"s": sparse("two foxes", k=0)}


def test_a_vector_is_updated_by_a_text_without_the_other(texts: Collection) -> None:
    texts.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"s": document("A whale")}}]})
    assert texts.get(1)["vector"] == {"d": [1.0, 0.0], "s": sparse("A whale")}


def test_operations_of_a_batch_take_texts(texts: Collection) -> None:
    operations = [
        {"upsert": {"points": [{"id": 4, "vector": {"s": document("red")}}]}},
        {"update_vectors": {"points": [{"id": 1, "vector": {"s": document("green")}}]}},
        {"upsert": {"batch": {"ids": [5], "vectors": {"s": [document("blue")]}}}},
    ]
    texts.points("POST", "/batch", {"operations": operations}, wait="true")
    assert [texts.get(number)["vector"]["s"] for number in (4, 1, 5)] == [sparse(c) for c in ("red", "green", "blue")]


def test_many_texts_go_in_at_once(create: Create) -> None:
    collection = create(sparse_vectors={"s": {"modifier": "idf"}})
    points = [{"id": n, "vector": {"s": document(f"number{n} " + "filler " * 20)}} for n in range(3000)]
    collection.upsert(*points)
    assert ids(collection.query(query=document("number1234"), using="s")) == [1234]


def test_a_named_vector_may_be_called_model_or_text(create: Create) -> None:
    collection = create(vectors={name: {"size": 2, "distance": "Dot"} for name in ("model", "text")})
    collection.upsert({"id": 1, "vector": {"model": [1, 2], "text": [3, 4]}})
    assert collection.get(1)["vector"] == {"model": [1.0, 2.0], "text": [3.0, 4.0]}


def test_a_text_finds_what_has_its_words(texts: Collection) -> None:
    hits = texts.query(query=document("foxes"), using="s")
    assert ids(hits) == [1]
    # idf of a word that one of three has, times its weight in seven tokens… quick brown fox jump lazi dog: six.
    weight = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 6 / 256))
    assert hits[0]["score"] == pytest.approx(math.log((3 - 1 + 0.5) / (1 + 0.5) + 1) * weight, rel=1e-5)
    assert ids(texts.query(query={"nearest": document("Sleeping dogs!")}, using="s")) == [2, 1]
    assert texts.query(query=document("nobody knows"), using="s") == []


def test_a_query_for_a_text_is_one_for_its_words_with_weight_one(texts: Collection) -> None:
    words = {"indices": [dimension("dog"), dimension("quick")], "values": [1, 1]}
    asked = texts.query(query=document("quick dog, dogs"), using="s")
    assert asked == texts.query(query=words, using="s")


def test_upper_and_lower_case_name_the_same_model(texts: Collection) -> None:
    for model in ("qdrant/bm25", "QDRANT/BM25"):
        assert ids(texts.query(query={"text": "fox", "model": model}, using="s")) == [1]


def test_a_filter_and_a_text_work_together(texts: Collection) -> None:
    hits = texts.query(query=document("dog"), using="s", filter={"must": [{"has_id": [1, 3]}]})
    assert ids(hits) == [1]


def test_hybrid_search_needs_nothing_but_the_server(texts: Collection) -> None:
    # Dense alone: 3, 1, 2. The text alone: 2, 1. Reciprocal ranks with k = 2, ranks from 0:
    # 1 has 1/3 + 1/3, 2 has 1/4 + 1/2, 3 has 1/2.
    prefetch = [{"query": [1, 0], "using": "d"}, {"query": document("sleeping dogs"), "using": "s"}]
    hits = texts.query(prefetch=prefetch, query={"fusion": "rrf"})
    assert [(hit["id"], hit["score"]) for hit in hits] == [
        (2, pytest.approx(3 / 4)),
        (1, pytest.approx(2 / 3)),
        (3, pytest.approx(1 / 2)),
    ]


def test_a_text_may_stand_in_a_prefetch_of_a_prefetch(texts: Collection) -> None:
    inner = {"query": document("dog"), "using": "s"}
    assert ids(texts.query(prefetch={"prefetch": inner, "query": [1, 0], "using": "d"}, query=[0, 1], using="d")) == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    "query",
    [
        {"recommend": {"positive": [document("fox")], "negative": [document("sleep")]}},
        {"recommend": {"positive": [2, document("fox")], "strategy": "best_score"}},
        {"recommend": {"positive": [document("fox")], "strategy": "sum_scores"}},
        {"discover": {"target": document("dog"), "context": [{"positive": document("fox"), "negative": 2}]}},
        {"context": {"positive": document("fox"), "negative": document("sleep")}},
        {
            "relevance_feedback": {
                "target": document("fox"),
                "feedback": [{"example": document("fox"), "score": 1}, {"example": document("sleep"), "score": 0}],
                "strategy": {"naive": {"a": 1, "b": 1, "c": 1}},
            }
        },
    ],
)
def test_a_text_may_stand_wherever_a_vector_may(texts: Collection, query: dict[str, Any]) -> None:
    as_words = _with_words(query)
    answer = texts.query(query=query, using="s")
    assert answer == texts.query(query=as_words, using="s")
    assert answer[0]["id"] == 1


def _with_words(value: Any) -> Any:
    """The query with sparse vectors of one word in the place of texts."""
    if isinstance(value, dict) and "model" in value:
        return {"indices": [dimension(value["text"])], "values": [1.0]}
    if isinstance(value, dict):
        return {key: _with_words(inner) for key, inner in value.items()}
    return [_with_words(inner) for inner in value] if isinstance(value, list) else value


def test_batches_and_groups_of_queries_take_texts(texts: Collection) -> None:
    searches = [{"query": document("fox"), "using": "s"}, {"query": document("sleep"), "using": "s"}]
    answers = texts.points("POST", "/query/batch", {"searches": searches})
    assert [ids(answer["points"]) for answer in answers] == [[1], [2]]
    texts.change("POST", "/payload", {"payload": {"kind": "pet"}, "points": [1, 2]})
    grouped = texts.points("POST", "/query/groups", {"query": document("dog"), "using": "s", "group_by": "kind"})
    assert [(group["id"], ids(group["hits"])) for group in grouped["groups"]] == [("pet", [2, 1])]


def test_the_older_recommend_route_takes_texts(texts: Collection) -> None:
    hits = texts.points("POST", "/recommend", {"positive": [document("fox")], "using": "s", "limit": 5})
    assert ids(hits) == [1]


REFUSED = [
    ({"text": "x", "model": "jinaai/jina-v3"}, ["`jinaai/jina-v3`", "send the vector", BM25, "inference.models"]),
    ({"image": "x.png", "model": "clip"}, ["images", "`clip`", "send the vector"]),
    ({"object": {"a": 1}, "model": "any/thing"}, ["objects", "`any/thing`", "send the vector"]),
    ({"text": "x", "model": BM25, "options": {"k": -1}}, ["`k`"]),
    ({"text": "x", "model": BM25, "options": {"avg_length": 5}}, ["`avg_length`"]),
    ({"text": "x", "model": BM25, "options": {"language": "klingon"}}, ["`klingon`"]),
    ({"text": "x" * 200_000, "model": BM25}, ["word of more than"]),
    ({"text": 5, "model": BM25}, ["`text`"]),
    ({"model": BM25}, ["`text`"]),
]


@pytest.mark.parametrize(("value", "complaints"), REFUSED)
def test_what_no_model_takes_is_refused_by_name(
    texts: Collection, value: dict[str, Any], complaints: list[str]
) -> None:
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", "", {"points": [{"id": 9, "vector": {"s": value}}]}),
        ("PUT", "", {"batch": {"ids": [9], "vectors": {"s": [value]}}}),
        ("PUT", "/vectors", {"points": [{"id": 1, "vector": {"s": value}}]}),
        ("POST", "/batch", {"operations": [{"upsert": {"points": [{"id": 9, "vector": {"s": value}}]}}]}),
        ("POST", "/query", {"query": value, "using": "s"}),
        ("POST", "/query", {"prefetch": {"query": {"nearest": value}, "using": "s"}, "query": {"fusion": "rrf"}}),
        ("POST", "/query/batch", {"searches": [{"query": value, "using": "s"}]}),
    ]
    with texts.unchanged():
        for method, path, body in requests:
            message = texts.refusal(400, method, path, body)
            assert [part for part in complaints if part not in message] == [], message


def test_a_model_without_a_name_breaks_a_bound(texts: Collection) -> None:
    nameless = {"text": "x", "model": ""}
    upsert = {"points": [{"id": 9, "vector": {"s": nameless}}]}
    assert "[model: " in texts.refusal(422, "PUT", "", upsert)
    assert "[model: " in texts.refusal(422, "POST", "/query", {"query": nameless, "using": "s"})


def test_a_text_needs_a_sparse_vector_of_that_name(texts: Collection) -> None:
    with texts.unchanged():
        for vector, complaint in [
            ({"d": document("x")}, "makes sparse ones"),
            ({"nowhere": document("x")}, "Not existing vector name error: nowhere"),
            (document("x"), "Not existing vector name error"),
        ]:
            message = texts.refusal(400, "PUT", "", {"points": [{"id": 9, "vector": vector}]})
            assert complaint in message
        for using in ("d", "nowhere"):
            texts.refusal(400, "POST", "/query", {"query": document("x"), "using": using})


def test_the_unnamed_vector_is_dense_and_takes_no_text_of_this_model(create: Create) -> None:
    collection = create()
    message = collection.refusal(400, "PUT", "", {"points": [{"id": 1, "vector": document("x")}]})
    assert "makes sparse ones" in message
    message = collection.refusal(400, "PUT", "", {"batch": {"ids": [1], "vectors": [document("x")]}})
    assert "makes sparse ones" in message


def test_the_official_client_sends_texts_to_the_server(client: Client, texts: Collection) -> None:
    remote = QdrantClient(client.url, cloud_inference=True, timeout=60)
    try:
        text = models.Document(text="A fox in the henhouse", model=BM25, options={"language": "english"})
        remote.upsert(texts.name, [models.PointStruct(id=7, vector={"s": text})], wait=True)
        assert texts.get(7)["vector"]["s"] == sparse("A fox in the henhouse")
        question = models.Document(text="foxes and a henhouse", model=BM25)
        assert [hit.id for hit in remote.query_points(texts.name, query=question, using="s").points] == [7, 1]
        hybrid = remote.query_points(
            texts.name,
            prefetch=[
                models.Prefetch(query=[1.0, 0.0], using="d"),
                models.Prefetch(query=question, using="s"),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
        )
        assert {hit.id for hit in hybrid.points} == {1, 2, 3, 7}
    finally:
        remote.close()


def test_the_document_of_the_api_describes_texts(client: Client) -> None:
    schemas = client.document["components"]["schemas"]
    assert {"text", "model"} <= set(schemas["Document"]["required"])
    assert {"$ref": "#/components/schemas/Document"} in schemas["VectorInput"]["anyOf"]
