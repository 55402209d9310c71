"""Paths into payloads: what they reach, what they set and delete, and which are none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb.errors import BadRequest
from vdb.model.json_path import InvalidJsonPath, JsonPath, delete_at, parse_path, set_at, values_at

PAYLOAD: dict[str, Any] = {
    "a": {"b": 1, "c": {"d": [1, 2]}},
    "list": [{"b": 1}, {"b": [2, 3]}, {"c": 4}, 5, None],
    "grid": [[1, 2], [3]],
    "a.b": "dotted",
    "": "empty",
    "with space": True,
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a.b", [1]),
        ("a.c.d", [[1, 2]]),
        ("a.c.d[]", [1, 2]),
        ("a.c.d[1]", [2]),
        ("a.c.d[2]", []),
        ('"a.b"', ["dotted"]),
        ('"a"."b"', [1]),
        ('""', ["empty"]),
        ('"with space"', [True]),
        ("list[].b", [1, [2, 3]]),
        ("list[1].b[0]", [2]),
        ("list.b", []),
        ("a[].b", []),
        ("grid[][]", [1, 2, 3]),
        ("grid[][0]", [1, 3]),
        ("list[4]", [None]),
        ("nothing", []),
        ("nothing.at[0].all[]", []),
    ],
)
def test_a_path_reaches_its_values_in_order(path: str, values: list[Any]) -> None:
    assert values_at(PAYLOAD, parse_path(path)) == values


@pytest.mark.parametrize(
    "path",
    [
        *["", "a[", "a]", "a.", ".a", "a..b", "a[b]", "a[-1]", "a[ 0 ]", '"a', 'a"b"', '"a"b', "a[0]b", "[]", "a b"],
        *["a\0", "😀", "a['; DROP TABLE points; --']", "a[99999999999]", "a" + "[]" * 128, "a" * 5000],
    ],
)
def test_what_is_no_path_is_refused_and_named(path: str) -> None:
    with pytest.raises(InvalidJsonPath) as refused:
        parse_path(path)
    assert isinstance(refused.value, BadRequest)
    assert path[:50] in str(refused.value)


@given(
    st.text(st.characters(exclude_characters='"'), max_size=5),
    st.lists(st.none() | st.integers(0, 99) | st.text(st.characters(exclude_characters='"'), max_size=5), max_size=5),
)
def test_a_path_survives_its_spelling(first: str, rest: list[str | int | None]) -> None:
    path = JsonPath(first, tuple(rest))
    assert parse_path(str(path)) == path


def test_one_path_has_one_spelling() -> None:
    assert str(parse_path('"a"."b c"[]."d"[2]')) == 'a."b c"[].d[2]'


@pytest.mark.parametrize(
    ("payload", "key", "expected"),
    [
        ({}, None, {"z": 9}),
        ({"a": 1, "z": 0}, None, {"a": 1, "z": 9}),
        ({}, "a.b", {"a": {"b": {"z": 9}}}),
        ({"a": {"x": 1, "z": 0}}, "a", {"a": {"x": 1, "z": 9}}),
        ({"a": 1}, "a.b", {"a": {"b": {"z": 9}}}),
        ({"a": [1]}, "a", {"a": {"z": 9}}),
        ({}, "a[0]", {"a": []}),
        ({"a": {"x": 1}}, "a[]", {"a": []}),
        ({"a": [1, {"x": 1}]}, "a[]", {"a": [{"z": 9}, {"x": 1, "z": 9}]}),
        ({"a": [1, {"x": 1}]}, "a[1]", {"a": [1, {"x": 1, "z": 9}]}),
        ({"a": [1]}, "a[1]", {"a": [1]}),
        ({"a": [{"x": 1}]}, "a[].b", {"a": [{"x": 1, "b": {"z": 9}}]}),
        ({"a": [[{"x": 1}]]}, "a[][]", {"a": [[{"x": 1, "z": 9}]]}),
        ({"a": [1, 2]}, "a[][]", {"a": [[], []]}),
    ],
)
def test_set_merges_at_its_key(payload: dict[str, Any], key: str | None, expected: dict[str, Any]) -> None:
    set_at(payload, None if key is None else parse_path(key), {"z": 9})
    assert payload == expected


def test_set_replaces_whole_values_and_removes_those_set_to_null() -> None:
    payload: dict[str, Any] = {"a": {"x": {"p": 1}, "y": 1}, "b": 2}
    set_at(payload, parse_path("a"), {"x": {"q": 1}, "y": None})
    set_at(payload, None, {"b": None})
    assert payload == {"a": {"x": {"q": 1}}}


def test_elements_that_were_set_together_change_apart() -> None:
    payload: dict[str, Any] = {"items": [{}, {}]}
    set_at(payload, parse_path("items[]"), {"meta": {"color": "blue"}})
    set_at(payload, parse_path("items[0].meta"), {"color": "red"})
    assert payload == {"items": [{"meta": {"color": "red"}}, {"meta": {"color": "blue"}}]}


@pytest.mark.parametrize(
    ("payload", "path", "expected"),
    [
        ({"a": {"b": 1, "c": 2}, "d": 1}, "a", {"d": 1}),
        ({"a": {"b": 1, "c": 2}, "d": 1}, "a.b", {"a": {"c": 2}, "d": 1}),
        ({"a": {"b": 1}}, "a.b.c", {"a": {"b": 1}}),
        ({"a.b": 1, "a": {"b": 2}}, '"a.b"', {"a": {"b": 2}}),
        ({"a": [{"b": 1, "c": 1}, {"b": 2}, 3]}, "a[].b", {"a": [{"c": 1}, {}, 3]}),
        ({"a": [{"b": 1}, {"b": 2}]}, "a[1].b", {"a": [{"b": 1}, {}]}),
        ({"a": [{"b": 1}]}, "a.b", {"a": [{"b": 1}]}),
        ({"a": [1, 2]}, "a[]", {"a": []}),
        ({"a": [[1, 2], [3]]}, "a[][]", {"a": [[], []]}),
        ({"a": [1, 2]}, "a[0]", {"a": [1, 2]}),
        ({"a": 1}, "x.y", {"a": 1}),
    ],
)
def test_delete_removes_what_the_path_names(payload: dict[str, Any], path: str, expected: dict[str, Any]) -> None:
    delete_at(payload, parse_path(path))
    assert payload == expected


JSON = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
STEPS = st.lists(st.none() | st.integers(0, 2) | st.sampled_from("abc"), max_size=4)


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.sampled_from("abc"), STEPS)
def test_any_payload_takes_any_path(payload: dict[str, Any], first: str, rest: list[Any]) -> None:
    path = JsonPath(first, tuple(rest))
    before = copy.deepcopy(payload)
    values_at(payload, path)
    assert payload == before
    set_at(payload, path, {"z": 1})
    assert all(value["z"] == 1 for value in values_at(payload, path))
    delete_at(payload, path)
    if isinstance(path.steps[-1], str):
        assert values_at(payload, path) == []
