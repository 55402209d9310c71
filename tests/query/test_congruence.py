"""Every kind of query through qdrant-client, to vdb and to local mode; every answer must agree.

A failing seed is in the test's name, and the requests that led there are in the output of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import models

from tests.http.client import Client
from tests.query.query_worlds import COUNT, DENSE, DISTANCES, KINDS, NAMES, SPARSE, World


@pytest.fixture(params=range(2))
def world(client: Client, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(client.url, f"world{request.param}", request.param)
    yield made
    made.close()


def test_queries_that_compare_vectors_agree(world: World) -> None:
    for _ in range(140):
        name = world.random.choice(NAMES)
        query = world.vector_query(name)
        # Several points may be equally good, and which two of them an offset leaves out is open.
        tied = name in SPARSE or isinstance(query, models.ContextQuery)
        world.same(
            query=query,
            using=name,
            query_filter=world.filter(),
            limit=world.random.choice([1, 5, 20, 100]),
            offset=None if tied else world.random.choice([None, None, 2]),
            with_payload=world.random.choice([True, ["city"]]),
        )


def test_thresholds_agree(world: World) -> None:
    for name in NAMES:
        query = world.vector(name)
        scores = [hit.score for hit in world.same(query=query, using=name, limit=COUNT)]
        world.same(query=query, using=name, limit=50, score_threshold=(scores[10] + scores[11]) / 2)
        if DISTANCES.get(name.removeprefix("multi-")) not in (models.Distance.EUCLID, models.Distance.MANHATTAN):
            examples = models.RecommendInput(
                positive=world.examples(name, 1), strategy=models.RecommendStrategy.BEST_SCORE
            )
            recommend = models.RecommendQuery(recommend=examples)
            best = [hit.score for hit in world.same(query=recommend, using=name, limit=COUNT)]
            world.same(query=recommend, using=name, limit=50, score_threshold=(best[7] + best[8]) / 2)


def test_rankings_of_prefetched_points_agree(world: World) -> None:
    for _ in range(40):
        name = world.random.choice(NAMES)
        world.same(
            prefetch=world.prefetches(),
            query=world.vector_query(name),
            using=name,
            query_filter=world.filter(),
            limit=world.random.choice([3, 10, 40]),
        )


def test_fusions_agree(world: World) -> None:
    for _ in range(40):
        prefetch = world.prefetches()
        weights = [world.random.choice([0.5, 1.0, 3.0]) for _ in prefetch]
        query = world.random.choice(
            [
                models.FusionQuery(fusion=models.Fusion.RRF),
                models.FusionQuery(fusion=models.Fusion.DBSF),
                models.RrfQuery(rrf=models.Rrf(k=world.random.randrange(1, 70))),
                models.RrfQuery(rrf=models.Rrf(weights=weights)),
            ]
        )
        world.same(
            prefetch=prefetch,
            query=query,
            query_filter=world.filter(),
            limit=world.random.choice([3, 10, 40]),
            offset=world.random.choice([None, 2]),
        )


def test_formulas_agree(world: World) -> None:
    place = models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(lat=1, lon=2), to="place"))
    made = models.DatetimeKeyExpression(datetime_key="made")
    now = models.DatetimeExpression(datetime="2020-01-01T00:00:00Z")
    days = models.DecayParamsExpression(x=made, target=now, scale=86400 * 365, midpoint=0.3)
    expressions: list[models.Expression] = [
        "$score",
        models.SumExpression(sum=["$score[0]", "$score[1]", 0.25]),
        models.MultExpression(mult=["price", models.NegExpression(neg="$score")]),
        models.DivExpression(div=models.DivParams(left="price", right="stars", by_zero_default=7.0)),
        models.AbsExpression(abs=models.SumExpression(sum=["$score", -1.0])),
        models.SqrtExpression(sqrt="price"),
        models.PowExpression(pow=models.PowParams(base="price", exponent=0.5)),
        models.ExpExpression(exp=models.NegExpression(neg="stars")),
        models.LnExpression(ln="price"),
        models.Log10Expression(log10="price"),
        models.SumExpression(sum=["single", models.FieldCondition(key="city", match=models.MatchValue(value="Rome"))]),
        models.Filter(must_not=[models.FieldCondition(key="tags", match=models.MatchAny(any=["Oslo", "Paris"]))]),
        models.HasIdCondition(has_id=[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        models.HasVectorCondition(has_vector="cosine"),
        models.GaussDecayExpression(gauss_decay=models.DecayParamsExpression(x=place, scale=3_000_000)),
        models.LinDecayExpression(lin_decay=days),
        models.ExpDecayExpression(exp_decay=days),
        models.GaussDecayExpression(gauss_decay=days),
    ]
    for expression in expressions:
        world.same(
            prefetch=[world.prefetch(), world.prefetch()],
            query=models.FormulaQuery(formula=expression, defaults={"stars": 2, "$score[1]": 0.5}),
            query_filter=world.filter(),
            limit=20,
        )


def test_idf_in_a_corpus_agrees(world: World) -> None:
    for _ in range(10):
        corpus = models.IdfCorpusParams(corpus=world.filter() or models.Filter())
        world.same(
            query=world.vector_query("idf"),
            using="idf",
            query_filter=world.filter(),
            search_params=models.SearchParams(idf=corpus),
            limit=30,
        )


def test_order_by_agrees(world: World) -> None:
    for _ in range(10):
        key = world.random.choice(["rank", "price"])
        order_by = models.OrderBy(key=key, direction=world.random.choice(list(models.Direction)))
        query = models.OrderByQuery(order_by=order_by)
        prefetch = world.prefetches() if world.random.random() < 0.5 else None
        request = {"query": query, "query_filter": world.filter(), "limit": 12, "with_payload": True}
        ours, theirs = world.both("query_points", prefetch=prefetch, **request)
        assert [(hit.id, hit.score) for hit in ours.points] == [(hit.id, hit.score) for hit in theirs.points]
        if prefetch is None:
            assert [hit.order_value for hit in ours.points] == [hit.payload[key] for hit in ours.points]


def test_samples_are_of_the_points_that_match(world: World) -> None:
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    condition = models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value="Rome"))])
    ours, theirs = world.both("query_points", query=query, query_filter=condition, limit=COUNT)
    assert {hit.id for hit in ours.points} == {hit.id for hit in theirs.points}
    assert {hit.score for hit in ours.points} == {1.0}
    orders = {tuple(hit.id for hit in world.server.query_points(world.name, query=query).points) for _ in range(5)}
    assert len(orders) > 1
    assert all(len(set(order)) == 10 for order in orders)


def test_groups_agree(world: World) -> None:
    for _ in range(40):
        name = world.random.choice(NAMES)
        prefetched = world.random.random() < 0.4
        prefetch = [models.Prefetch(query=world.vector(other), using=other, limit=COUNT) for other in DENSE[:2]]
        with_lookup = world.random.choice([None, world.others, models.WithLookup(collection=world.others)])
        ours, theirs = world.both(
            "query_points_groups",
            query=world.example(name),
            using=name,
            prefetch=prefetch if prefetched else None,
            group_by=world.random.choice(["city", "tags", "stars", "rank", "price", "tags[]"]),
            group_size=world.random.choice([1, 3, 30]),
            limit=world.random.choice([1, 2, 10]),
            query_filter=world.filter(),
            with_lookup=with_lookup,
        )
        assert [group.id for group in ours.groups] == [group.id for group in theirs.groups]
        for one, other in zip(ours.groups, theirs.groups, strict=True):
            assert [hit.id for hit in one.hits] == [hit.id for hit in other.hits]
            assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], rel=1e-4)
            assert (one.lookup and one.lookup.payload) == (other.lookup and other.lookup.payload)


def test_lookups_in_another_collection_agree(world: World) -> None:
    for _ in range(30):
        name, other = world.random.choices(world.random.choice(KINDS), k=2)
        lookup = models.LookupLocation(collection=world.others, vector=other)
        ids: list[Any] = [world.random.randrange(0, COUNT, 2) for _ in range(3)]
        examples = models.RecommendInput(
            positive=ids[:2], negative=ids[2:], strategy=world.random.choice(list(models.RecommendStrategy))
        )
        query = world.random.choice([ids[0], models.RecommendQuery(recommend=examples)])
        world.same(query=query, using=name, lookup_from=lookup, limit=30, query_filter=world.filter())


def test_the_matrix_of_all_points_agrees(world: World) -> None:
    for name in NAMES:
        arguments: dict[str, Any] = {"sample": COUNT, "limit": 4, "using": name}
        ours, theirs = world.both("search_matrix_pairs", **arguments)
        ours_by_pair = {(pair.a, pair.b): pair.score for pair in ours.pairs}
        theirs_by_pair = {(pair.a, pair.b): pair.score for pair in theirs.pairs}
        assert len(ours_by_pair) == len(ours.pairs) == len(theirs.pairs)
        assert ours_by_pair == pytest.approx(theirs_by_pair, rel=1e-4, abs=1e-5)
        offsets = world.server.search_matrix_offsets(world.name, **arguments)
        assert {
            (offsets.ids[row], offsets.ids[column]): score
            for row, column, score in zip(offsets.offsets_row, offsets.offsets_col, offsets.scores, strict=True)
        } == ours_by_pair
        assert offsets.ids == sorted(offsets.ids)
