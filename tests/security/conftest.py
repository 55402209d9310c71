"""One server with keys and tokens for all tests of access; each test module has its own collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import jwt
import pytest

from tests.http.running_server import RunningServer, serving

API_KEY: Final = "the key that may do everything, and that tokens are signed with here"
ALT_API_KEY: Final = "the next key"
READ_ONLY_KEY: Final = "the key that may look"

Sign = Callable[..., str]


class Caller:
    """A client with one key, on a server that runs."""

    def __init__(self, url: str, key: str | None, **options: Any) -> None:
        headers = {} if key is None else {"api-key": key}
        options.setdefault("verify", False)  # nothing to verify, and loading all the world's certificates takes long
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60, **options)

    def send(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return self._http.request(method, path, json=body, params=params or None)

    def result(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        response = self.send(method, path, body, **params)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def refused(self, method: str, path: str, body: Any = None, **params: Any) -> str:
        """The message of an answer that must be 403, in the envelope."""
        response = self.send(method, path, body, **params)
        assert response.status_code == 403, response.text
        message: str = response.json()["status"]["error"]
        return message

    def unauthorized(self, method: str, path: str, body: Any = None) -> str:
        """The text of an answer that must be 401."""
        response = self.send(method, path, body)
        assert response.status_code == 401, response.text
        assert response.headers["content-type"].startswith("text/plain")
        return response.text

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(
        tmp_path_factory.mktemp("security") / "storage",
        VDB__SERVICE__API_KEY=API_KEY,
        VDB__SERVICE__ALT_API_KEY=ALT_API_KEY,
        VDB__SERVICE__READ_ONLY_API_KEY=READ_ONLY_KEY,
        VDB__SERVICE__JWT_RBAC="true",
    ) as server:
        yield server


@pytest.fixture
def caller(guarded: RunningServer) -> Iterator[Callable[[str | None], Caller]]:
    """Makes clients of the server with a key or a token."""
    made: list[Caller] = []

    def make(key: str | None) -> Caller:
        made.append(Caller(guarded.url, key))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def manager(caller: Callable[[str | None], Caller]) -> Caller:
    return caller(API_KEY)


def token(key: str = API_KEY, algorithm: str = "HS256", /, **claims: Any) -> str:
    """A signed token with these claims."""
    return jwt.encode(claims, key, algorithm=algorithm)


def granted(*grants: dict[str, Any], **claims: Any) -> str:
    """A token for some collections."""
    return token(access=list(grants), **claims)


def fill(manager: Caller, name: str, **payloads: dict[str, Any]) -> None:
    """A new collection of two-dimensional vectors; ``p1={…}`` is point 1 with this payload, at (1, 1)."""
    manager.send("DELETE", f"/collections/{name}")
    assert manager.result("PUT", f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}}) is True
    points = [
        {"id": int(key[1:]), "vector": [int(key[1:]), 1], "payload": payload} for key, payload in payloads.items()
    ]
    if points:
        manager.result("PUT", f"/collections/{name}/points", {"points": points}, wait="true")
