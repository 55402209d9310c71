"""Payloads over HTTP: set, overwritten, deleted, selected."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Collection

STRANGE: dict[str, Any] = {
    "": "empty key",
    "a.b[c]": "a key that looks like a path",
    "nul": "\u0000\u001e\u001f",
    "quotes": "\"'\\`",
    "text": "Grüße, 世界, \U0001f642",
    "numbers": [0, -1, 2**53 + 1, -(2**63), 2**64 - 1, 1.5, 1e308, -0.0],
    "nothing": None,
    "nested": {"list": [[], {}, [{"deep": [True, False, None]}]]},
}


def payload_of(collection: Collection, point_id: int) -> Any:
    return collection.get(point_id)["payload"]


def test_any_json_object_comes_back_as_it_was(plain: Collection) -> None:
    plain.upsert({"id": 1, "vector": [1, 2, 3, 4], "payload": STRANGE})
    assert payload_of(plain, 1) == STRANGE
    plain.change("PUT", "/payload", {"points": [2], "payload": STRANGE})
    assert payload_of(plain, 2) == STRANGE
    plain.change("PUT", "", {"batch": {"ids": [3], "vectors": [[1, 2, 3, 4]], "payloads": [STRANGE]}})
    assert payload_of(plain, 3) == STRANGE


@pytest.mark.parametrize("digits", [20, 30, 300])
def test_integers_beyond_64_bits_become_floats_everywhere(plain: Collection, digits: int) -> None:
    number = b"1" + b"0" * digits
    body = b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":{"n":%b}}]}' % number
    plain.change("PUT", "", body)
    assert payload_of(plain, 1) == {"n": float(10**digits)}
    plain.change("PUT", "/payload", b'{"points":[2],"payload":{"n":%b}}' % number)
    assert payload_of(plain, 2) == {"n": float(10**digits)}
    plain.change("PUT", "", b'{"batch":{"ids":[3],"vectors":[[1,2,3,4]],"payloads":[{"n":%b}]}}' % number)
    assert payload_of(plain, 3) == {"n": float(10**digits)}


def test_set_merges_and_overwrite_replaces(plain: Collection) -> None:
    plain.change("POST", "/payload", {"points": [1, 2], "payload": {"city": "Oslo", "new": [1]}})
    assert payload_of(plain, 1) == {"city": "Oslo", "tags": ["a", "b"], "new": [1]}
    assert payload_of(plain, 2) == {"city": "Oslo", "size": {"height": 3, "width": 4}, "new": [1]}
    plain.change("PUT", "/payload", {"points": [1], "payload": {"only": 1}})
    assert payload_of(plain, 1) == {"only": 1}


def test_set_at_a_path_merges_into_what_is_there(plain: Collection) -> None:
    plain.change("POST", "/payload", {"points": [2], "payload": {"width": 5, "depth": 6}, "key": "size"})
    assert payload_of(plain, 2) == {"city": "Rome", "size": {"height": 3, "width": 5, "depth": 6}}
    plain.change("POST", "/payload", {"points": [3], "payload": {"x": 1}, "key": "a.b"})
    assert payload_of(plain, 3) == {"a": {"b": {"x": 1}}}


def test_keys_are_deleted_by_path_and_missing_ones_are_fine(plain: Collection) -> None:
    plain.change("POST", "/payload/delete", {"points": [1, 2], "keys": ["city", "size.height", "nope.nope"]})
    assert payload_of(plain, 1) == {"tags": ["a", "b"]}
    assert payload_of(plain, 2) == {"size": {"width": 4}}


def test_clear_leaves_an_empty_payload_and_the_vector(plain: Collection) -> None:
    plain.change("POST", "/payload/clear", {"points": [1]})
    assert plain.get(1) == {"id": 1, "payload": {}, "vector": [1.0, 0.0, 0.0, 0.0]}


@pytest.mark.parametrize("key", ["", "a[b", "a..b", "a[1", "[0]", '"open', "x" * 10_000, "a" + ".b" * 500])
def test_a_wrong_path_is_refused_and_changes_nothing(plain: Collection, key: str) -> None:
    with plain.unchanged():
        plain.refusal(400, "POST", "/payload", {"points": [1], "payload": {"a": 1}, "key": key})
        plain.refusal(400, "POST", "/payload/delete", {"points": [1], "keys": ["city", key]})
        plain.refusal(400, "POST", "/scroll", {"with_payload": [key]})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (True, {"city": "Rome", "size": {"height": 3, "width": 4}}),
        (["city"], {"city": "Rome"}),
        (["size.width"], {"size": {"width": 4}}),
        ({"include": ["city", "nope"]}, {"city": "Rome"}),
        ({"exclude": ["city"]}, {"size": {"height": 3, "width": 4}}),
        ({"exclude": ["size.width"]}, {"city": "Rome", "size": {"height": 3}}),
        ([], {}),
    ],
    ids=str,
)
def test_with_payload_selects_the_same_in_every_read(plain: Collection, selector: Any, expected: Any) -> None:
    (record,) = plain.points("POST", "", {"ids": [2], "with_payload": selector})
    assert record == {"id": 2, "payload": expected}
    page = plain.points("POST", "/scroll", {"offset": 2, "limit": 1, "with_payload": selector})
    assert page["points"] == [record]
    assert plain.query(query=[0, 1, 0, 0], limit=1, with_payload=selector)[0]["payload"] == expected


def test_without_payload_there_is_no_key(plain: Collection) -> None:
    assert plain.points("POST", "", {"ids": [2], "with_payload": False}) == [{"id": 2}]
    assert "payload" not in plain.query(query=[0, 1, 0, 0], limit=1)[0]
    assert "payload" not in plain.query(query=[0, 1, 0, 0], limit=1, with_payload=False)[0]


@pytest.mark.parametrize("selector", [7, "city", {"include": ["a"], "exclude": ["b"]}, {}, {"only": []}, [1], [["a"]]])
def test_a_selector_that_is_none_is_a_format_error(plain: Collection, selector: Any) -> None:
    assert "Format error in JSON body" in plain.refusal(400, "POST", "/scroll", {"with_payload": selector})


@pytest.mark.parametrize("payload", [b"7", b"[]", b'"text"', b"true"])
def test_a_payload_that_is_no_object_is_refused_and_changes_nothing(plain: Collection, payload: bytes) -> None:
    with plain.unchanged():
        plain.refusal(400, "PUT", "", b'{"points":[{"id":1,"vector":[1,2,3,4],"payload":%b}]}' % payload)
        plain.refusal(400, "POST", "/payload", b'{"points":[1],"payload":%b}' % payload)
        plain.refusal(400, "PUT", "/payload", b'{"points":[1],"payload":%b}' % payload)
        plain.refusal(400, "PUT", "", b'{"batch":{"ids":[1],"vectors":[[1,2,3,4]],"payloads":[%b]}}' % payload)


def test_a_payload_that_grows_too_deep_by_paths_is_refused_and_the_collection_goes_on(plain: Collection) -> None:
    """Each request is shallow; their sum could not be written as JSON any more, and must not stop the collection."""
    deep = b'{"points":[1,2],"payload":{"a":' + b"[" * 240 + b"]" * 240 + b"}}"
    plain.change("PUT", "/payload", deep)
    path = ".".join("k" * 30)
    with plain.unchanged():
        message = plain.refusal(400, "POST", "/payload", deep[:-1] + b',"key":"%b"}' % path.encode(), wait="true")
    assert "payload" in message
    plain.change("POST", "/payload", {"points": [1], "payload": {"still": "alive"}})
    assert plain.info()["status"] == "green"
