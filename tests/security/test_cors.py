"""Cross-origin requests: off unless switched on, and then for every page that has the key."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.http.running_server import RunningServer, serving
from tests.security.conftest import API_KEY

ORIGIN = {"origin": "https://example.org"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "PUT", "access-control-request-headers": "api-key,content-type"}


def test_without_the_switch_no_page_is_let_in(guarded: RunningServer) -> None:
    for response in (
        httpx.options(guarded.url + "/collections", headers=PREFLIGHT),
        httpx.get(guarded.url + "/collections", headers={**ORIGIN, "api-key": API_KEY}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_with_the_switch_every_page_may_ask_and_needs_the_key(tmp_path: Path) -> None:
    with serving(tmp_path / "storage", VDB__SERVICE__ENABLE_CORS="1", VDB__SERVICE__API_KEY=API_KEY) as server:
        asked = httpx.options(server.url + "/collections/x", headers=PREFLIGHT)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "*"
        assert "PUT" in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "api-key,content-type"
        allowed = httpx.get(server.url + "/collections", headers={**ORIGIN, "api-key": API_KEY})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "*")
        refused = httpx.get(server.url + "/collections", headers=ORIGIN)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
        assert "access-control-allow-origin" not in httpx.get(server.url + "/healthz").headers
        assert httpx.options(server.url + "/collections").status_code == 401
