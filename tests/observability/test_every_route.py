"""Every route that strict mode judges and that slow requests are noted of, with a request that is fine."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.http.client import Client, Create
from vdb.api.app import all_routes
from vdb.model.params import ReadParams, WriteParams

VECTOR: Final = [1, 2, 3, 4]
SEARCH: Final = {"vector": VECTOR, "limit": 1}
GROUPS: Final = {"group_by": "a", "group_size": 1, "limit": 1}
RECOMMEND: Final = {"positive": [1], "limit": 1}
DISCOVER: Final = {"target": 1, "context": [{"positive": 1, "negative": 2}], "limit": 1}
ON_POINT: Final = {"points": [1]}

# (method, path below the collection, body)
REQUESTS: Final[list[tuple[str, str, dict[str, Any] | None]]] = [
    ("PUT", "/vectors/{vector_name}", {"dense": {"size": 2, "distance": "Dot"}}),
    ("DELETE", "/vectors/{vector_name}", None),
    ("PUT", "/index", {"field_name": "a", "field_schema": "keyword"}),
    ("PUT", "/points", {"points": [{"id": 1, "vector": VECTOR}, {"id": 2, "vector": VECTOR}]}),
    ("PUT", "/points/vectors", {"points": [{"id": 1, "vector": VECTOR}]}),
    ("POST", "/points/vectors/delete", {**ON_POINT, "vector": [""]}),
    ("POST", "/points/payload", {**ON_POINT, "payload": {"a": "x"}}),
    ("PUT", "/points/payload", {"filter": {"must": {"key": "a", "match": {"value": "x"}}}, "payload": {"a": "x"}}),
    ("POST", "/points/payload/delete", {**ON_POINT, "keys": ["a"]}),
    ("POST", "/points/payload/clear", ON_POINT),
    ("POST", "/points/batch", {"operations": [{"upsert": {"points": [{"id": 1, "vector": VECTOR}]}}]}),
    ("GET", "/points/{id}", None),
    ("POST", "/points", {"ids": [1]}),
    ("POST", "/points/scroll", {}),
    ("POST", "/points/count", {}),
    ("POST", "/facet", {"key": "a"}),
    ("POST", "/points/query", {"query": VECTOR}),
    ("POST", "/points/query/batch", {"searches": [{"query": VECTOR}]}),
    ("POST", "/points/query/groups", {"query": VECTOR, "group_by": "a"}),
    ("POST", "/points/search/matrix/pairs", {}),
    ("POST", "/points/search/matrix/offsets", {}),
    ("POST", "/points/search", SEARCH),
    ("POST", "/points/search/batch", {"searches": [SEARCH]}),
    ("POST", "/points/search/groups", {**GROUPS, "vector": VECTOR}),
    ("POST", "/points/recommend", RECOMMEND),
    ("POST", "/points/recommend/batch", {"searches": [RECOMMEND]}),
    ("POST", "/points/recommend/groups", {**GROUPS, "positive": [1]}),
    ("POST", "/points/discover", DISCOVER),
    ("POST", "/points/discover/batch", {"searches": [DISCOVER]}),
    ("POST", "/points/delete", ON_POINT),
    ("DELETE", "/index/{field_name}", None),
]

LIMITS: Final = {
    "enabled": True,
    "max_query_limit": 1000,
    "max_timeout": 60,
    "filter_max_conditions": 10,
    "condition_max_size": 10,
    "read_rate_limit": 1000,
    "write_rate_limit": 1000,
    "max_points_count": 1000,
    "max_collection_payload_size_bytes": 10**6,
    "max_collection_vector_size_bytes": 10**6,
    "multivector_config": {"m": {"max_vectors": 2}},
    "unindexed_filtering_retrieve": False,
    "unindexed_filtering_update": False,
}


def test_the_table_has_every_such_route() -> None:
    prefix = "/collections/{collection_name}"
    limited = {
        (route.method, route.path.removeprefix(prefix))
        for route in all_routes()
        if issubclass(route.params, ReadParams | WriteParams) and route.path.startswith(prefix)
    }
    assert {(method, path) for method, path, _ in REQUESTS} == limited


@pytest.mark.parametrize("strict", [False, True], ids=["free", "strict"])
def test_a_request_within_all_limits_is_served(client: Client, create: Create, strict: bool) -> None:
    vectors = {"": {"size": 4, "distance": "Dot"}}
    collection = create(vectors=vectors, **({"strict_mode_config": LIMITS} if strict else {}))
    for method, path, body in REQUESTS:
        place = path.format(vector_name="v", id=1, field_name="a")
        params = {} if method == "GET" or "query" in path else {"timeout": 30}
        answer = client.send(method, f"{collection.path}{place}", body, **params)
        assert answer.status_code == 200, (method, path, answer.text)
