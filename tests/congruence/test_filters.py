"""Random payloads and filters through qdrant-client: vdb with field indexes and without, beside local mode.

Where local mode differs from Qdrant's server, the server is followed; such cases are kept out of the random worlds:

- Several tests in one field condition are alternatives on the server; local mode takes the first (qdrant issue 9066).
- Whole numbers beyond 2^53 are compared exactly here; local mode rounds bounds (see tests/filters/test_congruence.py).
- A position beyond ±180 or ±90 degrees is none on the server; local mode computes with it.
- Local mode knows no indexes: it orders and facets any field, and takes one that it does not know as empty, where a
  server answers 400. Only indexed fields are asked for here.
- A text index decides how texts are cut, and local mode has none: text conditions meet a plain index only.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from tests.filters.filter_worlds import POINT_IDS, VECTORS, any_filters, payloads

NAME = "filters"
SPACE = models.VectorParams(size=1, distance=models.Distance.DOT)
KINDS = ["keyword", "integer", "float", "geo", "bool", "datetime", "uuid", "text"]


@dataclass
class Databases:
    """The server's client, and local mode."""

    server: QdrantClient
    local: QdrantClient

    def start(self, points: list[models.PointStruct]) -> None:
        for client in (self.server, self.local):
            client.delete(NAME, models.FilterSelector(filter=models.Filter()), wait=True)
            client.upsert(NAME, points, wait=True)


@pytest.fixture(scope="module")
def databases(url: str) -> Iterator[Databases]:
    server = QdrantClient(url=url, timeout=60, check_compatibility=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode says that it has no payload indexes
        local = QdrantClient(":memory:")
        for client in (server, local):
            client.create_collection(NAME, vectors_config={name: SPACE for name in VECTORS if name})
        yield Databases(server, local)
    server.delete_collection(NAME)
    server.close()
    local.close()


def found(client: QdrantClient, filter: models.Filter) -> list[Any]:
    """Ids and payloads as scroll orders them; count must agree."""
    records, rest = client.scroll(NAME, scroll_filter=filter, limit=100, with_payload=True)
    assert rest is None
    assert client.count(NAME, count_filter=filter).count == len(records)
    return [(record.id, record.payload) for record in records]


drawn_points = st.lists(st.tuples(payloads, st.booleans()), min_size=1, max_size=len(POINT_IDS)).map(
    lambda drawn: [
        models.PointStruct(id=point_id, vector={"other": [1.0]} if has_vector else {}, payload=payload)
        for point_id, (payload, has_vector) in zip(POINT_IDS, drawn, strict=False)
    ]
)


@given(
    points=drawn_points,
    sources=st.lists(any_filters, min_size=1, max_size=6),
    kinds=st.dictionaries(
        st.sampled_from(["a", "b", "n[].x", '"c.d"']), st.sampled_from(KINDS), min_size=1, max_size=3
    ),
)
@settings(max_examples=40)
def test_every_filter_finds_what_local_mode_finds_with_indexes_and_without(
    databases: Databases, points: list[models.PointStruct], sources: list[dict[str, Any]], kinds: dict[str, str]
) -> None:
    databases.start(points)
    filters = [models.Filter.model_validate(source) for source in sources]
    expected = [found(databases.local, filter) for filter in filters]
    assert [found(databases.server, filter) for filter in filters] == expected
    for field, kind in kinds.items():
        databases.server.create_payload_index(NAME, field, models.PayloadSchemaType(kind), wait=True)
    try:
        assert [found(databases.server, filter) for filter in filters] == expected
    finally:
        for field in kinds:
            databases.server.delete_payload_index(NAME, field, wait=True)


CITIES = ["Paris", "Rome", "Oslo", "Bonn"]


def condition(rng: random.Random) -> Any:
    return rng.choice(
        [
            models.FieldCondition(key="city", match=models.MatchValue(value=rng.choice(CITIES))),
            models.FieldCondition(key="tags", match=models.MatchAny(any=rng.sample(["x", "y", "z"], 2))),
            models.FieldCondition(key="n", range=models.Range(gte=rng.randrange(10), lt=rng.randrange(5, 20))),
            models.IsEmptyCondition(is_empty=models.PayloadField(key="tags")),
            models.HasIdCondition(has_id=rng.sample(range(40), 10)),
        ]
    )


def a_filter(rng: random.Random) -> models.Filter:
    drawn = {clause: [condition(rng) for _ in range(rng.randrange(1, 3))] for clause in ("must", "should", "must_not")}
    chosen = rng.sample(sorted(drawn), rng.randrange(1, 3))
    return models.Filter.model_validate({clause: drawn[clause] for clause in chosen})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("indexed", [False, True])
def test_writes_by_filter_facets_and_orders_agree(databases: Databases, seed: int, indexed: bool) -> None:
    rng = random.Random(seed)
    everyone = (databases.server, databases.local)
    databases.start(
        [
            models.PointStruct(
                id=i,
                vector={"other": [float(i)]},
                payload={
                    "city": rng.choice(CITIES),
                    "n": rng.randrange(20),
                    "tags": rng.sample(["x", "y", "z"], rng.randrange(4)),
                },
            )
            for i in range(40)
        ]
    )
    if indexed:
        for field, kind in (("city", "keyword"), ("n", "integer"), ("tags", "keyword")):
            databases.server.create_payload_index(NAME, field, models.PayloadSchemaType(kind), wait=True)
    for step in itertools.count():
        filter = a_filter(rng)
        for client in everyone:
            match step % 6:
                case 0:
                    client.set_payload(NAME, {"n": step, "new": {"deep": step}}, points=filter, wait=True)
                case 1:
                    client.set_payload(NAME, {"deep": -1}, points=filter, key="new", wait=True)
                case 2:
                    client.delete_payload(NAME, ["tags", "new.deep"], points=filter, wait=True)
                case 3:
                    client.overwrite_payload(NAME, {"city": "Oslo", "tags": ["x"], "n": 3}, points=filter, wait=True)
                case 4 if step % 4 == 0:
                    client.clear_payload(NAME, points_selector=filter, wait=True)
                case 5 if step % 5 == 0:
                    client.delete(NAME, points_selector=filter, wait=True)
        asked = a_filter(rng)
        assert found(databases.server, asked) == found(databases.local, asked), (step, filter, asked)
        assert found(databases.server, models.Filter()) == found(databases.local, models.Filter()), (step, filter)
        if indexed:
            same_facets_and_orders(databases, asked)
        if step == 24:
            break
    if indexed:
        for field in ("city", "n", "tags"):
            databases.server.delete_payload_index(NAME, field, wait=True)


def same_facets_and_orders(databases: Databases, filter: models.Filter) -> None:
    for key in ("city", "tags", "n"):
        ours, theirs = (
            {hit.value: hit.count for hit in client.facet(NAME, key, facet_filter=filter, limit=100, exact=True).hits}
            for client in (databases.server, databases.local)
        )
        assert ours == theirs
    for direction in (models.Direction.ASC, models.Direction.DESC):
        order = models.OrderBy(key="n", direction=direction, start_from=7)
        orders = []
        for client in (databases.server, databases.local):
            records, _ = client.scroll(NAME, scroll_filter=filter, limit=100, order_by=order)
            values = [(record.payload or {})["n"] for record in records]
            assert values == sorted(values, reverse=direction == models.Direction.DESC)
            orders.append(sorted((value, record.id) for value, record in zip(values, records, strict=True)))
        assert orders[0] == orders[1]
