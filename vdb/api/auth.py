"""Who asks: the key or token in a request's headers, checked before anything else of the request is looked at.

Guarantees: without a valid key only the ``open`` routes answer; everything else is 401, also routes that do not exist.
Keys are compared in constant time. Where no key is set, this is not installed.
"""

from __future__ import annotations

import hmac
import logging
import time
import weakref
from collections.abc import Collection as Container
from collections.abc import Iterable
from typing import Any, Final

from vdb.api.access import MANAGE, READ, Access
from vdb.api.envelope import failure
from vdb.api.errors import to_http
from vdb.api.observer import REQUEST_ID, Observer
from vdb.api.tokens import KEY_BYTES_MIN, Token, Tokens
from vdb.config import ServiceSettings
from vdb.errors import NotFound, Unauthorized, VdbError
from vdb.query.deadline import Deadline
from vdb.query.selection import select
from vdb.registry import Registry

logger = logging.getLogger(__name__)

ACCESS_KEY: Final = "vdb.access"  # where the scope of a request says what its client may do

# Bytes of a refused request's body that are still read: closing on a client that is still sending would reset the
# connection, and the refusal would be lost.
DRAINED_MAX: Final = 256 * 1024

_BEARER: Final = b"bearer "


class Authenticator:
    """Keys and tokens of one server."""

    def __init__(self, service: ServiceSettings, registry: Registry) -> None:
        keys = ((service.api_key, MANAGE), (service.alt_api_key, MANAGE), (service.read_only_api_key, READ))
        self._keys = [(key.encode(), access) for key, access in keys if key is not None]
        self._registry = registry
        self._tokens: Tokens | None = None
        if service.jwt_rbac:
            assert service.api_key is not None, "the configuration was checked"
            self._tokens = Tokens(service.api_key)
            if len(service.api_key) < KEY_BYTES_MIN:
                logger.warning(
                    "service.api_key is shorter than %d bytes: whoever has a token can guess it by trying",
                    KEY_BYTES_MIN,
                )

    async def access(self, headers: Iterable[tuple[bytes, bytes]]) -> Access:
        """What the sender of these headers may do; raises Unauthorized, and CollectionBroken for ``value_exists``."""
        given = _credential(headers)
        if given is None:
            raise Unauthorized("Must provide an API key or an Authorization bearer token")
        found = None
        for key, access in self._keys:  # all of them, so that the time does not tell which one came close
            if hmac.compare_digest(key, given) and found is None:
                found = access
        if found is not None:
            return found
        if self._tokens is None:
            raise Unauthorized("Invalid API key or JWT")
        token = self._tokens.verify(given)
        if token.exists is not None and not await self._value_exists(token):
            raise Unauthorized("Invalid API key or JWT: the value that the token depends on does not exist")
        return token.access

    async def _value_exists(self, token: Token) -> bool:
        """Asked again whenever the collection has changed."""
        wanted, filter = token.claims.value_exists, token.exists
        assert wanted is not None
        try:
            collection = self._registry.get(wanted.collection)
        except NotFound:
            return False
        if token.proof is not None:
            proven, seq, exists = token.proof
            if proven() is collection and seq == collection.view.seq:
                return exists
        seq, exists = await collection.read(
            lambda view, connection: (view.seq, bool(select(view, connection, filter, Deadline())))
        )
        token.proof = weakref.ref(collection), seq, exists
        return exists


class Guard:
    """The application behind the check; ``open_paths`` need no key."""

    def __init__(self, app: Any, authenticator: Authenticator, open_paths: Container[str], observer: Observer) -> None:
        self._app = app
        self._authenticator = authenticator
        self._open_paths = frozenset(open_paths)
        self._observer = observer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            try:
                scope[ACCESS_KEY] = await self._authenticator.access(scope["headers"])
            except VdbError as refusal:
                observed = self._observer.begin(None)
                status = await _refuse(refusal, observed.id, receive, send)
                self._observer.unrouted(scope["method"], scope["path"], observed, status)
                return
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)


def _credential(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The header ``api-key``, or else a bearer token. The server gives the names of headers in small letters."""
    bearer = None
    for name, value in headers:
        if name == b"api-key":
            return value
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            bearer = value[len(_BEARER) :].strip()
    return bearer


async def _refuse(refusal: VdbError, request_id: str, receive: Any, send: Any) -> int:
    """The status that is answered. 401 is plain text, as Qdrant answers it."""
    status, message, _ = to_http(refusal)
    if isinstance(refusal, Unauthorized):
        content_type, body = b"text/plain; charset=utf-8", message.encode()
    else:
        content_type, body = b"application/json", failure(message, time.perf_counter())
    drained, more = 0, True
    while more and drained <= DRAINED_MAX:
        part = await receive()
        if part["type"] != "http.request":
            return status  # the client left
        drained += len(part.get("body", b""))
        more = part.get("more_body", False)
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (REQUEST_ID.encode(), request_id.encode()),
    ]
    if more:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status
