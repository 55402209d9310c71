"""What no server should accept: each is refused with its code, and changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from tests.http.client import UNNAMED_4, Client, Collection, Create

MEBIBYTE = 2**20

NO_SELECTOR = "Format error in JSON body: Either list of point ids or filter must be provided"

# (method, path below a collection, a body that is fine)
ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/points", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}),
    ("POST", "/points", {"ids": [1]}),
    ("POST", "/points/delete", {"points": [1]}),
    ("PUT", "/points/vectors", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}),
    ("POST", "/points/vectors/delete", {"points": [1], "vector": [""]}),
    ("POST", "/points/payload", {"points": [1], "payload": {"a": 1}}),
    ("PUT", "/points/payload", {"points": [1], "payload": {"a": 1}}),
    ("POST", "/points/payload/delete", {"points": [1], "keys": ["a"]}),
    ("POST", "/points/payload/clear", {"points": [1]}),
    ("POST", "/points/batch", {"operations": [{"delete": {"points": [1]}}]}),
    ("POST", "/points/scroll", {}),
    ("POST", "/points/count", {}),
    ("POST", "/points/query", {"query": [1, 2, 3, 4]}),
    ("POST", "/points/query/batch", {"searches": [{"query": [1, 2, 3, 4]}]}),
    ("POST", "/points/search", {"vector": [1, 2, 3, 4], "limit": 1}),
    ("POST", "/points/search/batch", {"searches": [{"vector": [1, 2, 3, 4], "limit": 1}]}),
]

NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[1,",
    b"nothing",
    b"NaN",
    b"{'points': [1]}",
    b'{"points": [1],}',
    b'{"points": [01]}',
    b'{"points": [1]} {}',
    b"\xff\xfe{\x00}\x00",
    b"\x00" * 100,
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_an_unknown_collection_is_404_with_the_text_that_clients_match(
    client: Client, method: str, path: str, body: dict[str, Any]
) -> None:
    message = client.refusal(404, method, f"/collections/never-was{path}", body)
    assert message == "Not found: Collection `never-was` doesn't exist!"


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("garbage", NOT_JSON, ids=repr)
def test_a_body_that_is_not_json_is_a_format_error(
    client: Client, plain_once: Collection, method: str, path: str, body: dict[str, Any], garbage: bytes
) -> None:
    message = client.refusal(400, method, plain_once.path + path, garbage)
    assert message.startswith("Format error in JSON body: ")


@pytest.mark.parametrize("text", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800"], ids=repr)
def test_text_that_is_not_unicode_is_a_format_error(plain_once: Collection, text: bytes) -> None:
    for method, path, body in (
        ("PUT", "", b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"a":"%b"}}]}'),
        ("PUT", "", b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"%b":1}}]}'),
        ("PUT", "", b'{"points":[{"id":1,"vector":{"%b":[1,2,3,4]}}]}'),
        ("PUT", "", b'{"points":[{"id":"%b","vector":[1,2,3,4]}]}'),
        ("PUT", "", b'{"batch":{"ids":[1],"vectors":[[1,2,3,4]],"payloads":[{"a":"%b"}]}}'),
        ("POST", "/payload", b'{"points":[1],"payload":{"a":"%b"}}'),
        ("POST", "/payload", b'{"points":[1],"payload":{"a":1},"key":"%b"}'),
        ("POST", "/payload/delete", b'{"points":[1],"keys":["%b"]}'),
        ("POST", "/vectors/delete", b'{"points":[1],"vector":["%b"]}'),
        ("POST", "/query", b'{"query":"%b"}'),
        ("POST", "/query", b'{"query":[1,2,3,4],"using":"%b"}'),
        ("POST", "/scroll", b'{"with_payload":["%b"]}'),
    ):
        assert "Format error in JSON body" in plain_once.refusal(400, method, path, body % text)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("wrong", [b"null", b"7", b'"text"', b"[]", b"true"], ids=repr)
def test_a_body_of_another_type_is_a_format_error(
    client: Client, plain_once: Collection, method: str, path: str, body: dict[str, Any], wrong: bytes
) -> None:
    message = client.refusal(400, method, plain_once.path + path, wrong)
    assert message.startswith("Format error in JSON body: ")


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deep_nesting_is_a_format_error_in_any_field(
    client: Client, plain_once: Collection, method: str, path: str, body: dict[str, Any], depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    objects = b'{"a":' * depth + b"1" + b"}" * depth
    client.refusal(400, method, plain_once.path + path, nested)
    for key in body:
        client.refusal(400, method, plain_once.path + path, b'{"%b":%b}' % (key.encode(), nested))
        client.refusal(400, method, plain_once.path + path, b'{"%b":%b}' % (key.encode(), objects))


@pytest.fixture(scope="module")
def plain_once(client: Client) -> Iterator[Collection]:
    """One collection for all requests that must not change anything; it is as it was at the end."""
    collection = client.create("untouched")
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": 1}}, {"id": 2, "vector": [5, 6, 7, 8]})
    with collection.unchanged():
        yield collection
    client.result("DELETE", collection.path)


def test_100_levels_of_payload_are_fine_and_1000_are_not(plain: Collection) -> None:
    def body(depth: int) -> bytes:
        return b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"a":%b}}]}' % (b"[" * depth + b"]" * depth)

    plain.change("PUT", "", body(100))
    with plain.unchanged():
        for depth in (1_000, 100_000):
            assert "Format error in JSON body" in plain.refusal(400, "PUT", "", body(depth), wait="true")


@pytest.mark.parametrize("depth", [250, 251, 252, 253, 254, 255, 256])
def test_no_depth_of_a_payload_stops_the_collection(plain: Collection, depth: int) -> None:
    nested = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    for method, path, body in (
        ("PUT", "", b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":%b}]}'),
        ("PUT", "", b'{"batch":{"ids":[1],"vectors":[[1,2,3,4]],"payloads":[%b]}}'),
        ("POST", "/payload", b'{"points":[1],"payload":%b}'),
        ("PUT", "/payload", b'{"points":[1],"payload":%b}'),
        ("POST", "/payload", b'{"points":[1],"payload":%b,"key":"k"}'),
    ):
        answer = plain.client.send(method, f"{plain.path}/points{path}", body % nested, wait="true")
        assert answer.status_code in (200, 400), answer.text
    plain.change("POST", "/payload/clear", {"points": [1]})
    assert plain.info()["status"] == "green"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "nan", "1e39", "-1e39", "1" * 400]
)
def test_numbers_that_float32_cannot_hold_are_refused(plain: Collection, number: str) -> None:
    vector = f"[1, 2, 3, {number}]".encode()
    with plain.unchanged():
        for method, path, body in (
            ("PUT", "", b'{"points":[{"id":1,"vector":%b}]}'),
            ("PUT", "", b'{"batch":{"ids":[1],"vectors":[%b]}}'),
            ("PUT", "/vectors", b'{"points":[{"id":1,"vector":%b}]}'),
            ("POST", "/batch", b'{"operations":[{"upsert":{"points":[{"id":1,"vector":%b}]}}]}'),
            ("POST", "/query", b'{"query":%b}'),
            ("POST", "/search", b'{"vector":%b,"limit":1}'),
        ):
            plain.refusal(400, method, path, body % vector)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "nan"])
def test_a_payload_cannot_hold_what_is_not_a_json_number(plain: Collection, number: str) -> None:
    with plain.unchanged():
        plain.refusal(400, "PUT", "", b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"n":%b}}]}' % number.encode())
        plain.refusal(400, "POST", "/payload", b'{"points":[1],"payload":{"n":%b}}' % number.encode())


@pytest.mark.parametrize("wait", ["true", "false"])
@pytest.mark.parametrize("vector", [[1, 2, 3], [1, 2, 3, 4, 5], []], ids=len)
def test_a_wrong_dimension_is_refused_before_anything_is_written(
    plain: Collection, vector: list[int], wait: str
) -> None:
    good, wrong = {"id": 9, "vector": [1, 2, 3, 4]}, {"id": 1, "vector": vector}
    expected = f"Wrong input: Vector dimension error: expected dim: 4, got {len(vector)}"
    with plain.unchanged():
        for method, path, body in (
            ("PUT", "", {"points": [good, wrong]}),
            ("PUT", "", {"points": [wrong]}),
            ("PUT", "", {"points": [{"id": 1, "vector": {"": vector}}]}),
            ("PUT", "", {"batch": {"ids": [9, 1], "vectors": [[1, 2, 3, 4], vector]}}),
            ("PUT", "/vectors", {"points": [wrong]}),
            ("POST", "/batch", {"operations": [{"upsert": {"points": [good]}}, {"upsert": {"points": [wrong]}}]}),
        ):  # fmt: skip
            if vector or path != "/vectors":  # an update with nothing is another error
                assert plain.refusal(400, method, path, body, wait=wait) == expected


def test_a_query_of_a_wrong_dimension_is_400_and_an_empty_one_422(plain: Collection) -> None:
    expected = "Wrong input: Vector dimension error: expected dim: 4, got 3"
    assert plain.refusal(400, "POST", "/query", {"query": [1, 2, 3]}) == expected
    assert plain.refusal(400, "POST", "/search", {"vector": [1, 2, 3], "limit": 1}) == expected
    assert "Validation error in JSON body" in plain.refusal(422, "POST", "/query", {"query": []})


@pytest.mark.parametrize("wait", ["true", "false"])
def test_an_unknown_vector_name_is_refused_before_anything_is_written(plain: Collection, wait: str) -> None:
    with plain.unchanged():
        for method, path, body in (
            ("PUT", "", {"points": [{"id": 9, "vector": [1, 2, 3, 4]}, {"id": 1, "vector": {"x": [1]}}]}),
            ("PUT", "", {"batch": {"ids": [1], "vectors": {"x": [[1]]}}}),
            ("PUT", "/vectors", {"points": [{"id": 1, "vector": {"x": [1]}}]}),
            ("POST", "/vectors/delete", {"points": [1], "vector": ["x"]}),
        ):
            message = plain.refusal(400, method, path, body, wait=wait)
            assert message == "Wrong input: Not existing vector name error: x"
        message = plain.refusal(400, "POST", "/query", {"query": [1, 2, 3, 4], "using": "x"})
        assert message == "Wrong input: Not existing vector name error: x"


def test_named_vectors_have_no_unnamed_one(named: Collection) -> None:
    with named.unchanged():
        body = {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}
        assert named.refusal(400, "PUT", "", body) == "Wrong input: Not existing vector name error: "


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query", {"query": [1, 2, 3, 4]}),
        ("/query", {"query": 1}),
        ("/query", {"query": {"recommend": {"positive": [1], "strategy": "best_score"}}}),
        ("/query/batch", {"searches": [{"query": [1, 2, 3, 4]}] * 2}),
        ("/query/groups", {"query": [1, 2, 3, 4], "group_by": "n"}),
        ("/search", {"vector": [1, 2, 3, 4], "limit": 1}),
        ("/search/matrix/pairs", {}),
    ],
)
def test_a_query_without_a_name_is_told_the_names_dense_ones_first(
    create: Create, path: str, body: dict[str, Any]
) -> None:
    dense = {name: {"size": 4, "distance": "Dot"} for name in ("text", "image")}
    collection = create(vectors=dense, sparse_vectors={"words": {}, "bags": {}})
    names = "image, text, bags, words"
    assert collection.refusal(400, "POST", path, body) == (
        f"Wrong input: Collection requires specified vector name in the request, available names: {names}"
    )


@pytest.mark.parametrize(
    "vector",
    [None, "text", "1234", 7, True, [None], ["1", "2", "3", "4"], [[1, 2, 3, 4]], [1, [2], 3, 4], [True] * 4,
     {"": None}, {"": "1234"}, {"": 5}, {"": {}}, {"": {"indices": [1], "values": [1]}}, {"": [[1, 2, 3, 4]]},
     {"text": "a", "model": "b"}, {"": {"text": "a", "model": "b"}}, {"indices": [1], "values": [1]}],
    ids=repr,
)  # fmt: skip
def test_what_is_no_dense_vector_is_refused_and_changes_nothing(plain: Collection, vector: Any) -> None:
    good = {"id": 9, "vector": [1, 2, 3, 4]}
    with plain.unchanged():
        plain.refusal(400, "PUT", "", {"points": [good, {"id": 1, "vector": vector}]})
        plain.refusal(400, "PUT", "", {"points": [{"id": 1, "vector": vector}]})
        plain.refusal(400, "PUT", "/vectors", {"points": [{"id": 1, "vector": vector}]})


def test_a_text_is_no_vector_of_one_dimension(create: Create) -> None:
    collection = create(vectors={"size": 1, "distance": "Dot"})
    with collection.unchanged():
        collection.refusal(400, "PUT", "", {"points": [{"id": 1, "vector": {"": "5"}}]})
        collection.refusal(400, "PUT", "", {"points": [{"id": 1, "vector": [1]}, {"id": 2, "vector": {"": None}}]})


@pytest.mark.parametrize(
    ("status", "path", "body", "message"),
    [
        (422, "/query", {"limit": 0}, "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]"),
        (400, "/query", {"limit": -1}, "Format error in JSON body"),
        (400, "/query", {"offset": -1}, "Format error in JSON body"),
        (400, "/query", {"limit": "5"}, "Format error in JSON body"),
        (422, "/query", {"query": [1, 2, 3, 4], "params": {"hnsw_ef": 0}}, "params.hnsw_ef: value 0 invalid"),
        (400, "/query", {"query": [1, 2, 3, 4], "params": {"exact": "yes"}}, "Format error in JSON body"),
        (400, "/query", {"query": [1, 2, 3, 4], "score_threshold": "high"}, "Format error in JSON body"),
        (422, "/query", {"query": [1, 2, 3, 4], "params": {"quantization": {"oversampling": 0.5}}}, "oversampling"),
        (422, "/vectors/delete", {"points": [1], "vector": []}, "Validation error in JSON body: [vector:"),
        (400, "/payload", {"payload": {"a": 1}}, NO_SELECTOR),
        (400, "/payload/delete", {"keys": ["a"]}, NO_SELECTOR),
        (400, "/batch", {"operations": [{"overwrite_payload": {"payload": {}}}]}, NO_SELECTOR),
        (400, "/vectors/delete", {"vector": [""]}, "Bad request: No filter or points provided"),
        (400, "/payload/clear", {}, "Format error in JSON body"),
        (400, "/delete", {}, "Format error in JSON body"),
        (400, "/payload", {"points": [1]}, "Format error in JSON body"),
        (400, "/payload/delete", {"points": [1]}, "Format error in JSON body"),
        (400, "", {"with_payload": True}, "Format error in JSON body"),
        (400, "/batch", {}, "Format error in JSON body"),
        (400, "/delete", {"points": [1], "shard_key": "a"}, "shard_key"),
    ],
)
def test_a_wrong_field_is_refused_by_its_place_and_changes_nothing(
    plain: Collection, status: int, path: str, body: dict[str, Any], message: str
) -> None:
    with plain.unchanged():
        assert message in plain.refusal(status, "POST", path, body)


def test_unknown_fields_are_ignored(plain: Collection) -> None:
    plain.change("PUT", "", {"points": [{"id": 9, "vector": [1, 2, 3, 4], "colour": "red"}], "extra": 1})
    assert plain.get(9)["payload"] == {}
    assert len(plain.query(query=[1, 1, 1, 1], params={"exact": True, "speed": "high"}, mood="good")) == 4


def test_an_update_of_no_vectors_is_a_validation_error_with_its_place(create: Create) -> None:
    collection = create(vectors={"a": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}})
    collection.upsert({"id": 1, "vector": {"a": [1]}})
    empty: dict[str, Any] = {"indices": [], "values": []}
    nothing: list[Any] = [{}, [], {"s": empty}, {"a": [], "s": empty}]
    with collection.unchanged():
        for vector in nothing:
            for name in ("vector", "vectors"):
                points = [{"id": 1, "vector": {"a": [2]}}, {"id": 1, name: vector}]
                message = collection.refusal(422, "PUT", "/vectors", {"points": points}, wait="true")
                assert message == (
                    "Validation error in JSON body: [points[1].vector: must specify vectors to update for point]"
                )
    collection.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"a": [2], "s": empty}}]})
    assert collection.get(1)["vector"]["a"] == [2.0]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"ids": [1, 2], "vectors": [[1, 2, 3, 4]]}, "number of ids and vectors must be equal (2 != 1)"),
        ({"ids": [1], "vectors": {"": [[1, 2, 3, 4]] * 2}}, "number of ids and vectors must be equal (1 != 2)"),
        (
            {"ids": [1], "vectors": [[1, 2, 3, 4]], "payloads": []},
            "number of ids and payloads must be equal (1 != 0)",
        ),
    ],
)
def test_columns_of_unequal_lengths_are_a_validation_error(
    plain: Collection, batch: dict[str, Any], message: str
) -> None:
    with plain.unchanged():
        for method, path, body in (
            ("PUT", "", {"batch": batch}),
            ("POST", "/batch", {"operations": [{"upsert": {"batch": batch}}]}),
        ):
            refusal = plain.refusal(422, method, path, body, wait="true")
            assert refusal == f"Validation error in JSON body: [batch: {message}]"


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ("wait=maybe", 400, "Deserialize error in query parameters: "),
        ("timeout=-1", 400, "Deserialize error in query parameters: timeout: invalid value: integer `-1`"),
        ("timeout=0", 422, "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]"),
    ],
)
def test_a_wrong_query_parameter_is_told_apart_from_a_wrong_body(
    plain: Collection, params: str, status: int, message: str
) -> None:
    assert plain.client.refusal(status, "POST", f"{plain.path}/points/delete?{params}", {"points": [1]}).startswith(
        message
    )


def test_a_wrong_collection_name_is_told_as_a_path_parameter(client: Client) -> None:
    message = client.refusal(422, "PUT", "/collections/a:b", UNNAMED_4)
    place = "collection_name: collection name cannot contain"
    assert message == f'Validation error in path parameters: [{place} ":" char]'


@pytest.mark.parametrize("params", ["wait=maybe", "ordering=mild", "timeout=-1", "timeout=soon", "timeout=0"])
def test_wrong_query_parameters_are_refused_and_change_nothing(plain: Collection, params: str) -> None:
    with plain.unchanged():
        response = plain.client.send("POST", f"{plain.path}/points/delete?{params}", {"points": [1]})
        assert response.status_code in (400, 422), response.text


def test_a_trailing_comma_in_a_large_body_is_refused_and_changes_nothing(plain: Collection) -> None:
    """Large bodies are decoded slice by slice: what is wrong at the end must undo what was read before."""
    points = b",".join(b'{"id":%d,"vector":[1,2,3,4],"payload":{"a":[{"b":1}, {"c":2}]}}' % i for i in range(100, 9000))
    head, whole = b'{"points":[', b'{"points":[' + points + b"]}"
    wrong_bodies = (
        head + points + b",]}",
        head + points + b"],}",
        head + b"," + points + b"]}",
        head + points,
        whole + b"{}",
        whole.replace(b'"id":8500,', b'"id":-1,'),
        whole.replace(b'"id":8500,', b'"id":"x",'),
        whole.replace(b'"id":4500,', b'"id":null,'),
        whole.replace(b'"id":4500,', b""),
        whole.replace(b'"id":8500,"vector":[1,2,3,4]', b'"id":8500,"vector":[1,2,3]'),
        whole.replace(b'"id":8500,"vector":[1,2,3,4]', b'"id":8500,"vector":[1,2,3,1e39]'),
        whole.replace(b'"id":8500,"vector":[1,2,3,4]', b'"id":8500,"vector":{"":null}'),
        whole.replace(b'"id":8500,', b'"id":8500,,'),
        whole.replace(b'{"id":8500,', b'{"id":8500,"payload":{"a":NaN},'),
        whole.replace(b'{"c":2}]}},{"id":4500,', b'{"c":2}]}} {"id":4500,'),
    )
    with plain.unchanged():
        for body in wrong_bodies:
            assert body != whole
            plain.refusal(400, "PUT", "", body, wait="true")
    plain.change("PUT", "", whole)
    assert plain.count() == 8903


def test_an_unknown_route_is_404_and_a_wrong_method_405_in_the_envelope(client: Client, plain: Collection) -> None:
    for path in ("/nope", "/collections/a/b/c", f"{plain.path}/nope", f"{plain.path}/points/1/2"):
        client.refusal(404, "GET", path)
    for method, path in (
        ("POST", plain.path),
        ("PATCH", "/collections"),
        ("DELETE", f"{plain.path}/points"),
        ("GET", f"{plain.path}/points/query/batch"),
        ("PUT", "/"),
        ("OPTIONS", "/collections"),
    ):
        client.refusal(405, method, path)


def test_a_status_has_its_phrase(client: Client) -> None:
    assert status_line(client, "GET", "/collections") == (200, "OK")
    assert status_line(client, "GET", "/nope") == (404, "Not Found")
    assert status_line(client, "PUT", "/") == (405, "Method Not Allowed")
    assert status_line(client, "no HTTP\x00", "/") == (400, "Bad Request")


def test_doubled_and_trailing_slashes_are_the_same_path(plain: Collection) -> None:
    slashed = plain.client.result("POST", f"{plain.path}//points///count/", {})
    assert slashed == {"count": 3}


# A name as it stands in a URL, and whether a new collection is refused it (422) or the path is another one (404).
STRANGE_NAMES = [
    ("..", 422),
    ("%2e%2e", 422),
    ("%2e", 422),
    ("..%2f..%2fetc", 404),
    ("a%2fb", 404),
    ("a%5cb", 422),
    ("%00", 422),
    ("a%00b", 422),
    ("a%0ab", 422),
    ("%7f", 422),
    ("%ff", 422),
    ("%c3%28", 422),
    ("x" * 300, 422),
    ("x" * 256, 422),
    ("%3f", 422),
    ("a%3ab", 422),
    ("a%2ab", 422),
    ("%3cscript%3e", 422),
]


@pytest.mark.parametrize(("name", "status"), STRANGE_NAMES)
def test_a_strange_name_is_refused_and_makes_nothing(plain: Collection, name: str, status: int) -> None:
    with plain.unchanged():
        assert (
            raw_status(plain.client, "PUT", f"/collections/{name}", b'{"vectors":{"size":4,"distance":"Dot"}}')
            == status
        )
        assert raw_status(plain.client, "GET", f"/collections/{name}") == 404
        assert raw_status(plain.client, "PUT", f"/collections/{name}/points", b'{"points":[]}') == 404


@pytest.mark.parametrize("name", ["x" * 255, "Grüße 世界", "a.b", "-", "CON", "a b", "'; DROP TABLE collections; --"])
def test_an_unusual_name_is_as_good_as_any(client: Client, name: str) -> None:
    collection = client.create(name, **UNNAMED_4)
    collection.upsert({"id": 1, "vector": [1, 2, 3, 4]})
    assert collection.count() == 1
    assert {"name": name} in client.result("GET", "/collections")["collections"]
    assert client.result("DELETE", collection.path) is True


def raw_status(client: Client, method: str, path: str, body: bytes = b"") -> int:
    """The status of a request whose path is sent as it stands: clients tidy paths up."""
    code, phrase = status_line(client, method, path, body)
    assert phrase == HTTPStatus(code).phrase
    return code


def status_line(client: Client, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: vdb\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    _, code, phrase = answer.partition(b"\r\n")[0].decode().split(" ", 2)
    return int(code), phrase


def test_a_body_of_33_mebibytes_is_413_in_the_envelope_and_the_server_answers_on(plain: Collection) -> None:
    with plain.unchanged():
        message = plain.refusal(413, "PUT", "", b"[" + b"1" * 33 * MEBIBYTE)
        assert "max_request_size_mb" in message
    plain.upsert({"id": 9, "vector": [1, 2, 3, 4]})


def test_a_chunked_body_of_33_mebibytes_is_413_in_the_envelope_and_the_server_answers_on(plain: Collection) -> None:
    with plain.unchanged():
        message = plain.refusal(413, "PUT", "", (b" " * MEBIBYTE for _ in range(33)))
        assert "max_request_size_mb" in message
    plain.upsert({"id": 9, "vector": [1, 2, 3, 4]})


def test_a_body_just_below_the_limit_is_read(plain: Collection) -> None:
    body = b'{"points":[{"id":9,"vector":[1,2,3,4],"payload":{"text":"%b"}}]}' % (b"x" * 31 * MEBIBYTE)
    plain.change("PUT", "", body)
    assert len(plain.get(9)["payload"]["text"]) == 31 * MEBIBYTE


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(plain: Collection) -> None:
    """Once, a body that is too large and then ends early ended the whole server."""
    host, port = plain.client.url.removeprefix("http://").split(":")
    head = f"PUT {plain.path}/points HTTP/1.1\r\nHost: vdb\r\nContent-Length: ".encode()
    with plain.unchanged():
        for _ in range(50):
            for length in (b"1000", b"100000000", b"-1", b"x"):
                with socket.create_connection((host, int(port)), timeout=30) as connection:
                    connection.sendall(head + length + b"\r\n\r\n{")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"\x16\x03\x01 not HTTP at all\r\n\r\n")
