"""The evaluator against qdrant-client's local mode, as a black box.

Where local mode is known to differ from Qdrant's server, the server is followed, and the case is kept out of the random
worlds and stands as a test of its own at the end of this file:

- Several tests in one field condition are alternatives on the server (qdrant issue 9066); local mode takes the first.
- Whole numbers beyond 2^53 are compared exactly here, as nanoseconds since 1970 need it; local mode rounds bounds, and
  the server rounds both sides, except where an integer index answers (qdrant issue 7955).
- A position beyond ±180 or ±90 degrees is none on the server; local mode computes with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from tests.filters.filter_worlds import FAMILIES, POINT_IDS, VECTORS, any_filters, payloads
from vdb.model.conditions import Filter
from vdb.model.decode import convert
from vdb.query.filter import PointFacts, compile_filter


@pytest.fixture(scope="module")
def local() -> Iterator[QdrantClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = QdrantClient(":memory:")
        yield client
        client.close()


def local_answer(client: QdrantClient, points: list[PointFacts], filter: dict[str, Any]) -> set[Any]:
    found, _ = client.scroll("points", scroll_filter=models.Filter.model_validate(filter), limit=len(points))
    return {point.id for point in found}


def load(client: QdrantClient, points: list[PointFacts]) -> None:
    if client.collection_exists("points"):
        client.delete_collection("points")
    space = models.VectorParams(size=1, distance=models.Distance.DOT)
    client.create_collection("points", vectors_config={name: space for name in VECTORS if name})
    client.upsert(
        "points",
        [
            models.PointStruct(
                id=point.id, vector={name: [1.0] for name in point.vector_names}, payload=dict(point.payload)
            )
            for point in points
        ],
    )


worlds = st.lists(st.tuples(payloads, st.booleans()), min_size=1, max_size=len(POINT_IDS)).map(
    lambda drawn: [
        PointFacts(point_id, payload, ("other",) if has_vector else ())
        for point_id, (payload, has_vector) in zip(POINT_IDS, drawn, strict=False)
    ]
)


@given(points=worlds, filters=st.lists(any_filters, min_size=1, max_size=12))
@settings(max_examples=150)
def test_filters_agree_with_local_mode(local: QdrantClient, points: list[PointFacts], filters: list[Any]) -> None:
    load(local, points)
    for filter in filters:
        matcher = compile_filter(convert(filter, Filter))
        assert {point.id for point in points if matcher.matches(point)} == local_answer(local, points, filter), filter


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=40)
def test_each_kind_of_condition_agrees_with_local_mode(local: QdrantClient, family: str, data: st.DataObject) -> None:
    fields, asked = FAMILIES[family]
    drawn = data.draw(st.lists(fields, min_size=4, max_size=len(POINT_IDS)))
    points = [PointFacts(point_id, payload) for point_id, payload in zip(POINT_IDS, drawn, strict=False)]
    load(local, points)
    for condition in data.draw(st.lists(asked, min_size=4, max_size=12)):
        filter = {"must": [condition]}
        matcher = compile_filter(convert(filter, Filter))
        assert {point.id for point in points if matcher.matches(point)} == local_answer(local, points, filter), filter


def matches(filter: dict[str, Any], payload: dict[str, Any]) -> bool:
    return compile_filter(convert(filter, Filter)).matches(PointFacts(1, payload))


def test_several_tests_in_one_condition_are_alternatives(local: QdrantClient) -> None:
    filter = {"must": [{"key": "n", "match": {"value": 5}, "range": {"gte": 1, "lt": 2}}]}
    points = [PointFacts(1, {"n": 5}), PointFacts(2, {"n": 1}), PointFacts(3, {"n": 3})]
    load(local, points)
    assert local_answer(local, points, filter) == {1}
    assert [matches(filter, dict(point.payload)) for point in points] == [True, True, False]


def test_large_whole_numbers_are_compared_exactly(local: QdrantClient) -> None:
    nanoseconds = 1_700_000_000_000_000_001
    filter = {"must": [{"key": "n", "range": {"gt": nanoseconds}}]}
    points = [PointFacts(1, {"n": nanoseconds}), PointFacts(2, {"n": nanoseconds + 1})]
    load(local, points)
    assert local_answer(local, points, filter) == {1, 2}
    assert [matches(filter, dict(point.payload)) for point in points] == [False, True]


def test_a_position_off_the_globe_is_none(local: QdrantClient) -> None:
    box = {"top_left": {"lon": 178, "lat": 10}, "bottom_right": {"lon": -178, "lat": -10}}
    filter = {"must": [{"key": "g", "geo_bounding_box": box}]}
    points = [PointFacts(1, {"g": {"lon": 200, "lat": 0}}), PointFacts(2, {"g": {"lon": 179, "lat": 0}})]
    load(local, points)
    assert local_answer(local, points, filter) == {1, 2}
    assert [matches(filter, dict(point.payload)) for point in points] == [False, True]
