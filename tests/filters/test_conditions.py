"""Filters as they arrive: every condition is read, and what is none is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.filters.filter_worlds import any_filters
from vdb.errors import BadRequest, OutOfBounds
from vdb.model.conditions import FILTER_DEPTH_MAX, FieldCondition, Filter, MatchValue, Range
from vdb.model.decode import convert
from vdb.query.filter import PointFacts, compile_filter


class Request(msgspec.Struct):
    filter: Filter | None = None


def read(filter: Any) -> Filter:
    decoded = convert({"filter": filter}, Request).filter
    assert decoded is not None
    return decoded


@given(any_filters)
def test_a_filter_survives_its_json(filter: dict[str, Any]) -> None:
    decoded = convert(filter, Filter)
    assert convert(msgspec.json.decode(msgspec.json.encode(decoded)), Filter) == decoded


def test_a_single_condition_may_stand_without_its_list() -> None:
    condition = {"key": "a", "match": {"value": 1}}
    assert read({"must": condition}) == read({"must": [condition]})
    assert read({"must": condition}).must == (FieldCondition(key="a", match=MatchValue(value=1)),)


def test_clauses_that_are_null_or_empty_ask_nothing() -> None:
    filters: list[dict[str, Any]] = [{}, {"must": None}, {"must": [], "should": [], "must_not": []}, {"must": [{}]}]
    for filter in filters:
        assert compile_filter(read(filter)).matches(PointFacts(1, {}))


def test_unknown_keys_are_ignored_in_conditions_and_refused_in_filters() -> None:
    assert read({"must": [{"key": "a", "match": {"value": 1, "boost": 2}, "note": "x"}]}) == read(
        {"must": [{"key": "a", "match": {"value": 1}}]}
    )
    with pytest.raises(msgspec.ValidationError, match="key"):
        read({"key": "a", "match": {"value": 1}})
    with pytest.raises(msgspec.ValidationError, match="unknown field `note`"):
        read({"must": [{"must": [], "note": "x"}]})


def test_whole_bounds_of_a_range_stay_whole() -> None:
    decoded = read({"must": [{"key": "a", "range": {"gte": 2**53 + 1, "lt": 1.5}}]})
    assert decoded.must == (FieldCondition(key="a", range=Range(gte=2**53 + 1, lt=1.5)),)


CORNER = {"lon": 0, "lat": 0}
OPEN_RING = [{"lon": x, "lat": y} for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ({"key": "a["}, "a["),
        ({"is_empty": {"key": "a["}}, "a["),
        ({"nested": {"key": "a[", "filter": {}}}, "a["),
        ({"key": "a"}, "a"),
        ({"key": "a", "match": {"value": 1.5}}, "value"),
        ({"key": "a", "match": {"value": 2**63}}, "value"),
        ({"key": "a", "match": {"value": None}}, "value"),
        ({"key": "a", "match": {"like": "x"}}, "match"),
        ({"key": "a", "match": {"any": ["x", 1]}}, "any"),
        ({"key": "a", "match": {"except": [True]}}, "except"),
        ({"key": "born", "range": {"gte": "yesterday"}}, "born"),
        ({"key": "born", "range": {"gte": "2020-01-01", "lt": 5}}, "lt"),
        ({"key": "a", "values_count": {"gte": -1}}, "values_count.gte"),
        ({"key": "a", "geo_radius": {"center": {"lon": 0, "lat": 91}, "radius": 1}}, "lat"),
        ({"key": "a", "geo_bounding_box": {"top_left": {"lon": 181, "lat": 0}, "bottom_right": CORNER}}, "top_left"),
        ({"key": "a", "geo_polygon": {"exterior": {"points": OPEN_RING}}}, "exterior"),
        ({"key": "a", "geo_polygon": {"exterior": {"points": [CORNER] * 3}}}, "exterior"),
        ({"has_id": ["not a uuid"]}, "not a uuid"),
        ({"has_id": [-1]}, "-1"),
        ({"has_vector": 1}, "has_vector"),
        ({"slice": {"total": 0, "index": 0}}, "slice.total"),
        ({"slice": {"total": 2, "index": 2}}, "slice.index"),
        ({"nested": {"key": "a"}}, "filter"),
        ({"nested": {"key": "a", "filter": {"must": [{"huh": 1}]}}}, "huh"),
        ({"min_should": {"conditions": [], "min_count": 0}}, "min_count"),
        ({"huh": 1}, "huh"),
        (5, "int"),
    ],
)
@pytest.mark.parametrize("depth", [0, 1])
def test_what_is_no_condition_is_refused_and_named(condition: Any, named: str, depth: int) -> None:
    filter = {"must": [condition]}
    for _ in range(depth):
        filter = {"should": [filter]}
    with pytest.raises((msgspec.ValidationError, BadRequest)) as refused:
        read(filter)
    assert named in str(refused.value)


def test_bounds_are_told_from_wrong_types() -> None:
    with pytest.raises(OutOfBounds):
        read({"must": [{"key": "a"}]})
    with pytest.raises(msgspec.ValidationError, match="Expected `int` >= 1"):
        read({"min_should": {"conditions": [], "min_count": 0}})


def deep(levels: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"must": [{"key": "a", "match": {"value": 1}}]}
    for level in range(levels - 1):
        filter = {"must": [filter]} if level % 2 else {"must": [{"nested": {"key": "n", "filter": filter}}]}
    return filter


def test_deep_filters_work_up_to_the_bound_and_are_refused_beyond() -> None:
    compile_filter(read(deep(FILTER_DEPTH_MAX))).matches(PointFacts(1, {"n": [{}]}))
    for levels in (FILTER_DEPTH_MAX + 1, 200, 400):
        with pytest.raises(BadRequest, match="nested too deep"):
            read(deep(levels))


def test_ten_thousand_ids_are_one_set() -> None:
    matcher = compile_filter(read({"must": [{"has_id": list(range(10_000))}]}))
    assert matcher.matches(PointFacts(9_999, {})) and not matcher.matches(PointFacts(10_000, {}))
    assert not matcher.needs_payload
