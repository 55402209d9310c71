"""One request on its way through the application: the body is read whole, the handler runs, the answer leaves.

quart-trio listens for the client's departure while a handler runs, and cancels the handler then. That takes a nursery
and two tasks a request, a third of what a small one costs, and gains nothing: writes belong to the actor and go on,
and reads are over before anybody could notice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import trio
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from quart_trio.asgi import TrioASGIHTTPConnection

from vdb.errors import MalformedBody

# In the scope of a request whose body the handler reads piece by piece: a BodyStream.
STREAM_KEY: Final = "vdb.stream"
_UPLOADS: Final = "/snapshots/upload"
# What is left of a body after its refusal is read up to so many bytes: many clients look for the answer only then.
_LEFT_BYTES_MAX: Final = 64 * 2**20


class BodyStream:
    """The body of one request as it comes. A piece is taken from the connection when it is asked for."""

    def __init__(self, receive: Any, length: int | None) -> None:
        self.length = length
        self._receive = receive
        self._more = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises MalformedBody where the client leaves before the end."""
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._more = False
                raise MalformedBody("the body ended too early")
            self._more = message.get("more_body", False)
            yield message.get("body", b"")

    async def skip(self) -> None:
        """Reads what is left, as far as it is worth it."""
        size = 0
        while self._more and size < _LEFT_BYTES_MAX:
            message = await self._receive()
            size += len(message.get("body", b""))
            self._more = message["type"] == "http.request" and message.get("more_body", False)


class WholeRequest(TrioASGIHTTPConnection):
    """Quart's side of a request, in a single task."""

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)
        if self.scope["method"] == "POST" and self.scope["path"].endswith(_UPLOADS):
            await self._upload(request, receive, send)
            return
        size_max = self.app.config["MAX_CONTENT_LENGTH"]
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client left before its request was whole
            body = message.get("body", b"")
            request.body.append(body)
            size += len(body)
            if not message.get("more_body", False):
                request.body.set_complete()
                break
            if size_max is not None and size > size_max:
                break  # the application refuses it; the rest is not read
        response = await self.app.handle_request(request)
        if not (isinstance(response, Response) and isinstance(response.response, DataBody)):
            await self._send_while_there(receive, send, response)
            return
        await self._send_whole(send, response)

    async def _upload(self, request: Any, receive: Any, send: Any) -> None:
        """The one kind of request that may be larger than the memory."""
        request.body.set_complete()
        stream = BodyStream(receive, request.content_length)
        request.scope[STREAM_KEY] = stream
        response = await self.app.handle_request(request)
        await stream.skip()
        await self._send_response(send, response)

    async def _send_while_there(self, receive: Any, send: Any, response: Any) -> None:
        """A file, piece by piece, for as long as the client takes them."""
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await self._send_response(send, response)
            nursery.cancel_scope.cancel()

    async def _send_whole(self, send: Any, response: Any) -> None:
        headers = [
            (name.lower().encode("latin1"), value.encode("latin1")) for name, value in response.headers.to_wsgi_list()
        ]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.response.data, "more_body": False})
