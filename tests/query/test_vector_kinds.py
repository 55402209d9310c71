"""Queries over sparse vectors and multivectors: scores computed by hand, and what only Qdrant's server does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.http.client import Collection, Create
from tests.http.running_server import until

MAX_SIM = {"comparator": "max_sim"}


def sparse(**weights: float) -> dict[str, Any]:
    """``sparse(_3=0.5)`` has 0.5 in dimension 3."""
    return {"indices": [int(name[1:]) for name in weights], "values": list(weights.values())}


@pytest.fixture
def words(create: Create) -> Collection:
    """Sparse vectors without a modifier under `s`, the same ones with idf under `i`, and a dense one under `d`."""
    collection = create(
        vectors={"d": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}, "i": {"modifier": "idf"}}
    )
    vectors = [sparse(_1=1, _2=2), sparse(_2=1, _3=-2), sparse(_5=4), sparse(_2=1, _5=1)]
    for number, vector in enumerate(vectors):
        collection.upsert({"id": number, "vector": {"d": [number], "s": vector, "i": vector}, "payload": {"n": number}})
    collection.upsert({"id": 9, "vector": {"d": [9]}})
    return collection


@pytest.fixture
def passages(create: Create) -> Collection:
    """Multivectors under every distance, and a dense vector `d`."""
    distances = ("Dot", "Cosine", "Euclid", "Manhattan")
    vectors: dict[str, Any] = {name: {"size": 2, "distance": name, "multivector_config": MAX_SIM} for name in distances}
    collection = create(vectors={"d": {"size": 1, "distance": "Dot"}, **vectors})
    tokens = [[[1, 2], [3, 4]], [[0, 1]], [[5, 1], [2, 2], [1, 1]]]
    for number, vector in enumerate(tokens):
        collection.upsert({"id": number, "vector": {"d": [number], **dict.fromkeys(distances, vector)}})
    collection.upsert({"id": 9, "vector": {"d": [9]}})
    return collection


def scores(hits: list[dict[str, Any]]) -> dict[Any, float]:
    return {hit["id"]: hit["score"] for hit in hits}


def field_filter(key: str, value: Any) -> dict[str, Any]:
    return {"must": [{"key": key, "match": {"value": value}}]}


def test_only_points_that_share_a_dimension_are_near(words: Collection) -> None:
    hits = words.query(query=sparse(_2=2, _3=1), using="s")
    assert [(hit["id"], hit["score"]) for hit in hits] == [(0, 4.0), (3, 2.0), (1, 0.0)]
    assert scores(words.query(query=sparse(_77=1), using="s")) == {}
    assert scores(words.query(query=sparse(), using="s")) == {}
    assert scores(words.query(query={"nearest": sparse(_5=1)}, using="s", score_threshold=1)) == {2: 4.0}
    assert scores(words.query(query=sparse(_2=-1), using="s", filter=field_filter("n", 3))) == {3: -1.0}


def test_points_without_a_shared_dimension_have_no_similarity_to_an_example(words: Collection) -> None:
    query = {"recommend": {"positive": [sparse(_1=1)], "negative": [sparse(_3=-1)], "strategy": "sum_scores"}}
    assert scores(words.query(query=query, using="s")) == {0: 1.0, 2: 0.0, 3: 0.0, 1: -2.0}


def idf(total: int, frequency: int) -> float:
    return math.log((total - frequency + 0.5) / (frequency + 0.5) + 1)


def test_idf_weighs_a_query_by_how_rare_its_dimensions_are(words: Collection) -> None:
    found = scores(words.query(query=sparse(_1=1, _2=1, _5=1), using="i"))
    assert found == pytest.approx(
        {2: 4 * idf(4, 2), 0: idf(4, 1) + 2 * idf(4, 3), 3: idf(4, 3) + idf(4, 2), 1: idf(4, 3)}
    )
    filtered = scores(words.query(query=sparse(_1=1, _2=1, _5=1), using="i", filter=field_filter("n", 0)))
    assert filtered == {0: pytest.approx(found[0])}


def test_idf_follows_what_is_written_and_deleted(words: Collection) -> None:
    def score() -> float:
        return scores(words.query(query=sparse(_5=1), using="i"))[2]

    assert score() == pytest.approx(4 * idf(4, 2))
    words.upsert({"id": 20, "vector": {"i": sparse(_5=1)}}, {"id": 21, "vector": {"i": sparse(_6=1)}})
    assert score() == pytest.approx(4 * idf(6, 3))
    words.upsert({"id": 20, "vector": {"i": sparse(_6=1)}})
    assert score() == pytest.approx(4 * idf(6, 2))
    words.change("POST", "/delete", {"points": [21]})
    words.change("POST", "/vectors/delete", {"points": [3], "vector": ["i"]})
    assert score() == pytest.approx(4 * idf(4, 1))


def test_idf_is_counted_in_a_corpus_of_its_own(words: Collection) -> None:
    corpus = {"must": [{"key": "n", "range": {"lte": 1}}]}
    request = {"query": sparse(_1=1, _2=1), "using": "i"}
    found = scores(words.query(**request, params={"idf": {"corpus": corpus}}))
    assert found == pytest.approx({0: idf(2, 1) + 2 * idf(2, 2), 1: idf(2, 2), 3: idf(2, 2)})
    everything = words.query(**request)
    assert words.query(**request, params={"idf": {"corpus": {}}}) == everything
    assert words.query(**request, params={"idf": "global"}) == everything
    prefetched = words.query(prefetch={**request, "params": {"idf": {"corpus": corpus}}}, query={"fusion": "rrf"})
    assert [hit["id"] for hit in prefetched] == [hit["id"] for hit in words.query(**request)]


def test_max_sim_sums_the_best_token_for_each_token_of_the_query(passages: Collection) -> None:
    query = [[1, 1], [0, 1]]
    assert scores(passages.query(query=query, using="Dot")) == {0: 7 + 4, 2: 6 + 2, 1: 1 + 1}
    root = math.sqrt
    cosine = {0: 7 / (5 * root(2)) + 2 / root(5), 1: 1 / root(2) + 1, 2: 1 + 1 / root(2)}
    assert scores(passages.query(query=query, using="Cosine")) == pytest.approx(cosine)
    assert scores(passages.query(query=query, using="Manhattan")) == {1: 1 + 0, 2: 0 + 1, 0: 1 + 2}


def test_a_euclidean_multivector_scores_the_root_of_a_sum_of_squares(passages: Collection) -> None:
    """Not the sum of distances: qdrant issue 6294."""
    found = scores(passages.query(query=[[1, 1], [0, 1]], using="Euclid"))
    assert found == pytest.approx({1: 1, 2: 1, 0: math.sqrt(1 + 2)})
    near = passages.query(query=[[1, 1], [0, 1]], using="Euclid", score_threshold=1.5)
    assert {hit["id"] for hit in near} == {1, 2}


def test_a_dense_vector_is_a_multivector_of_one_token(passages: Collection) -> None:
    """Qdrant's server takes it; local mode refuses it."""
    assert passages.query(query=[1, 1], using="Dot") == passages.query(query=[[1, 1]], using="Dot")
    examples = {"positive": [[1, 1], [[0, 1]]], "negative": [0]}
    same = {"positive": [[[1, 1]], [[0, 1]]], "negative": [0]}
    for strategy in ("average_vector", "best_score", "sum_scores"):
        one, other = ({"recommend": {**given, "strategy": strategy}} for given in (examples, same))
        assert passages.query(query=one, using="Cosine") == passages.query(query=other, using="Cosine")


def test_average_recommendation_of_multivectors_searches_all_tokens_at_once(passages: Collection) -> None:
    query = {"recommend": {"positive": [[[1, 1]], [[0, 1]]], "negative": [[[1, 0], [0, 2]]]}}
    same = passages.query(query=[[1, 1], [0, 1], [-1, 0], [0, -2]], using="Dot")
    assert passages.query(query=query, using="Dot") == same


@pytest.mark.parametrize("name", ["s", "i"])
def test_relevance_feedback_works_over_sparse_vectors(words: Collection, name: str) -> None:
    """Local mode raises a TypeError there."""
    target, liked, disliked = sparse(_1=1), sparse(_2=1), sparse(_5=1)
    feedback = [{"example": liked, "score": 0.9}, {"example": disliked, "score": 0.4}]
    naive = {"a": 2, "b": 2, "c": 3}
    query = {"relevance_feedback": {"target": target, "feedback": feedback, "strategy": {"naive": naive}}}
    weight = idf if name == "i" else lambda total, frequency: 1
    target_similarity = {0: weight(4, 1), 1: 0, 2: 0, 3: 0}
    delta = {0: 2 * weight(4, 3), 1: weight(4, 3), 2: -4 * weight(4, 2), 3: weight(4, 3) - weight(4, 2)}
    expected = {number: 2 * target_similarity[number] + 0.5**2 * 3 * delta[number] for number in range(4)}
    assert scores(words.query(query=query, using=name)) == pytest.approx(expected)


def test_relevance_feedback_works_over_multivectors(passages: Collection) -> None:
    feedback = [{"example": [[0, 1]], "score": 1}, {"example": [1, 0], "score": 0}]
    naive = {"a": 1, "b": 1, "c": 1}
    query = {"relevance_feedback": {"target": [[1, 1]], "feedback": feedback, "strategy": {"naive": naive}}}
    assert scores(passages.query(query=query, using="Dot")) == {0: 7 + 4 - 3, 1: 1 + 1 - 0, 2: 6 + 2 - 5}


def test_mmr_over_multivectors_that_a_filter_leaves_none_of_finds_nothing(passages: Collection) -> None:
    query = {"nearest": [[1, 1]], "mmr": {"diversity": 0.5}}
    assert passages.query(query=query, using="Dot", filter=field_filter("none", 1)) == []


def test_mmr_takes_unlike_sparse_vectors_first(words: Collection) -> None:
    words.upsert({"id": 30, "vector": {"s": sparse(_1=1, _2=1.9)}})
    query = {"nearest": sparse(_1=1, _2=1, _5=1.5), "mmr": {"diversity": 0.9, "candidates_limit": 10}}
    assert [hit["id"] for hit in words.query(query=query, using="s", limit=3)] == [2, 0, 1]


def test_prefetched_points_are_ranked_anew_by_another_kind_of_vector(words: Collection, passages: Collection) -> None:
    dense = {"query": [1], "using": "d", "limit": 3}
    hits = words.query(prefetch=dense, query=sparse(_2=1, _5=1), using="s")
    assert scores(hits) == {2: 4.0, 3: 2.0}, "of 9, 3 and 2, which the prefetch finds, 9 has no sparse vector"
    hits = words.query(prefetch={"query": sparse(_2=1), "using": "s", "limit": 2}, query=[1], using="d")
    assert scores(hits) == {1: 1.0, 0: 0.0}
    late = passages.query(prefetch={**dense, "limit": 2}, query=[[1, 1], [0, 1]], using="Dot")
    assert scores(late) == {2: 8.0}


def test_dense_and_sparse_rankings_are_fused(words: Collection) -> None:
    prefetch = [{"query": [1], "using": "d", "limit": 2}, {"query": sparse(_5=1), "using": "i", "limit": 2}]
    hits = words.query(prefetch=prefetch, query={"fusion": "rrf"})
    assert scores(hits) == pytest.approx({3: 1 / 3 + 1 / 3, 9: 1 / 2, 2: 1 / 2})
    assert {hit["id"] for hit in words.query(prefetch=prefetch, query={"fusion": "dbsf"})} == {2, 3, 9}


def test_examples_are_looked_up_in_another_collection(words: Collection, create: Create) -> None:
    multi = {"size": 1, "distance": "Dot", "multivector_config": MAX_SIM}
    other = create(vectors={"m": multi, "d": {"size": 1, "distance": "Dot"}}, sparse_vectors={"x": {}})
    other.upsert({"id": 1, "vector": {"x": sparse(_5=2), "m": [[1], [2]], "d": [5]}})
    lookup = {"collection": other.name, "vector": "x"}
    assert scores(words.query(query=1, using="s", lookup_from=lookup)) == {2: 8.0, 3: 2.0}
    query = {"recommend": {"positive": [1, sparse(_1=1)], "negative": [1]}}
    assert scores(words.query(query=query, using="s", lookup_from=lookup)) == {0: 1.0, 2: 0.0, 3: 0.0}
    third = create(vectors=multi)
    third.upsert({"id": 5, "vector": [[3], [1]]})
    assert scores(third.query(query=1, lookup_from={"collection": other.name, "vector": "m"})) == {5: 9.0}
    assert scores(third.query(query=1, lookup_from={"collection": other.name, "vector": "d"})) == {5: 15.0}
    for vector, using in (("x", "d"), ("m", "d"), ("d", "s"), ("m", "s")):
        wrong = {"query": 1, "using": using, "lookup_from": {"collection": other.name, "vector": vector}}
        assert f"`{using}`" in words.refusal(400, "POST", "/query", wrong)


def test_a_matrix_of_sparse_vectors_has_those_that_share_a_dimension(words: Collection) -> None:
    pairs = words.points("POST", "/search/matrix/pairs", {"using": "s", "limit": 2})["pairs"]
    assert [(pair["a"], pair["b"], pair["score"]) for pair in pairs] == [
        (0, 1, 2.0),
        (0, 3, 2.0),
        (1, 0, 2.0),
        (1, 3, 1.0),
        (2, 3, 4.0),
        (3, 2, 4.0),
        (3, 0, 2.0),
    ]


def test_a_matrix_of_multivectors_compares_rows_with_columns(passages: Collection) -> None:
    pairs = passages.points("POST", "/search/matrix/pairs", {"using": "Dot", "limit": 1})["pairs"]
    assert {(pair["a"], pair["b"]): pair["score"] for pair in pairs} == {(0, 2): 26, (1, 0): 4, (2, 0): 19 + 14 + 7}


def test_sparse_hits_are_grouped(words: Collection) -> None:
    request = {"query": sparse(_2=1), "using": "s", "group_by": "n", "limit": 2, "group_size": 1}
    groups = words.points("POST", "/query/groups", request)["groups"]
    assert [(group["id"], group["hits"][0]["score"]) for group in groups] == [(0, 2.0), (1, 1.0)]


def test_older_routes_take_every_kind_of_vector(words: Collection, passages: Collection) -> None:
    vector = sparse(_2=2, _3=1)
    hits = words.query(query=vector, using="s", limit=2)
    older = {"vector": {"name": "s", "vector": vector}, "limit": 2}
    assert words.points("POST", "/search", older) == hits
    assert words.points("POST", "/search/batch", {"searches": [older, older]}) == [hits, hits]
    grouping = {"group_by": "n", "group_size": 1, "limit": 3}
    groups = words.points("POST", "/query/groups", {"query": vector, "using": "s", **grouping})
    assert words.points("POST", "/search/groups", {**older, **grouping}) == groups
    examples = {"positive": [sparse(_2=1), 3], "negative": [1]}
    hits = words.query(query={"recommend": examples}, using="i", limit=3)
    assert words.points("POST", "/recommend", {**examples, "using": "i", "limit": 3}) == hits
    pairs = [{"positive": sparse(_2=1), "negative": 2}]
    hits = words.query(query={"discover": {"target": sparse(_5=1), "context": pairs}}, using="s", limit=3)
    assert (
        words.points("POST", "/discover", {"target": sparse(_5=1), "context": pairs, "using": "s", "limit": 3}) == hits
    )
    tokens = [[1, 1], [0, 1]]
    hits = passages.query(query=tokens, using="Cosine", limit=3)
    assert passages.points("POST", "/search", {"vector": {"name": "Cosine", "vector": tokens}, "limit": 3}) == hits


def test_queries_of_a_batch_are_of_any_kind(words: Collection) -> None:
    searches: list[dict[str, Any]] = [
        {"query": [1], "using": "d"},
        {"query": sparse(_2=1), "using": "s"},
        {"query": 3, "using": "i"},
    ]
    answers = words.points("POST", "/query/batch", {"searches": searches})
    assert [answer["points"] for answer in answers] == [words.query(**search) for search in searches]


@pytest.mark.parametrize(
    ("status", "names", "request_"),
    [
        (400, "`d` is a dense vector, the query is a sparse vector", {"query": sparse(_1=1), "using": "d"}),
        (400, "`d` is a dense vector, the query is a multivector", {"query": [[1]], "using": "d"}),
        (400, "`s` is a sparse vector, the query is a dense vector", {"query": [1], "using": "s"}),
        (400, "`s` is a sparse vector, the query is a multivector", {"query": [[1]], "using": "s"}),
        (400, "`s`", {"query": {"recommend": {"positive": [sparse(_1=1), [1]]}}, "using": "s"}),
        (400, "`s`", {"query": {"context": [{"positive": [[1]], "negative": 1}]}, "using": "s"}),
        (400, "`d`", {"query": {"discover": {"target": sparse(_1=1), "context": []}}, "using": "d"}),
        (400, "`s`", {"prefetch": {"query": [1], "using": "s"}, "query": {"fusion": "rrf"}}),
        (400, "does not have the vector `s`", {"query": 9, "using": "s"}),
        (404, "77", {"query": 77, "using": "s"}),
        (400, "x", {"query": sparse(_1=1), "using": "x"}),
        (422, "query.indices", {"query": {"indices": [1, 1], "values": [1, 2]}, "using": "s"}),
        (422, "query.values", {"query": {"indices": [1, 2], "values": [1]}, "using": "s"}),
        (400, "query", {"query": {"indices": [1]}, "using": "s"}),
        (400, "query", {"query": {"indices": [-1], "values": [1]}, "using": "s"}),
        (400, "query", {"query": {"indices": [2**32], "values": [1]}, "using": "s"}),
        (400, "query", {"query": {"indices": [1], "values": ["x"]}, "using": "s"}),
        (400, "query", {"query": {"indices": [1], "values": [1e39]}, "using": "s"}),
        (422, "query", {"query": [[]], "using": "d"}),
        (422, "query", {"query": [[1], [1, 2]], "using": "d"}),
        (400, "query", {"query": [[1], 2], "using": "d"}),
        (422, "limit", {"query": sparse(_1=1), "using": "s", "limit": 0}),
        (400, "positive", {"query": {"recommend": {"negative": [sparse(_1=1)]}}, "using": "s"}),
        (400, "params.idf", {"query": sparse(_1=1), "using": "s", "params": {"idf": {"corpus": {}}}}),
        (
            400,
            "params.idf",
            {"query": {"context": []}, "using": "d", "params": {"idf": {"corpus": {}}}},
        ),
        (400, "idf", {"query": sparse(_1=1), "using": "i", "params": {"idf": "local"}}),
        (400, "corpus", {"query": sparse(_1=1), "using": "i", "params": {"idf": {}}}),
    ],
    ids=str,
)
def test_a_query_of_the_wrong_kind_is_refused(
    words: Collection, status: int, names: str, request_: dict[str, Any]
) -> None:
    assert names in words.refusal(status, "POST", "/query", request_)


def test_a_multivector_of_another_dimension_is_refused(passages: Collection) -> None:
    for query in ([[1, 2, 3]], [1, 2, 3], {"recommend": {"positive": [[[1, 2]], [[1]]]}}):
        assert "expected dim: 2" in passages.refusal(400, "POST", "/query", {"query": query, "using": "Dot"})
    assert "`Dot`" in passages.refusal(400, "POST", "/query", {"query": sparse(_1=1), "using": "Dot"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search", {"vector": {"name": "s", "vector": [1]}, "limit": 1}),
        ("/search", {"vector": {"name": "d", "vector": sparse(_1=1)}, "limit": 1}),
        ("/search", {"vector": {"name": "s", "vector": {"indices": [1]}}, "limit": 1}),
        ("/recommend", {"positive": [[1]], "using": "s", "limit": 1}),
        ("/discover", {"target": [[1]], "using": "d", "limit": 1}),
    ],
    ids=str,
)
def test_older_routes_refuse_the_wrong_kind(words: Collection, path: str, body: dict[str, Any]) -> None:
    words.refusal(400, "POST", path, body)


def test_prefetches_fifty_deep_are_answered(words: Collection) -> None:
    stage: dict[str, Any] = {"query": sparse(_2=1), "using": "s", "limit": 2}
    for _ in range(50):
        stage = {**stage, "prefetch": stage}
    assert scores(words.query(**stage)) == {0: 2.0, 1: 1.0}


def test_infinite_sums_are_answered_as_the_largest_number(create: Create) -> None:
    collection = create(
        vectors={"m": {"size": 2, "distance": "Dot", "multivector_config": MAX_SIM}}, sparse_vectors={"s": {}}
    )
    large = {"indices": [1, 2], "values": [3e38, 3e38]}
    collection.upsert({"id": 1, "vector": {"s": large, "m": [[3e38, 3e38]]}})
    assert scores(collection.query(query=large, using="s")) == {1: pytest.approx(3.4028235e38)}
    assert scores(collection.query(query=[[3e38, 3e38]], using="m")) == {1: pytest.approx(3.4028235e38)}


def brute_max_sim(distance: str, documents: dict[int, NDArray[np.float64]], query: NDArray[np.float64]) -> Any:
    """Scores of all documents, best first."""
    found = {}
    for number, tokens in documents.items():
        if distance == "Euclid":
            squares = ((tokens[:, None] - query[None]) ** 2).sum(axis=2)
            found[number] = math.sqrt(squares.min(axis=0).sum())
        else:
            found[number] = (tokens @ query.T).max(axis=0).sum()
    return sorted(found.items(), key=lambda item: item[1] if distance == "Euclid" else -item[1])


@pytest.mark.parametrize("distance", ["Cosine", "Euclid"])
@pytest.mark.parametrize("quantization", [None, {"scalar": {"type": "int8"}}, {"binary": {}}], ids=str)
def test_multivectors_in_sealed_segments_are_compared_exactly(
    create: Create, distance: str, quantization: dict[str, Any] | None
) -> None:
    """On disk and quantised, codes choose candidates; what they choose has its exact score."""
    vectors = {"size": 16, "distance": distance, "multivector_config": MAX_SIM, "on_disk": True}
    collection = create(
        vectors={**vectors, "quantization_config": quantization} if quantization else vectors,
        optimizers_config={"indexing_threshold": 1, "default_segment_number": 2},
    )
    numbers = np.random.default_rng(4)
    documents = {i: numbers.standard_normal((int(numbers.integers(1, 6)), 16)) for i in range(300)}
    collection.upsert(*({"id": i, "vector": tokens.tolist()} for i, tokens in documents.items()))
    until(lambda: collection.info()["status"] == "green")
    for i in range(0, 300, 7):
        documents[i] = numbers.standard_normal((2, 16))
    collection.upsert(*({"id": i, "vector": documents[i].tolist()} for i in range(0, 300, 7)))
    for i in range(5, 300, 9):
        del documents[i]
    collection.change("POST", "/delete", {"points": list(range(5, 300, 9))})
    if distance == "Cosine":
        documents = {i: tokens / np.linalg.norm(tokens, axis=1, keepdims=True) for i, tokens in documents.items()}
    for params in ({}, {"exact": True}, {"quantization": {"ignore": True}}, {"quantization": {"oversampling": 30}}):
        query = numbers.standard_normal((4, 16))
        if distance == "Cosine":
            query /= np.linalg.norm(query, axis=1, keepdims=True)
        expected = brute_max_sim(distance, documents, query)
        hits = collection.query(query=query.tolist(), params=params, limit=10)
        by_id = dict(expected)
        assert [hit["score"] for hit in hits] == pytest.approx([by_id[hit["id"]] for hit in hits], rel=1e-4)
        found = len({hit["id"] for hit in hits} & {number for number, _ in expected[:10]})
        assert found == 10 if params or quantization is None else found >= 9
