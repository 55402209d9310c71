"""Cross-origin requests: lets web pages from anywhere use the API in a browser. The key is still needed.

Cookies play no part here, so that every origin may be allowed without one page acting with the rights of another.
"""

from __future__ import annotations

from typing import Any, Final

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_MAX_AGE_S: Final = b"3600"  # that a browser may remember the answer to its question
_ALLOWED: Final = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
]


class Cors:
    """The application with the headers that browsers ask for; answers their preflight questions, without a key."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = {name: value for name, value in scope["headers"] if name == b"origin" or name.startswith(b"access-")}
        if b"origin" not in asked:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            headers = [
                *_ALLOWED,
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"*")),
                (b"access-control-max-age", _MAX_AGE_S),
                (b"content-length", b"0"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_allowed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_ALLOWED]}
            await send(message)

        await self._app(scope, receive, send_allowed)
