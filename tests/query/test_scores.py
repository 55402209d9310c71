"""The formulas of scores, computed by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from vdb.errors import BadRequest
from vdb.model.decode import convert
from vdb.model.formula import Expression
from vdb.model.query_kinds import QueryInterface
from vdb.model.vectors import Datatype, Distance, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.dense import GatheredVectors
from vdb.query.filter import PointFacts
from vdb.query.formula import Candidate, compile_formula
from vdb.query.fusion import dbsf, rrf
from vdb.query.hits import Hits
from vdb.query.mmr import diversify
from vdb.query.scoring import scoring
from vdb.query.similarity import similarities

decode: Any = convert  # the kinds of queries are unions, for which there is no type of a type


def ranking(*scored: tuple[int, float]) -> Hits:
    nums, scores = zip(*scored, strict=True) if scored else ((), ())
    return Hits(np.array(nums, dtype=np.uint32), np.array(scores, dtype=np.float32))


def fused(hits: Hits) -> dict[int, float]:
    return dict(zip(hits.nums.tolist(), hits.scores.tolist(), strict=True))


def test_rrf_sums_reciprocals_of_places() -> None:
    rankings = [ranking((1, 9.0), (2, 8.0)), ranking((2, 0.5), (3, 0.4), (1, 0.3))]
    assert fused(rrf(rankings)) == pytest.approx({2: 1 / 3 + 1 / 2, 1: 1 / 2 + 1 / 4, 3: 1 / 3})
    assert list(fused(rrf(rankings))) == [2, 1, 3]
    assert fused(rrf(rankings, k=60)) == pytest.approx({2: 1 / 61 + 1 / 60, 1: 1 / 60 + 1 / 62, 3: 1 / 61})


def test_rrf_divides_places_by_weights() -> None:
    rankings = [ranking((1, 9.0), (2, 8.0)), ranking((2, 0.5))]
    expected = {1: 1 / (2 + 1 / 3 - 1), 2: 1 / (2 + 2 / 3 - 1) + 1 / (2 + 1 / 0.5 - 1)}
    assert fused(rrf(rankings, weights=[3, 0.5])) == pytest.approx(expected)
    assert fused(rrf(rankings, weights=[0, 1])) == pytest.approx({2: 1 / 2, 1: 0})
    assert np.isfinite(rrf(rankings, k=1, weights=[1e30, 1e30]).scores).all()


def test_rrf_of_rankings_without_points_is_empty() -> None:
    assert len(rrf([ranking()])) == len(dbsf([ranking(), ranking()])) == 0


def test_a_point_that_stands_twice_in_a_ranking_counts_once() -> None:
    assert fused(rrf([ranking((1, 1.0), (2, 1.0), (1, 1.0))])) == pytest.approx({1: 1 / 2, 2: 1 / 3})


def test_dbsf_normalises_by_mean_and_three_deviations() -> None:
    scores = [4.0, 2.0, 1.5]
    mean, deviation = np.mean(scores), np.std(scores, ddof=1)
    low, high = mean - 3 * deviation, mean + 3 * deviation
    expected = {num: (score - low) / (high - low) for num, score in zip((1, 2, 3), scores, strict=True)}
    expected[2] += 0.5
    found = dbsf([ranking((1, 4.0), (2, 2.0), (3, 1.5)), ranking((2, 77.0))])
    assert fused(found) == pytest.approx(expected)
    assert fused(dbsf([ranking((1, 3.0), (2, 3.0))])) == {1: 0.5, 2: 0.5}


def f(x: float) -> float:
    return x / (1 + abs(x))


def sigma(x: float) -> float:
    return (f(x) + 1) / 2


def scores(query: dict[str, Any], *similar: list[float]) -> list[float]:
    combined: list[float] = (
        scoring(decode(query, QueryInterface)).combine(np.array(similar, dtype=np.float32).T).tolist()
    )
    return combined


def test_best_score_takes_the_best_example_of_either_side() -> None:
    query = {"recommend": {"positive": [1, 2], "negative": [3], "strategy": "best_score"}}
    found = scores(query, [0.2, 0.9, 0.5], [0.2, 0.1, 0.5], [0.5, 0.1, 0.5])
    assert found == pytest.approx([sigma(0.9), -sigma(0.5), -sigma(0.5)])
    assert scores({"recommend": {"positive": [1], "strategy": "best_score"}}, [-3]) == pytest.approx([sigma(-3)])
    assert scores({"recommend": {"negative": [1], "strategy": "best_score"}}, [-3]) == pytest.approx([-sigma(-3)])


def test_sum_scores_adds_and_subtracts() -> None:
    query = {"recommend": {"positive": [1, 2], "negative": [3], "strategy": "sum_scores"}}
    assert scores(query, [0.5, 0.25, 2]) == pytest.approx([-1.25])


def test_discover_counts_pairs_before_it_looks_at_the_target() -> None:
    pairs = [{"positive": 1, "negative": 2}, {"positive": 3, "negative": 4}]
    query = {"discover": {"target": 9, "context": pairs}}
    found = scores(query, [-5, 2, 1, 2, 1], [5, 2, 1, 1, 2], [0, 1, 1, 1, 1])
    assert found == pytest.approx([2 + sigma(-5), sigma(5), sigma(0)])


def test_context_only_takes_away() -> None:
    query = {"context": {"positive": 1, "negative": 2}}
    assert scores(query, [3, 1], [1, 3]) == pytest.approx([0, f(-2)], abs=1e-6)
    pairs = {"context": [{"positive": 1, "negative": 2}, {"positive": 3, "negative": 4}]}
    assert scores(pairs, [1, 3, 0, 0.5]) == pytest.approx([f(-2) + f(-0.5)], abs=1e-6)


def test_relevance_feedback_weighs_every_pair_by_its_confidence() -> None:
    given = [(0.9, 0.7), (0.4, 0.1), (0.4, 0.3), (0.1, -0.5)]  # score of an item, similarity to it
    a, b, c, target = 1.5, 2.0, 0.7, 0.6
    expected = a * target
    for (one, near_one), (other, near_other) in itertools.combinations(given, 2):
        assert one >= other
        expected += (one - other) ** b * c * (near_one - near_other)
    items = [{"example": place, "score": score} for place, (score, _) in enumerate(given)]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        feedback = [items[place] for place in order]
        query = {"target": 1, "feedback": feedback, "strategy": {"naive": {"a": a, "b": b, "c": c}}}
        similar = [target, *(given[place][1] for place in order)]
        assert scores({"relevance_feedback": query}, similar) == pytest.approx([expected])


@pytest.mark.parametrize("datatype", [Datatype.FLOAT32, Datatype.FLOAT16, Datatype.UINT8])
@pytest.mark.parametrize("distance", Distance)
def test_similarities_are_products_or_negated_distances(distance: Distance, datatype: Datatype) -> None:
    random = np.random.default_rng(4)
    rows = random.integers(0, 200, (50, 7)).astype(datatype.dtype)
    examples = random.integers(0, 200, (3, 7)).astype(np.float32)
    wide, asked = rows.astype(np.float64), examples.astype(np.float64)
    differences = wide[:, None] - asked
    lengths = np.linalg.norm(wide, axis=1)[:, None] * np.linalg.norm(asked, axis=1)
    expected = {
        Distance.DOT: wide @ asked.T,
        # Vectors of a float datatype have length one where they are stored, so that products are cosines.
        Distance.COSINE: wide @ asked.T / (lengths if datatype is Datatype.UINT8 else 1),
        Distance.EUCLID: -(differences**2).sum(axis=2),
        Distance.MANHATTAN: -np.abs(differences).sum(axis=2),
    }[distance]
    found = similarities(VectorSpace("", 7, distance, datatype), examples, rows)
    assert found == pytest.approx(expected.T, rel=1e-5)


def test_mmr_takes_what_is_unlike_the_taken() -> None:
    space = VectorSpace("", 2, Distance.DOT)
    vectors = np.array([[1, 0], [0.99, 0.01], [0.5, 0.8]], dtype=np.float32)
    candidates = GatheredVectors(space, np.arange(3), vectors)
    query = np.array([1, 0], dtype=np.float32)

    def taken(diversity: float, count: int = 3) -> list[int]:
        order: list[int] = diversify(candidates, query, diversity, count, Deadline()).tolist()
        return order

    assert taken(0) == [0, 1, 2]
    assert taken(0.9) == taken(1) == [0, 2, 1]
    assert taken(0.9, 2) == [0, 2]
    assert taken(0.9, 0) == []


PAYLOAD = {"n": 4, "zero": 0, "one": [2.5], "many": [1, 2], "text": "x", "at": {"lat": 0, "lon": 1}, "null": None}


def value(formula: Any, **defaults: Any) -> float:
    compiled = compile_formula(decode(formula, Expression), defaults, {})
    return compiled.evaluate(Candidate(PointFacts(7, {**PAYLOAD, "when": "1970-01-02"}, ("a",)), [0.5, None]))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (3, 3),
        (-0.5, -0.5),
        ("$score", 0.5),
        ("$score[0]", 0.5),
        ("$score[1]", 0),
        ("$score[9]", 0),
        ("n", 4),
        ("one", 2.5),
        ("many[1]", 2),
        ({"sum": ["n", "one", 1]}, 7.5),
        ({"sum": []}, 0),
        ({"mult": ["n", "one", -1]}, -10),
        ({"mult": []}, 1),
        ({"mult": [0, "missing"]}, 0),
        ({"neg": "n"}, -4),
        ({"abs": {"neg": "n"}}, 4),
        ({"div": {"left": 1, "right": "n"}}, 0.25),
        ({"div": {"left": 1, "right": "zero", "by_zero_default": 9}}, 9),
        ({"div": {"left": 0, "right": "missing"}}, 0),
        ({"sqrt": "n"}, 2),
        ({"pow": {"base": "n", "exponent": 0.5}}, 2),
        ({"pow": {"base": 0, "exponent": 0}}, 1),
        ({"exp": 1}, math.e),
        ({"log10": 1000}, 3),
        ({"ln": {"exp": 2}}, 2),
        ({"key": "n", "match": {"value": 4}}, 1),
        ({"key": "n", "match": {"value": 5}}, 0),
        ({"must_not": [{"has_id": [7]}]}, 0),
        ({"has_vector": "a"}, 1),
        ({"is_empty": {"key": "missing"}}, 1),
        ({"geo_distance": {"origin": {"lat": 0, "lon": 0}, "to": "at"}}, math.radians(1) * 6_371_008.8),
        ({"datetime": "1970-01-01T00:00:01.5Z"}, 1.5),
        ({"datetime_key": "when"}, 86400),
        ({"lin_decay": {"x": "n"}}, 0),
        ({"lin_decay": {"x": "n", "target": 2, "scale": 4}}, 0.75),
        ({"lin_decay": {"x": "n", "target": 2, "scale": 2, "midpoint": 0.25}}, 0.25),
        ({"exp_decay": {"x": "n", "target": 8, "scale": 2}}, 0.25),
        ({"exp_decay": {"x": "n", "target": "n"}}, 1),
        ({"gauss_decay": {"x": "n", "scale": 2}}, 0.0625),
        ({"gauss_decay": {"x": -4, "scale": 4, "midpoint": 0.1}}, 0.1),
    ],
    ids=str,
)
def test_a_formula_has_its_value(formula: Any, expected: float) -> None:
    assert value(formula) == pytest.approx(expected)


def test_defaults_stand_in_for_what_is_missing_alone() -> None:
    assert value("missing", missing=3) == 3
    assert value("n", n=3) == 4
    assert value({"datetime_key": "missing"}, missing="1970-01-01T00:01:00Z") == 60
    assert value({"geo_distance": {"origin": {"lat": 0, "lon": 1}, "to": "x"}}, x={"lat": 0, "lon": 1}) == 0
    assert value("$score[1]", **{"$score[1]": -2}) == -2
    assert value({"sum": ["$score", "$score[0]"]}, **{"$score": 9}) == 1


@pytest.mark.parametrize("variable", ["missing", "text", "many", "at", "n.deeper", "null"])
def test_a_variable_without_a_number_is_named(variable: str) -> None:
    with pytest.raises(BadRequest, match=variable):
        value(variable)
