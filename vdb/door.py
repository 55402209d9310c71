"""What answers from the first moment on: the application once there is one, and until then that it is not ready.

Probes are to tell a server that recovers from one that is gone: it lives, it is not ready, and it says why. Everybody
else is told to come back.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = b"text/plain"
_JSON: Final = b"application/json"
_RECOVERING: Final = b"the server is recovering: not all collections are loaded yet"
_ALIVE: Final = (200, _TEXT, b"healthz check passed")
_ANSWERS: Final = {"/healthz": _ALIVE, "/livez": _ALIVE, "/readyz": (503, _TEXT, _RECOVERING)}
_REFUSAL: Final = (503, _JSON, b'{"status":{"error":"Service unavailable: %b"},"time":0.0}' % _RECOVERING)
_RETRY_AFTER_S: Final = b"1"


class Door:
    """An ASGI application. Owned by the server; ``open`` is called once, when everything is recovered."""

    def __init__(self) -> None:
        self._app: Any = None

    def open(self, app: Any) -> None:
        """From the next request on ``app`` answers."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(scope["path"], send)
        else:
            await send({"type": "websocket.close"})


async def _live(receive: Any, send: Any) -> None:
    """Hypercorn's start and end: nothing here waits for either."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _refuse(path: str, send: Any) -> None:
    status, content_type, body = _ANSWERS.get(path, _REFUSAL)
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", _RETRY_AFTER_S))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
