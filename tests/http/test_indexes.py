"""Field indexes over HTTP: made, reported, dropped, and right while points come and go."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.http.client import UNNAMED_4, Client, Collection, Create
from tests.http.running_server import serving, until

VALUES: dict[str, list[Any]] = {
    "keyword": ["red", ["green", "blue"]],
    "integer": [1, [2, 3]],
    "float": [1.5, [2, 3.5]],
    "bool": [True, [True, False]],
    "geo": [{"lon": 1, "lat": 2}, [{"lon": 3, "lat": 4}, {"lon": 5, "lat": 6}]],
    "datetime": ["2020-01-01", ["2021-01-01T10:00:00Z"]],
    "uuid": ["550e8400-e29b-41d4-a716-446655440000", ["550e8400e29b41d4a716446655440001"]],
    "text": ["red shoes", ["green", "blue"]],
}
PARAMS: list[dict[str, Any]] = [
    {"type": "keyword", "is_tenant": True, "on_disk": True},
    {"type": "integer", "lookup": True, "range": False, "is_principal": True},
    {"type": "integer", "lookup": False, "range": True},
    {"type": "float", "is_principal": True, "on_disk": False},
    {"type": "bool", "on_disk": True},
    {"type": "geo", "on_disk": True},
    {"type": "datetime", "is_principal": False},
    {"type": "uuid", "is_tenant": False},
    {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20, "lowercase": True},
    {"type": "text", "tokenizer": "whitespace", "stopwords": {"languages": ["english"], "custom": ["foo"]}},
    {"type": "text", "tokenizer": "prefix", "stopwords": "german", "phrase_matching": True},
    {"type": "text", "tokenizer": "multilingual", "stemmer": {"type": "snowball", "language": "french"}},
    {"type": "text", "tokenizer": "word", "ascii_folding": True},
]


def make(collection: Collection, field: str, schema: Any, wait: bool = True) -> None:
    body = {"field_name": field, "field_schema": schema}
    answer = collection.client.result("PUT", f"{collection.path}/index", body, wait=str(wait).lower())
    assert answer["status"] == ("completed" if wait else "acknowledged")


def drop(collection: Collection, field: str) -> None:
    assert collection.client.result("DELETE", f"{collection.path}/index/{field}", wait="true")["status"] == "completed"


def schema_of(collection: Collection) -> dict[str, Any]:
    schema: dict[str, Any] = collection.info()["payload_schema"]
    return schema


def fill(collection: Collection, values: list[Any]) -> None:
    foreign: list[Any] = [None, [], {"another": "type"}]
    payloads = [{"f": value} for value in [*values, *foreign]] + [{}]
    collection.upsert(*({"id": i, "vector": [1, 0, 0, 0], "payload": payload} for i, payload in enumerate(payloads)))


@pytest.mark.parametrize("kind", VALUES)
def test_an_index_is_reported_with_the_points_that_have_a_value_of_its_type(create: Create, kind: str) -> None:
    collection = create()
    fill(collection, VALUES[kind])
    assert schema_of(collection) == {}
    make(collection, "f", kind)
    assert schema_of(collection) == {"f": {"data_type": kind, "points": 2}}
    assert collection.info()["status"] == "green"
    collection.upsert({"id": 99, "vector": [1, 0, 0, 0], "payload": {"f": VALUES[kind][0]}})
    assert schema_of(collection)["f"]["points"] == 3
    collection.change("POST", "/delete", {"points": [0, 99]})
    assert schema_of(collection)["f"]["points"] == 1
    drop(collection, "f")
    assert schema_of(collection) == {}


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_parameters_are_echoed_as_they_were_given(create: Create, params: dict[str, Any]) -> None:
    collection = create()
    fill(collection, VALUES[params["type"]])
    make(collection, "f", params)
    assert schema_of(collection) == {"f": {"data_type": params["type"], "params": params, "points": 2}}


def test_an_index_made_again_in_another_way_replaces_the_first(create: Create) -> None:
    collection = create()
    fill(collection, ["7", 7, "red shoes"])
    for kind, points in (("keyword", 2), ("integer", 1), ("integer", 1), ("text", 2)):
        make(collection, "f", kind)
        assert schema_of(collection) == {"f": {"data_type": kind, "points": points}}


def test_dropping_what_is_not_there_is_fine(create: Create) -> None:
    collection = create()
    drop(collection, "nothing")
    assert schema_of(collection) == {}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"field_name": "f", "field_schema": "number"}, "number"),
        ({"field_name": "f"}, "field_schema"),
        ({"field_schema": "keyword"}, "field_name"),
        ({"field_name": "a[", "field_schema": "keyword"}, "a["),
        ({"field_name": "", "field_schema": "keyword"}, ""),
        ({"field_name": "f", "field_schema": {"type": "integer", "lookup": 1}}, "lookup"),
        ({"field_name": "f", "field_schema": {"type": "integer", "lookup": False, "range": False}}, "lookup"),
        ({"field_name": "f", "field_schema": {"type": "text", "tokenizer": "none"}}, "tokenizer"),
        ({"field_name": "f", "field_schema": {"type": "text", "min_token_len": -1}}, "min_token_len"),
        ({"field_name": "f", "field_schema": {"type": "text", "stopwords": "klingon"}}, "stopwords"),
        ({"field_name": "f", "field_schema": {"lookup": True}}, "type"),
        ([], ""),
    ],
    ids=str,
)
def test_a_wrong_index_is_refused_and_changes_nothing(create: Create, body: Any, named: str) -> None:
    collection = create()
    with collection.unchanged():
        response = collection.client.send("PUT", f"{collection.path}/index", body)
        assert response.status_code in (400, 422)
        assert named in response.json()["status"]["error"]


def test_an_index_of_a_missing_collection_is_not_found(client: Client) -> None:
    body = {"field_name": "f", "field_schema": "keyword"}
    assert "doesn't exist" in client.refusal(404, "PUT", "/collections/nowhere/index", body)
    assert "doesn't exist" in client.refusal(404, "DELETE", "/collections/nowhere/index/f")


def test_answers_are_right_at_every_moment_while_indexes_are_built_and_points_written(create: Create) -> None:
    """Numbers never change for points 0 to 2,999, while others come, change and go."""
    collection = create()
    for start in range(0, 3_000, 1_000):
        collection.upsert(
            *(
                {
                    "id": i,
                    "vector": [i, 0, 0, 1],
                    "payload": {"n": i, "color": "red" if i % 3 == 0 else "blue", "t": "x y"},
                }
                for i in range(start, start + 1_000)
            )
        )
    steady = {"must": [{"key": "color", "match": {"value": "red"}}, {"key": "n", "range": {"gte": 100, "lt": 1_000}}]}
    moving = {"must": [{"key": "n", "range": {"gte": 1_000_000}}]}
    stop = threading.Event()
    failures: list[BaseException] = []

    def reading() -> None:
        client = Client(collection.client.url)
        other = Collection(client, collection.name)
        try:
            while not stop.is_set():
                assert other.points("POST", "/count", {"filter": steady})["count"] == 300
                text = {"must": [{"key": "t", "match": {"text": "y"}}, {"has_id": [5, 7]}]}
                assert [hit["id"] for hit in other.query(query=[1, 0, 0, 0], filter=text)] == [7, 5]
                assert len(other.query(query=[1, 0, 0, 0], filter=steady, limit=1_000)) == 300
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()

    reader = threading.Thread(target=reading)
    reader.start()
    try:
        for round_number in range(5):
            for field, kind in (("n", "integer"), ("color", "keyword"), ("t", "text")):
                make(collection, field, kind, wait=False)
                for i in range(3_000, 3_010):
                    n = 1_000_000 + round_number
                    collection.upsert({"id": i, "vector": [0, 0, 0, 0], "payload": {"n": n, "color": "red", "t": "x"}})
                    assert collection.points("POST", "/count", {"filter": moving})["count"] == i - 2_999
                collection.change("POST", "/payload", {"points": [3_000, 3_001], "payload": {"n": -1}})
                assert collection.points("POST", "/count", {"filter": moving})["count"] == 8
                collection.change("POST", "/delete", {"filter": {"must": [{"has_id": [*range(3_000, 3_010)]}]}})
                assert collection.points("POST", "/count", {"filter": moving})["count"] == 0
            until(lambda: collection.info()["status"] == "green")
            assert {field: info["points"] for field, info in schema_of(collection).items()} == {
                "n": 3_000,
                "color": 3_000,
                "t": 3_000,
            }
            for field in ("n", "color", "t"):
                drop(collection, field)
    finally:
        stop.set()
        reader.join()
    assert not failures, failures


def ask(collection: Collection) -> Any:
    order = collection.points("POST", "/scroll", {"order_by": "n", "limit": 100})
    filter = {"must": [{"key": "color", "match": {"any": ["red", "blue"]}}]}
    return (
        order,
        collection.client.result("POST", f"{collection.path}/facet", {"key": "color"}),
        collection.points("POST", "/count", {"filter": filter}),
        schema_of(collection),
    )


def test_indexes_answer_the_first_request_after_a_restart(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with serving(storage) as server:
        client = Client(server.url)
        collection = client.create("c", **UNNAMED_4)
        payloads = [{"n": i, "color": ["red", "green", "blue"][i % 3]} for i in range(50)]
        collection.upsert(*({"id": i, "vector": [1, 0, 0, 0], "payload": p} for i, p in enumerate(payloads)))
        make(collection, "n", {"type": "integer", "range": True})
        make(collection, "color", "keyword")
        collection.change("POST", "/payload", {"points": [1], "payload": {"color": "red"}})
        before = ask(collection)
        client.close()
        assert server.stop() == 0
    assert len(list(storage.glob("collections/*/fields/*.index"))) == 2
    with serving(storage) as server:
        client = Client(server.url)
        assert ask(Collection(client, "c")) == before
        client.close()
    for file in storage.glob("collections/*/fields/*.index"):
        file.unlink()
    with serving(storage) as server:
        client = Client(server.url)
        collection = Collection(client, "c")
        until(lambda: collection.info()["status"] == "green")
        assert ask(collection) == before
        client.close()
