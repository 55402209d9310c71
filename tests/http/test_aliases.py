"""Aliases over HTTP: other names of collections, changed all at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.client import UNNAMED_4, Client, Collection, Create


def creates(collection: str, alias: str) -> dict[str, Any]:
    return {"create_alias": {"collection_name": collection, "alias_name": alias}}


def deletes(alias: str) -> dict[str, Any]:
    return {"delete_alias": {"alias_name": alias}}


def renames(old: str, new: str) -> dict[str, Any]:
    return {"rename_alias": {"old_alias_name": old, "new_alias_name": new}}


class Aliases:
    def __init__(self, client: Client) -> None:
        self._client = client

    def change(self, *actions: dict[str, Any]) -> None:
        assert self._client.result("POST", "/collections/aliases", {"actions": list(actions)}) is True

    def refused(self, status: int, *actions: dict[str, Any]) -> str:
        before = self.all()
        message = self._client.refusal(status, "POST", "/collections/aliases", {"actions": list(actions)})
        assert self.all() == before
        return message

    def all(self, path: str = "") -> dict[str, str]:
        found = self._client.result("GET", f"{path}/aliases")["aliases"]
        return {alias["alias_name"]: alias["collection_name"] for alias in found}


@pytest.fixture
def aliases(client: Client) -> Iterator[Aliases]:
    aliases = Aliases(client)
    yield aliases
    for alias in aliases.all():
        aliases.change(deletes(alias))


def test_several_actions_happen_in_order(aliases: Aliases, plain: Collection, named: Collection) -> None:
    aliases.change(creates(plain.name, "one"), creates(named.name, "two"))
    assert aliases.all() == {"one": plain.name, "two": named.name}
    assert aliases.all(plain.path) == {"one": plain.name}
    aliases.change(renames("one", "three"), deletes("two"), creates(named.name, "one"))
    assert aliases.all() == {"three": plain.name, "one": named.name}


def test_creating_an_alias_again_moves_it(aliases: Aliases, plain: Collection, named: Collection) -> None:
    aliases.change(creates(plain.name, "live"))
    aliases.change(deletes("live"), creates(named.name, "live"))
    assert aliases.all() == {"live": named.name}
    aliases.change(creates(plain.name, "live"))
    assert aliases.all() == {"live": plain.name}


def test_one_wrong_action_undoes_all_others(aliases: Aliases, plain: Collection) -> None:
    aliases.change(creates(plain.name, "kept"))
    message = aliases.refused(404, creates(plain.name, "new"), deletes("kept"), creates("never-was", "other"))
    assert message == "Not found: Collection `never-was` doesn't exist!"


def test_an_alias_cannot_take_the_name_of_a_collection(aliases: Aliases, plain: Collection, named: Collection) -> None:
    assert named.name in aliases.refused(409, creates(plain.name, named.name))
    aliases.change(creates(plain.name, "one"))
    aliases.refused(409, renames("one", named.name))


def test_a_collection_cannot_take_the_name_of_an_alias(aliases: Aliases, plain: Collection) -> None:
    aliases.change(creates(plain.name, "taken"))
    assert "taken" in plain.client.refusal(400, "PUT", "/collections/taken", UNNAMED_4)
    assert aliases.all() == {"taken": plain.name}


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 300, "a\u0000b", "what?"])
def test_an_alias_needs_a_name_that_a_collection_could_have(aliases: Aliases, plain: Collection, name: str) -> None:
    assert "Validation error in JSON body" in aliases.refused(422, creates(plain.name, name))


def test_renaming_an_alias_that_is_not_there_is_404(aliases: Aliases) -> None:
    assert "never-was" in aliases.refused(404, renames("never-was", "x"))


@pytest.mark.parametrize(
    "action", [{}, {"drop_alias": {}}, {"create_alias": {"alias_name": "x"}}, {"delete_alias": None}, 7]
)
def test_an_action_that_is_none_is_a_format_error(aliases: Aliases, action: Any) -> None:
    assert "Format error in JSON body" in aliases.refused(400, action)


def test_deleting_the_collection_deletes_its_aliases(client: Client, aliases: Aliases) -> None:
    doomed = client.create("doomed")
    aliases.change(creates("doomed", "alias-of-doomed"))
    client.result("DELETE", doomed.path)
    assert aliases.all() == {}
    assert client.result("GET", "/collections/alias-of-doomed/exists") == {"exists": False}


def test_deleting_an_alias_as_a_collection_deletes_nothing(aliases: Aliases, plain: Collection) -> None:
    aliases.change(creates(plain.name, "also"))
    assert plain.client.result("DELETE", "/collections/also") is False
    assert aliases.all() == {"also": plain.name}
    assert plain.count() == 3


def test_every_endpoint_takes_an_alias(aliases: Aliases, plain: Collection, create: Create) -> None:
    aliases.change(creates(plain.name, "also"))
    also = Collection(plain.client, "also")
    assert also.info() == plain.info()
    assert plain.client.result("GET", "/collections/also/exists") == {"exists": True}
    assert aliases.all("/collections/also") == {"also": plain.name}
    also.upsert({"id": 9, "vector": [9, 9, 9, 9]})
    also.change("POST", "/payload", {"points": [9], "payload": {"a": 1}})
    also.change("PUT", "/payload", {"points": [9], "payload": {"b": 1}})
    also.change("POST", "/payload/delete", {"points": [9], "keys": ["b"]})
    also.change("POST", "/payload/clear", {"points": [9]})
    also.change("PUT", "/vectors", {"points": [{"id": 9, "vector": [8, 8, 8, 8]}]})
    assert plain.get(9) == also.get(9) == {"id": 9, "payload": {}, "vector": [8.0, 8.0, 8.0, 8.0]}
    also.change("POST", "/vectors/delete", {"points": [9], "vector": [""]})
    assert also.points("POST", "", {"ids": [9], "with_vector": True}) == [{"id": 9, "payload": {}, "vector": {}}]
    also.points("POST", "/batch", {"operations": [{"delete": {"points": [9]}}]})
    assert also.count() == plain.count() == 3
    query = {"query": [1, 1, 1, 1]}
    assert also.query(**query) == plain.query(**query)
    for path, body in (
        ("/query/batch", {"searches": [query]}),
        ("/search", {"vector": [1, 1, 1, 1], "limit": 2}),
        ("/search/batch", {"searches": [{"vector": [1, 1, 1, 1], "limit": 2}]}),
        ("/scroll", {}),
    ):
        assert also.points("POST", path, body) == plain.points("POST", path, body)
    also.change("POST", "/delete", {"points": [3]})
    assert plain.count() == 2
    assert plain.client.result("PATCH", also.path, {"metadata": {"by": "alias"}}) is True
    assert plain.info()["config"]["metadata"] == {"by": "alias"}
    copy = create(**UNNAMED_4, init_from={"collection": "also"})
    assert copy.all() == plain.all()
