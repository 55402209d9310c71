"""Queries over HTTP where qdrant-client's local mode has no answer, or another one than Qdrant's server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Collection, Create


@pytest.fixture
def line(create: Create) -> Collection:
    """Points 1 to 9 on a line, compared by Dot: a query of 1 ranks them from 9 down."""
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(
        *({"id": i, "vector": [i], "payload": {"i": i, "odd": bool(i % 2), "third": i % 3}} for i in range(1, 10))
    )
    return collection


def field(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def ids(hits: list[dict[str, Any]]) -> list[Any]:
    return [hit["id"] for hit in hits]


def test_a_filter_holds_for_prefetches_before_their_limit_counts(line: Collection) -> None:
    prefetch = [{"query": [1], "limit": 2}]
    assert ids(line.query(prefetch=prefetch, query={"fusion": "rrf"}, filter=field_filter("odd", True))) == [9, 7]
    nested = [{"prefetch": prefetch, "query": [-1], "filter": field_filter("third", 0), "limit": 5}]
    found = line.query(prefetch=nested, query={"fusion": "rrf"}, filter=field_filter("odd", True))
    assert ids(found) == [3, 9]


def field_filter(key: str, value: Any) -> dict[str, Any]:
    return {"must": [field(key, value)]}


def test_filters_of_stages_hold_together_whatever_clauses_they_have(line: Collection) -> None:
    """Merged clause by clause, two ``should`` would become one with either."""
    prefetch = [{"query": [1], "limit": 9, "filter": {"should": [field("third", 0)]}}]
    found = line.query(prefetch=prefetch, query={"fusion": "rrf"}, filter={"should": [field("odd", False)]})
    assert ids(found) == [6]


def test_points_that_a_query_names_are_left_out_of_its_prefetches_too(line: Collection) -> None:
    prefetch = [{"query": [1], "limit": 2}]
    assert ids(line.query(prefetch=prefetch, query=9)) == [8, 7]
    assert ids(line.query(prefetch=prefetch, query={"recommend": {"positive": [9], "negative": [8]}})) == [7, 6]
    assert ids(line.query(query={"discover": {"target": 9, "context": {"positive": 8, "negative": 1}}}, limit=2)) == [
        7,
        6,
    ]


def test_weighted_rrf_scores_as_qdrant_published_them(line: Collection) -> None:
    """The example of the change that brought weights, qdrant issue 8063: weights 2 and 1, k 2."""
    prefetch = [
        {"query": [1], "filter": field_filter("odd", True), "limit": 4},
        {"query": [1], "filter": field_filter("odd", False), "limit": 4},
    ]
    hits = line.query(prefetch=prefetch, query={"rrf": {"weights": [2, 1]}}, limit=5)
    assert [hit["score"] for hit in hits] == [0.6666667, 0.5, 0.5, 0.4, 0.33333334]
    assert ids(hits)[0] == 9
    assert set(ids(hits)[1:3]) == {7, 8}


def test_a_fused_score_equal_to_the_threshold_stays(line: Collection) -> None:
    prefetch = {"query": [1], "limit": 4}
    hits = line.query(prefetch=prefetch, query={"fusion": "rrf"}, score_threshold=0.25)
    assert [hit["score"] for hit in hits] == [0.5, 0.33333334, 0.25]


def test_offset_and_limit_cut_a_page_of_fused_points(line: Collection) -> None:
    prefetch = {"query": [1], "limit": 6}
    whole = line.query(prefetch=prefetch, query={"fusion": "dbsf"})
    assert line.query(prefetch=prefetch, query={"fusion": "dbsf"}, offset=2, limit=3) == whole[2:5]
    assert len(whole) == 6


def test_prefetches_find_ten_points_unless_told_otherwise(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(*({"id": i, "vector": [i]} for i in range(30)))
    assert ids(collection.query(prefetch={"query": [1]}, query=[-1], limit=99)) == list(range(20, 30))


def test_a_prefetch_without_a_query_finds_points_in_the_order_of_their_ids(line: Collection) -> None:
    assert ids(line.query(prefetch={"limit": 3}, query=[1])) == [3, 2, 1]


def test_context_scores_are_never_above_zero(line: Collection) -> None:
    context = [{"positive": [1], "negative": [0.5]}, {"positive": [-1], "negative": [-2]}]
    hits = line.query(query={"context": context})
    assert len(hits) == 9
    assert all(hit["score"] <= 0 for hit in hits)


def test_a_threshold_of_several_examples_means_larger_scores_whatever_the_distance(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Euclid"})
    collection.upsert(*({"id": i, "vector": [i]} for i in range(6)))
    query = {"recommend": {"positive": [[0.9]], "strategy": "best_score"}}
    scores = [hit["score"] for hit in collection.query(query=query)]
    assert scores == sorted(scores, reverse=True)
    assert len(collection.query(query=query, score_threshold=scores[2])) == 2


def test_a_lookup_in_the_same_collection_leaves_its_points_out(line: Collection) -> None:
    lookup = {"collection": line.name}
    assert ids(line.query(query=9, lookup_from=lookup, limit=2)) == [8, 7]


def test_a_lookup_matters_to_ids_alone(line: Collection) -> None:
    nowhere = {"collection": "nowhere"}
    assert line.query(query=[9], lookup_from=nowhere) == line.query(query=[9])
    groups = {"query": [9], "group_by": "n", "lookup_from": nowhere}
    line.points("POST", "/query/groups", groups)
    examples = {"recommend": {"positive": [[9]], "negative": [3]}}
    body = {"query": examples, "lookup_from": nowhere}
    assert "`nowhere` doesn't exist" in line.refusal(404, "POST", "/query", body)


def test_a_lookup_by_alias_is_a_lookup(line: Collection, create: Create) -> None:
    other = create("looked-up", vectors={"size": 1, "distance": "Cosine"})
    other.upsert({"id": 77, "vector": [-5]})
    alias = {"create_alias": {"collection_name": "looked-up", "alias_name": "looked-up-alias"}}
    other.client.result("POST", "/collections/aliases", {"actions": [alias]})
    hits = line.query(query=77, lookup_from={"collection": "looked-up-alias"}, limit=2)
    assert [(hit["id"], hit["score"]) for hit in hits] == [(1, -1.0), (2, -2.0)]


def test_groups_are_filled_from_far_down_the_ranking(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(
        *({"id": i, "vector": [i], "payload": {"g": "many" if 5 < i < 495 else "few"}} for i in range(500))
    )
    request = {"query": [1], "group_by": "g", "limit": 2, "group_size": 8}
    groups = collection.points("POST", "/query/groups", request)["groups"]
    assert [(group["id"], ids(group["hits"])) for group in groups] == [
        ("few", [499, 498, 497, 496, 495, 5, 4, 3]),
        ("many", [494, 493, 492, 491, 490, 489, 488, 487]),
    ]


def test_groups_take_strings_and_integers_and_nothing_else(line: Collection) -> None:
    line.upsert({"id": 20, "vector": [20], "payload": {"third": 2.0}})
    line.upsert({"id": 21, "vector": [21], "payload": {"third": [1, "x", 1, None, True, [5]]}})
    line.upsert({"id": 22, "vector": [22], "payload": {"third": {"a": 1}}})
    line.upsert({"id": 23, "vector": [23], "payload": {"third": 2**64 - 1}})
    groups = line.points("POST", "/query/groups", {"query": [1], "group_by": "third", "group_size": 2})["groups"]
    assert [(group["id"], ids(group["hits"])) for group in groups] == [
        (2**64 - 1, [23]),
        (1, [21, 7]),
        ("x", [21]),
        (0, [9, 6]),
        (2, [8, 5]),
    ]


def test_groups_are_the_same_with_an_index_and_without(create: Create) -> None:
    values: list[Any] = ["a", "b", 1, 2, 1.5, None, True, [], ["a", "c"], ["b", 2, 1], {"a": 1}, 2**63, "", "c", "a"]
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(
        *(
            {"id": i, "vector": [i % 37], "payload": {} if i % 16 == 15 else {"g": values[i % 16]}}
            for i in range(1, 160)
        )
    )
    request = {"query": [1], "group_by": "g", "limit": 6, "group_size": 4}
    expected = collection.points("POST", "/query/groups", request)
    for schema in ("keyword", "integer"):
        index = {"field_name": "g", "field_schema": schema}
        collection.client.result("PUT", f"{collection.path}/index", index, wait="true")
        assert collection.points("POST", "/query/groups", request) == expected


def test_grouping_does_not_change_fused_scores(line: Collection) -> None:
    request = {"prefetch": [{"query": [1], "limit": 4}, {"query": [-1], "limit": 7}], "query": {"fusion": "rrf"}}
    scores = {hit["id"]: hit["score"] for hit in line.query(**request, limit=20)}
    answer = line.points("POST", "/query/groups", {**request, "group_by": "third", "limit": 3, "group_size": 3})
    grouped = {hit["id"]: hit["score"] for group in answer["groups"] for hit in group["hits"]}
    assert len(grouped) == 9
    assert grouped == {point_id: scores[point_id] for point_id in grouped}


@pytest.mark.parametrize("query", [{"fusion": "rrf"}, [1], {"formula": "$score"}], ids=str)
def test_groups_beyond_what_prefetches_found_are_filled(create: Create, query: Any) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(*({"id": i, "vector": [-i], "payload": {"g": i // 10}} for i in range(50)))
    for prefetch in ({"query": [1], "limit": 3}, {"query": [1], "limit": 4, "prefetch": {"query": [1], "limit": 5}}):
        request = {"prefetch": prefetch, "query": query, "group_by": "g", "limit": 3, "group_size": 2}
        groups = collection.points("POST", "/query/groups", request)["groups"]
        assert [(group["id"], ids(group["hits"])) for group in groups] == [(0, [0, 1]), (1, [10, 11]), (2, [20, 21])]


def test_a_group_shows_the_point_that_its_value_names(line: Collection, create: Create) -> None:
    other = create(vectors={"size": 1, "distance": "Dot"})
    other.upsert({"id": 0, "vector": [1], "payload": {"name": "nought"}}, {"id": 1, "vector": [2]})
    lookup = {"collection": other.name, "with_payload": ["name"], "with_vectors": True}
    request = {"query": [1], "group_by": "third", "group_size": 1, "with_lookup": lookup, "with_payload": True}
    groups = line.points("POST", "/query/groups", request)["groups"]
    assert {group["id"]: group.get("lookup") for group in groups} == {
        0: {"id": 0, "payload": {"name": "nought"}, "vector": [1.0]},
        1: {"id": 1, "payload": {}, "vector": [2.0]},
        2: None,
    }
    assert groups[0]["hits"][0]["payload"] == {"i": 9, "odd": True, "third": 0}


def test_a_matrix_of_one_point_is_empty(line: Collection) -> None:
    request = {"filter": field_filter("i", 3)}
    assert line.points("POST", "/search/matrix/pairs", request) == {"pairs": []}
    offsets = line.points("POST", "/search/matrix/offsets", request)
    assert offsets == {"offsets_row": [], "offsets_col": [], "scores": [], "ids": [3]}


def test_a_matrix_has_ten_points_with_three_neighbours_each(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    collection.upsert(*({"id": i, "vector": [i]} for i in range(30)))
    assert len(collection.points("POST", "/search/matrix/pairs", {})["pairs"]) == 30


def test_the_routes_of_older_clients_answer_the_same_hits(line: Collection) -> None:
    shown = {"with_payload": True, "with_vector": True, "limit": 4}
    examples = {"positive": [5], "negative": [[2]]}
    for strategy in ("average_vector", "best_score", "sum_scores"):
        older = {**examples, "strategy": strategy, "filter": field_filter("odd", True), "offset": 1, **shown}
        newer = {"recommend": {**examples, "strategy": strategy}}
        hits = line.query(query=newer, filter=field_filter("odd", True), offset=1, **shown)
        assert line.points("POST", "/recommend", older) == hits
        assert line.points("POST", "/recommend/batch", {"searches": [older, older]}) == [hits, hits]
    pairs = [{"positive": 9, "negative": 1}]
    discovered = line.query(query={"discover": {"target": [3], "context": pairs}}, **shown)
    assert line.points("POST", "/discover", {"target": [3], "context": pairs, **shown}) == discovered
    in_context = line.query(query={"context": pairs}, **shown)
    assert line.points("POST", "/discover", {"context": pairs, **shown}) == in_context
    assert line.points("POST", "/discover/batch", {"searches": [{"context": pairs, **shown}]}) == [in_context]
    grouping = {"group_by": "third", "group_size": 2, "limit": 2}
    groups = line.points("POST", "/query/groups", {"query": [1], **grouping})
    assert line.points("POST", "/search/groups", {"vector": [1], **grouping}) == groups
    groups = line.points("POST", "/query/groups", {"query": {"recommend": examples}, **grouping})
    assert line.points("POST", "/recommend/groups", {**examples, **grouping}) == groups
