"""Every route says what it demands, and keeps to it, whoever asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from tests.http.running_server import RunningServer
from tests.security.conftest import API_KEY, READ_ONLY_KEY, Caller, fill, granted
from vdb.api.app import all_routes
from vdb.api.routing import AccessKind, Route

MakeCaller = Callable[[str | None], Caller]
ROUTES = all_routes()


def is_about_a_collection(route: Route) -> bool:
    return "{collection_name}" in route.path


def each_route(chosen: Callable[[Route], bool]) -> pytest.MarkDecorator:
    """Runs a test for each route that is ``chosen``."""
    routes = [route for route in ROUTES if chosen(route)]
    return pytest.mark.parametrize("route", routes, ids=[f"{route.method} {route.path}" for route in routes])


def path_of(route: Route, collection: str) -> str:
    return re.sub(r"{\w+}", "1", route.path.replace("{collection_name}", collection))


@pytest.fixture(scope="module", autouse=True)
def _unchanged(guarded: RunningServer) -> Iterator[None]:
    """Nothing that is refused here may have done anything."""
    manager = Caller(guarded.url, API_KEY)
    fill(manager, "mine", p1={"owner": "me"}, p2={"owner": "you"})
    fill(manager, "yours", p1={"owner": "you"})

    def image() -> object:
        return [
            manager.result("GET", "/aliases"),
            manager.result("GET", "/collections"),
            *(manager.result("POST", f"/collections/{name}/points/scroll", {}) for name in ("mine", "yours")),
        ]

    before = image()
    yield
    assert image() == before
    manager.close()


@each_route(lambda route: True)
def test_what_a_route_demands_makes_sense(route: Route) -> None:
    assert route.access in get_args(AccessKind)
    if route.access == "write" or route.filtered:
        assert is_about_a_collection(route), "there is nothing else that could be granted"
    if route.access == "open":
        assert route.method == "GET"
        assert not is_about_a_collection(route)


@each_route(lambda route: route.access != "open")
def test_no_route_answers_without_a_key(route: Route, caller: MakeCaller) -> None:
    caller(None).unauthorized(route.method, path_of(route, "mine"))


@each_route(lambda route: route.access in ("write", "manage"))
def test_the_read_only_key_changes_nothing(route: Route, caller: MakeCaller) -> None:
    caller(READ_ONLY_KEY).refused(route.method, path_of(route, "mine"))


@each_route(lambda route: route.access in ("listed", "read"))
def test_the_read_only_key_reads_everything(route: Route, caller: MakeCaller) -> None:
    assert caller(READ_ONLY_KEY).send(route.method, path_of(route, "mine")).status_code not in (401, 403)


@each_route(lambda route: route.access != "open")
def test_a_token_for_one_collection_reaches_no_other_and_nothing_global(route: Route, caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "mine", "access": "rw"}))
    response = holder.send(route.method, path_of(route, "yours"))
    if route.access == "listed":
        assert response.status_code == 200
        assert "yours" not in response.text
    else:
        assert response.status_code == 403, response.text


@each_route(is_about_a_collection)
def test_a_token_that_reads_one_collection_does_not_change_it(route: Route, caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "mine", "access": "r"}))
    response = holder.send(route.method, path_of(route, "mine"))
    assert (response.status_code == 403) == (route.access in ("write", "manage")), response.text


@each_route(is_about_a_collection)
def test_a_token_for_some_points_only_gets_through_where_they_are_told_apart(route: Route, caller: MakeCaller) -> None:
    holder = caller(granted({"collection": "mine", "access": "rw", "payload": {"owner": "nobody"}}))
    response = holder.send(route.method, path_of(route, "mine"))
    assert (response.status_code == 403) == (not route.filtered), response.text
