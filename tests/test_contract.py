"""The checker that every HTTP test passes its answers to."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import pytest

from tests.contract import check_response
from vdb.api.openapi import document
from vdb.api.routing import Call, Plain, Routes


class Leaf(msgspec.Struct, kw_only=True):
    size: int
    colour: Literal["green", "red"] = "green"
    place: tuple[float, float] | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET


class Branch(msgspec.Struct, kw_only=True):
    nodes: list[Node]


class Node:
    alternatives = (Leaf, Branch, Literal["bud"], list[float])


class UploadParams(msgspec.Struct, frozen=True):
    wait: bool = False


async def get_leaf(call: Call) -> Any: ...


async def get_tree(call: Call) -> Any: ...


async def grow(call: Call) -> Any: ...


async def healthz(call: Call) -> Any: ...


async def get_file(call: Call) -> Any: ...


async def upload(call: Call) -> Any: ...


async def old(call: Call) -> Any: ...


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    trees, snapshots = Routes("Trees"), Routes("Snapshots")
    trees.add("GET", "/leaves/{leaf_id}", summary="One leaf", access="read", result=Leaf | None)(get_leaf)
    trees.add("GET", "/trees/{tree_name}", summary="One tree", access="read", result=Branch)(get_tree)
    trees.add("POST", "/trees/grow", summary="Grow", access="read", result=list[Leaf])(grow)
    trees.add("GET", "/healthz", summary="Health", access="read", result=Plain, enveloped=False)(healthz)
    trees.add("GET", "/file", summary="A file", access="read", result=bytes, enveloped=False)(get_file)
    trees.add("POST", "/old", summary="For older clients", access="read", documented=False)(old)
    snapshots.add("PUT", "/snapshots", summary="Upload", access="read", params=UploadParams)(upload)
    return document([*trees.table, *snapshots.table], "1")


LEAF: dict[str, Any] = {"size": 3, "place": [0.5, 1]}


def answer(result: Any, **extra: Any) -> bytes:
    return json.dumps({"result": result, "status": "ok", "time": 0.1, **extra}).encode()


ERROR = b'{"status": {"error": "no"}, "time": 0.1}'


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        ("GET", "/leaves/7", 200, "application/json", answer(LEAF)),
        ("GET", "/leaves/7?wait=true", 200, "application/json; charset=utf-8", answer(None, usage=None)),
        ("GET", "//leaves/7/", 200, "application/json", answer(LEAF)),
        ("POST", "/trees/grow", 200, "application/json", answer([LEAF])),
        ("GET", "/trees/grow", 200, "application/json", answer({"nodes": [LEAF, "bud", [0.1], {"nodes": []}]})),
        ("GET", "/leaves/7", 404, "application/json", ERROR),
        ("GET", "/leaves/7", 503, "application/json", ERROR),
        ("GET", "/leaves/7", 401, "text/plain", b"no"),
        ("GET", "/healthz", 200, "text/plain", b"fine"),
        ("GET", "/file", 200, "application/octet-stream", b"\x00"),
        ("PUT", "/snapshots", 202, "application/json", b'{"status": "accepted", "time": 0.1}'),
        ("POST", "/old", 200, "application/json", b"whatever"),
        ("PATCH", "/leaves/7", 405, "application/json", ERROR),
        ("GET", "/nowhere", 401, "text/plain", b"no"),
    ],
)
def test_an_answer_that_fits_passes(
    spec: dict[str, Any], method: str, path: str, status: int, content_type: str, body: bytes
) -> None:
    check_response(spec, method, path, status, content_type, body)


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body", "complaint"),
    [
        ("/leaves/7", 200, "application/json", answer({**LEAF, "size": "3"}), "size.*'integer'"),
        ("/leaves/7", 200, "application/json", answer({"colour": "red"}), "'size' is a required property"),
        ("/leaves/7", 200, "application/json", answer({**LEAF, "age": 1}), "age"),
        ("/leaves/7", 200, "application/json", answer({**LEAF, "note": None}), "note"),
        ("/leaves/7", 200, "application/json", answer({**LEAF, "place": [1, 2, 3]}), "place"),
        ("/leaves/7", 200, "application/json", answer(LEAF, more=1), "more"),
        ("/leaves/7", 200, "application/json", b'{"status": "ok", "time": 0.1}', "'result' is a required property"),
        ("/leaves/7", 200, "application/json", b"{", "not JSON"),
        ("/leaves/7", 200, "text/html", answer(LEAF), "content type 'text/html'"),
        ("/leaves/7", 204, "application/json", answer(LEAF), "no such status"),
        ("/leaves/7", 404, "application/json", answer(LEAF), "result"),
        ("/leaves/7", 404, "text/html", b"<html>", "content type 'text/html'"),
        ("/nowhere", 404, "application/json", b'{"detail": "no"}', "detail"),
    ],
)
def test_an_answer_that_does_not_fit_fails_with_the_place(
    spec: dict[str, Any], path: str, status: int, content_type: str, body: bytes, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=f"(?s)GET {path} -> {status}.*{complaint}"):
        check_response(spec, "GET", path, status, content_type, body)
