"""One request on its way through the application: the body is read whole, the handler runs, the answer leaves.

quart-trio listens for the client's departure while a handler runs, and cancels the handler then. That takes a nursery
and two tasks a request, a third of what a small one costs, and gains nothing: writes belong to the actor and go on,
and reads are over before anybody could notice.
"""

from __future__ import annotations

from typing import Any

from quart.wrappers import Response
from quart.wrappers.response import DataBody
from quart_trio.asgi import TrioASGIHTTPConnection


class WholeRequest(TrioASGIHTTPConnection):
    """Quart's side of a request, in a single task."""

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)
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
            await self._send_response(send, response)
            return
        headers = [
            (name.lower().encode("latin1"), value.encode("latin1")) for name, value in response.headers.to_wsgi_list()
        ]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.response.data, "more_body": False})
