"""Tokens: what they must be signed with, what their claims say, and when they stop."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.http.running_server import RunningServer, serving
from tests.security.conftest import ALT_API_KEY, API_KEY, Caller, fill, granted, token
from vdb.api.tokens import LEEWAY_S, REMEMBERED_MAX, Tokens
from vdb.errors import Unauthorized

MakeCaller = Callable[[str | None], Caller]
INVALID = "Invalid API key or JWT"


def unsigned(claims: dict[str, Any], header: Any) -> str:
    def part(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}."


@pytest.fixture(scope="module", autouse=True)
def _collections(guarded: RunningServer) -> None:
    manager = Caller(guarded.url, API_KEY)
    fill(manager, "first", p1={"owner": "me"})
    fill(manager, "second", p1={"owner": "you"})
    manager.result(
        "POST",
        "/collections/aliases",
        {"actions": [{"create_alias": {"collection_name": "first", "alias_name": "other name"}}]},
    )
    manager.close()


def test_a_token_without_claims_may_do_everything(caller: MakeCaller) -> None:
    assert caller(token()).result("PATCH", "/collections/first", {"optimizers_config": {}}) is True


def test_global_access_is_to_read_or_to_manage(caller: MakeCaller) -> None:
    reader, manager = caller(token(access="r")), caller(token(access="m"))
    assert len(reader.result("GET", "/collections")["collections"]) >= 2
    assert reader.refused("PUT", "/collections/third", {}) == "Forbidden: Global manage access is required"
    assert manager.result("PATCH", "/collections/first", {"optimizers_config": {}}) is True


@pytest.mark.parametrize(
    "forged",
    [
        token("another key that is long enough to be one"),
        token(ALT_API_KEY + " " * 32),
        token(API_KEY, "HS512"),
        unsigned({"access": "m"}, {"alg": "none", "typ": "JWT"}),
        unsigned({"access": "m"}, {"alg": "HS256", "typ": "JWT"}),
        unsigned({}, "[" * 10_000),
        unsigned({}, '{"alg":"HS256","b64":false,"crit":["b64"]}'),
        token(access="m")[:-2],
        token(access="m") + "x",
        token(access="m").replace(".", "..", 1),
    ],
)
def test_what_is_not_signed_with_the_key_is_no_token(caller: MakeCaller, forged: str) -> None:
    assert caller(forged).unauthorized("GET", "/collections") == INVALID


@pytest.mark.parametrize(
    ("claims", "complaint"),
    [
        ({"acces": "r"}, "unknown field `acces`"),
        ({"access": "w"}, "Invalid enum value 'w'"),
        ({"access": None}, "access"),
        ({"access": [{"collection": "first"}]}, "missing required field `access`"),
        ({"access": [{"collection": "first", "access": "m"}]}, "Invalid enum value 'm'"),
        ({"access": [{"collection": "first", "access": "r", "paylod": {"owner": "me"}}]}, "unknown field `paylod`"),
        ({"access": [{"collection": "first", "access": "r", "payload": {"owner": ["me"]}}]}, "payload"),
        ({"access": [{"collection": "first", "access": "r", "payload": {"a[": "me"}}]}, "a["),
        ({"value_exists": {"collection": "first", "matches": []}}, "length >= 1"),
        ({"nbf": True}, "nbf"),
    ],
)
def test_claims_that_make_no_sense_are_refused_by_name(
    caller: MakeCaller, claims: dict[str, Any], complaint: str
) -> None:
    refusal = caller(token(**claims)).unauthorized("GET", "/collections")
    assert refusal.startswith(INVALID + ": ")
    assert complaint in refusal


def test_claims_for_other_readers_are_ignored(caller: MakeCaller) -> None:
    signed = token(access="r", iss="me", sub="you", aud=["them"], iat=1, jti="7", subject="api-key")
    assert caller(signed).send("GET", "/collections").status_code == 200


def test_a_token_expires_half_a_minute_late(caller: MakeCaller) -> None:
    now = int(time.time())
    assert caller(token(exp=now - LEEWAY_S + 20)).send("GET", "/collections").status_code == 200
    assert caller(token(exp=now - LEEWAY_S)).unauthorized("GET", "/collections") == INVALID + ": the token has expired"
    assert "not valid yet" in caller(token(nbf=now + LEEWAY_S + 100)).unauthorized("GET", "/collections")


def test_a_token_that_is_remembered_expires_all_the_same() -> None:
    tokens = Tokens(API_KEY)
    signed = token(exp=int(time.time()) + 1000).encode()
    remembered = tokens.verify(signed)
    assert tokens.verify(signed) is remembered
    with pytest.raises(Unauthorized, match="has expired"):
        remembered.check_times(time.time() + 1000 + LEEWAY_S)


def test_only_so_many_tokens_are_remembered_and_wrong_ones_never() -> None:
    tokens = Tokens(API_KEY)
    first = token(jti="first").encode()
    remembered = tokens.verify(first)
    for number in range(REMEMBERED_MAX - 1):
        tokens.verify(token(jti=str(number)).encode())
        with pytest.raises(Unauthorized):
            tokens.verify(token("x" * 32, jti=str(number)).encode())
    assert tokens.verify(first) is remembered
    for number in range(REMEMBERED_MAX):
        tokens.verify(token(sub=str(number)).encode())
    assert tokens.verify(first) is not remembered


def test_a_grant_for_a_collection_says_what_may_be_done_to_it(caller: MakeCaller) -> None:
    reader = caller(granted({"collection": "first", "access": "r"}))
    writer = caller(granted({"collection": "first", "access": "rw"}))
    point = {"points": [{"id": 9, "vector": [0, 0]}]}
    assert reader.result("POST", "/collections/first/points/count", {})["count"] >= 1
    assert reader.refused("PUT", "/collections/first/points", point) == (
        "Forbidden: Write access to collection first is required"
    )
    writer.result("PUT", "/collections/first/points", point, wait="true")
    writer.result("POST", "/collections/first/points/delete", {"points": [9]}, wait="true")
    assert writer.refused("POST", "/collections/second/points/count", {}) == (
        "Forbidden: Access to collection second is required"
    )
    assert writer.refused("DELETE", "/collections/first") == "Forbidden: Global access is required"


def test_of_several_grants_for_a_collection_one_that_suffices_is_enough(caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "first", "access": "r"}, {"collection": "first", "access": "rw"}))
    holder.result("POST", "/collections/first/points/delete", {"points": [9]}, wait="true")


def test_a_collection_that_is_not_granted_is_refused_whether_it_exists_or_not(caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "first", "access": "r"}, {"collection": "gone", "access": "r"}))
    assert "nowhere" in holder.refused("GET", "/collections/nowhere")
    assert holder.send("GET", "/collections/gone").status_code == 404


def test_lists_name_what_was_granted(caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "first", "access": "r"}))
    assert holder.result("GET", "/collections") == {"collections": [{"name": "first"}]}
    aliases = {"aliases": [{"alias_name": "other name", "collection_name": "first"}]}
    assert holder.result("GET", "/aliases") == aliases
    assert holder.result("GET", "/collections/first/aliases") == aliases
    stranger = caller(granted({"collection": "second", "access": "r"}))
    assert stranger.result("GET", "/aliases") == {"aliases": []}


@pytest.mark.parametrize("granted_name", ["first", "other name"])
@pytest.mark.parametrize("asked_name", ["first", "other name", "other%20name"])
def test_an_alias_and_its_collection_are_one(caller: MakeCaller, granted_name: str, asked_name: str) -> None:
    holder = caller(granted({"collection": granted_name, "access": "r"}))
    assert holder.result("POST", f"/collections/{asked_name}/points/count", {})["count"] >= 1
    assert holder.result("GET", "/collections") == {"collections": [{"name": "first"}]}


def test_an_alias_that_moves_takes_its_grant_along(caller: MakeCaller, manager: Caller) -> None:
    holder = caller(granted({"collection": "moving", "access": "r"}))
    for target, other in (("first", "second"), ("second", "first")):
        action = {"create_alias": {"collection_name": target, "alias_name": "moving"}}
        manager.result("POST", "/collections/aliases", {"actions": [action]})
        holder.result("POST", f"/collections/{target}/points/count", {})
        holder.refused("POST", f"/collections/{other}/points/count", {})
    manager.result("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "moving"}}]})


LOOKUPS = [
    ("query", {"query": 1, "lookup_from": {"collection": "second"}}),
    ("query", {"prefetch": {"query": 1, "lookup_from": {"collection": "second"}}, "query": [1, 0]}),
    (
        "query",
        {
            "prefetch": [{"prefetch": [{"query": 1, "lookup_from": {"collection": "second"}}], "query": [0, 1]}],
            "query": [1, 0],
        },
    ),
    ("query/batch", {"searches": [{"query": [1, 0]}, {"query": 1, "lookup_from": {"collection": "second"}}]}),
    ("query/groups", {"query": [1, 0], "group_by": "owner", "with_lookup": "second"}),
    ("query/groups", {"query": [1, 0], "group_by": "owner", "with_lookup": {"collection": "second"}}),
    ("recommend", {"positive": [1], "limit": 1, "lookup_from": {"collection": "second"}}),
]


@pytest.mark.parametrize(("path", "body"), LOOKUPS)
def test_a_lookup_needs_access_to_the_other_collection_too(caller: MakeCaller, path: str, body: dict[str, Any]) -> None:
    first, second = {"collection": "first", "access": "r"}, {"collection": "second", "access": "r"}
    url = f"/collections/first/points/{path}"
    assert caller(granted(first)).refused("POST", url, body) == "Forbidden: Access to collection second is required"
    some = second | {"payload": {"owner": "you"}}
    assert "all points of collection second" in caller(granted(first, some)).refused("POST", url, body)
    caller(granted(first, second)).result("POST", url, body)


def test_a_token_holds_as_long_as_a_value_exists(caller: MakeCaller, manager: Caller) -> None:
    fill(manager, "users", p1={"user": "andrey", "role": "manager"}, p2={"user": "olga", "role": "guest"})
    matches = [{"key": "user", "value": "andrey"}, {"key": "role", "value": "manager"}]
    holder = caller(token(access="r", value_exists={"collection": "users", "matches": matches}))
    crossed = [{"key": "user", "value": "andrey"}, {"key": "role", "value": "guest"}]
    stranger = caller(token(access="r", value_exists={"collection": "users", "matches": crossed}))
    for _ in range(3):
        holder.result("GET", "/collections")
        assert "does not exist" in stranger.unauthorized("GET", "/collections")
    change = {"payload": {"role": "guest"}, "points": [1]}
    manager.result("POST", "/collections/users/points/payload", change, wait="true")
    assert "does not exist" in holder.unauthorized("GET", "/collections")
    stranger.result("GET", "/collections")
    fill(manager, "users", p1={"user": "andrey", "role": "manager"})
    holder.result("GET", "/collections")
    manager.result("DELETE", "/collections/users")
    assert "does not exist" in holder.unauthorized("GET", "/collections")


def test_without_jwt_rbac_a_token_is_a_wrong_key(tmp_path: Any) -> None:
    with serving(tmp_path / "storage", VDB__SERVICE__API_KEY=API_KEY) as server:
        holder = Caller(server.url, token())
        assert holder.unauthorized("GET", "/collections") == INVALID
        holder.close()
