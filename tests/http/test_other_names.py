"""Second names of fields, which Qdrant reads beside the documented ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.client import Client, Collection, Create

QUERY = {"query": [1, 0, 0, 0], "limit": 1}
SEARCH = {"vector": [1, 0, 0, 0], "limit": 1}
RECOMMEND = {"positive": [[1, 0, 0, 0]], "limit": 1}
DISCOVER = {"target": [1, 0, 0, 0], "context": [], "limit": 1}
GROUPS = {"group_by": "city", "group_size": 1, "limit": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"ids": [1]}),
        ("/scroll", {"limit": 1}),
        ("/query", QUERY),
        ("/query/groups", {**QUERY, **GROUPS}),
        ("/search", SEARCH),
        ("/search/groups", {**SEARCH, **GROUPS}),
        ("/recommend", RECOMMEND),
        ("/recommend/groups", {**RECOMMEND, **GROUPS}),
        ("/discover", DISCOVER),
    ],
)
def test_with_vectors_is_with_vector(plain: Collection, path: str, body: dict[str, Any]) -> None:
    vectors = _vectors(plain.points("POST", path, {**body, "with_vectors": True}))
    assert vectors == [[1.0, 0.0, 0.0, 0.0]]
    assert _vectors(plain.points("POST", path, {**body, "with_vectors": False})) == []
    twice = {**body, "with_vector": True, "with_vectors": True}
    assert plain.refusal(400, "POST", path, twice) == "Format error in JSON body: duplicate field `with_vector`"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query/batch", QUERY),
        ("/search/batch", SEARCH),
        ("/recommend/batch", RECOMMEND),
        ("/discover/batch", DISCOVER),
    ],
)
def test_each_search_of_a_batch_has_its_own_names(plain: Collection, path: str, body: dict[str, Any]) -> None:
    searches = [{**body, "with_vectors": True}, {**body, "with_vector": True}, body]
    answers = plain.points("POST", path, {"searches": searches})
    assert [len(_vectors(answer)) for answer in answers] == [1, 1, 0]


def test_with_vector_is_with_vectors_in_a_lookup(plain: Collection, create: Create) -> None:
    cities = create()
    cities.upsert({"id": 7, "vector": [0, 0, 0, 1]})
    plain.upsert({"id": 9, "vector": [9, 0, 0, 0], "payload": {"city": 7}})
    lookup = {"collection": cities.name, "with_vector": True}
    body = {**QUERY, "group_by": "city", "with_lookup": lookup}
    (group,) = plain.points("POST", "/query/groups", body)["groups"]
    assert group["lookup"]["vector"] == [0.0, 0.0, 0.0, 1.0]
    assert "duplicate field `with_vectors`" in plain.refusal(
        400, "POST", "/query/groups", {**body, "with_lookup": {**lookup, "with_vectors": True}}
    )


def test_vectors_is_vector_of_a_point(plain: Collection) -> None:
    number = {"vectors": 12345678901234567890, "vector": 0.1, "text": "“vectors”"}
    plain.change("PUT", "", {"points": [{"id": 4, "vectors": [1, 2, 3, 4], "payload": number}]})
    assert plain.get(4) == {"id": 4, "payload": number, "vector": [1.0, 2.0, 3.0, 4.0]}
    plain.change("PUT", "/vectors", {"points": [{"id": 4, "vectors": [4, 3, 2, 1]}, {"id": 1, "vector": [5, 5, 5, 5]}]})
    assert [plain.get(id)["vector"][0] for id in (4, 1)] == [4.0, 5.0]
    operations = [
        {"upsert": {"points": [{"id": 5, "vectors": [5, 0, 0, 0]}]}},
        {"upsert": {"batch": {"ids": [6], "vectors": [[6, 0, 0, 0]]}}},
        {"update_vectors": {"points": [{"id": 4, "vectors": [7, 0, 0, 0]}]}},
        {"delete_vectors": {"points": [5], "vectors": [""]}},
    ]
    plain.points("POST", "/batch", {"operations": operations}, wait="true")
    assert [plain.get(id).get("vector") for id in (4, 5, 6)] == [[7.0, 0.0, 0.0, 0.0], {}, [6.0, 0.0, 0.0, 0.0]]
    plain.change("POST", "/vectors/delete", {"points": [4], "vectors": [""]})
    assert plain.get(4)["vector"] == {}


def test_two_names_of_one_vector_are_refused_and_change_nothing(plain: Collection) -> None:
    point = {"id": 1, "vector": [1, 2, 3, 4], "vectors": [1, 2, 3, 4]}
    delete = {"points": [1], "vector": [""], "vectors": [""]}
    with plain.unchanged():
        for method, path, body in (
            ("PUT", "", {"points": [{"id": 2, "vector": [1, 2, 3, 4]}, point]}),
            ("PUT", "/vectors", {"points": [point]}),
            ("POST", "/vectors/delete", delete),
            ("POST", "/batch", {"operations": [{"delete": {"points": [1]}}, {"delete_vectors": delete}]}),
        ):
            message = plain.refusal(400, method, path, body, wait="true")
            assert message == "Format error in JSON body: duplicate field `vector`"


def test_other_names_in_a_body_that_is_decoded_slice_by_slice(plain: Collection) -> None:
    points = [{"id": i, "vector": [i, 1, 1, 1], "payload": {"a": [{"b": 1}, {"vectors": 2}]}} for i in range(9_000)]
    for place in (0, 4_500, 8_999):
        points[place]["vectors"] = points[place].pop("vector")
    body = json.dumps({"points": points}).encode()
    plain.change("PUT", "", body)
    assert plain.count() == 9_000
    assert [plain.get(i)["vector"][0] for i in (0, 4_500, 8_999)] == [0.0, 4_500.0, 8_999.0]
    with plain.unchanged():
        both = body.replace(b'{"id": 8500,', b'{"id": 8500, "vectors": [1, 2, 3, 4],')
        assert both != body
        assert "duplicate field `vector`" in plain.refusal(400, "PUT", "", both, wait="true")
        wrong = body.replace(b'{"id": 10,', b'{"id": "x",')[:-2]
        assert "Format error" in plain.refusal(400, "PUT", "", wrong, wait="true")


def test_a_wrong_value_under_another_name_is_refused_as_under_the_documented_one(
    plain: Collection, client: Client
) -> None:
    assert "[vector: length 0 invalid]" in plain.refusal(422, "POST", "/vectors/delete", {"points": [1], "vectors": []})
    assert "with_vector" in plain.refusal(400, "POST", "/query", {"with_vectors": 7})
    message = client.refusal(422, "PATCH", plain.path, {"optimizer_config": {"max_segment_size_kb": 0}})
    assert "[optimizers_config.max_segment_size: value 0 invalid, must be 1 or larger]" in message


def test_field_type_is_field_schema(plain: Collection) -> None:
    plain.client.result("PUT", f"{plain.path}/index?wait=true", {"field_name": "city", "field_type": "keyword"})
    assert plain.info()["payload_schema"]["city"]["data_type"] == "keyword"


def test_a_collection_under_other_names_is_reported_under_the_documented_ones(create: Create, client: Client) -> None:
    scalar = {"scalar": {"type": "int8"}}
    collection = create(
        vectors={"a": {"size": 4, "distance": "Dot", "quantization": scalar, "hnsw_config": _full_scan(11)}},
        hnsw_config=_full_scan(12),
        quantization={"binary": {}},
        optimizer_config={"max_segment_size_kb": 1000, "memmap_threshold_kb": 2000, "indexing_threshold_kb": 3000},
    )
    config = collection.info()["config"]
    assert config["params"]["vectors"]["a"]["quantization_config"] == scalar
    assert config["params"]["vectors"]["a"]["hnsw_config"] == {"full_scan_threshold": 11}
    assert config["hnsw_config"]["full_scan_threshold"] == 12
    assert "binary" in config["quantization_config"]
    sizes = ("max_segment_size", "memmap_threshold", "indexing_threshold")
    assert [config["optimizer_config"][name] for name in sizes] == [1000, 2000, 3000]

    change = {
        "optimizer_config": {"indexing_threshold_kb": 4000},
        "quantization": "Disabled",
        "vectors": {"a": {"quantization": "Disabled", "hnsw_config": _full_scan(13)}},
    }
    assert client.result("PATCH", collection.path, change) is True
    changed = collection.info()["config"]
    assert changed["optimizer_config"]["indexing_threshold"] == 4000
    assert changed["quantization_config"] is None
    assert changed["params"]["vectors"]["a"] == {
        "size": 4,
        "distance": "Dot",
        "hnsw_config": {"full_scan_threshold": 13},
    }
    twice: dict[str, Any] = {"quantization": {"binary": {}}, "quantization_config": {"binary": {}}}
    assert "duplicate field `quantization_config`" in client.refusal(400, "PATCH", collection.path, twice)


def test_a_vector_may_be_called_like_another_name(create: Create) -> None:
    collection = create(vectors={name: {"size": 1, "distance": "Dot"} for name in ("quantization", "vectors", "b")})
    assert collection.info()["config"]["params"]["vectors"].keys() == {"quantization", "vectors", "b"}
    collection.upsert({"id": 1, "vectors": {"quantization": [1], "vectors": [2]}})
    assert collection.get(1)["vector"] == {"quantization": [1.0], "vectors": [2.0]}


def test_the_document_has_no_other_names(client: Client) -> None:
    schemas = client.document["components"]["schemas"]
    assert schemas["WithLookup"]["properties"].keys() == {"collection", "with_payload", "with_vectors"}
    named = {name for schema in schemas.values() for name in schema.get("properties", ())}
    assert not named & {"field_type", "full_scan_threshold_kb", "max_segment_size_kb", "indexing_threshold_kb"}


def _full_scan(size_kb: int) -> dict[str, int]:
    return {"full_scan_threshold_kb": size_kb}


def _vectors(answer: Any) -> list[Any]:
    """Every vector in an answer."""
    if isinstance(answer, list):
        return [vector for part in answer for vector in _vectors(part)]
    if not isinstance(answer, dict):
        return []
    own = [answer["vector"]] if "vector" in answer else []
    return own + [vector for part in answer.values() if part not in own for vector in _vectors(part)]
