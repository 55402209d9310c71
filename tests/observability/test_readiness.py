"""Whether the server lives and is ready, also while it recovers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.http.client import Client
from vdb.door import Door

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the application"})


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def http(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://door") as http:
        yield http


async def test_a_server_that_recovers_lives_and_is_not_ready_and_says_so(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/livez"):
        assert (await http.get(path)).status_code == 200
    ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert "recovering" in ready.text


async def test_all_else_is_told_to_come_back_in_the_envelope(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/collections"), ("PUT", "/collections/a/points"), ("GET", "/metrics")):
        answer = await http.request(method, path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "recovering" in json.loads(answer.content)["status"]["error"]


async def test_the_application_answers_once_it_is_there(door: Door, http: httpx.AsyncClient) -> None:
    door.open(application)
    assert (await http.get("/readyz")).text == "the application"


async def test_the_server_is_told_that_its_start_and_end_are_done(door: Door) -> None:
    sent: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await door({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_a_server_that_serves_is_ready(client: Client, path: str) -> None:
    answer = client.send("GET", path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
