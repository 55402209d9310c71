"""The table of routes: one entry feeds the application, the OpenAPI document and the contract tests alike.

A handler takes a ``Call`` (services, path, query parameters and body already decoded) and returns what stands under
``result`` in the envelope: a struct, plain values, or an ``Encoded`` that already is JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from vdb.api.services import Services


class NoParams(msgspec.Struct, frozen=True):
    """A route without query parameters."""


class Encoded(bytes):
    """A result that is JSON already."""


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer outside the envelope: health texts, metrics, files."""

    body: bytes
    content_type: str = "text/plain"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One request, decoded. ``path`` holds the values of the ``{…}`` parts of the route."""

    services: Services
    path: dict[str, str]
    params: Any
    body: Any


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    ``body`` and ``result`` are the types of the model that the OpenAPI document is generated from; ``decode`` replaces
    the generic decoding of large bodies. ``documented`` is False for routes that only older clients call.
    """

    method: str
    path: str
    tag: str
    summary: str
    handler: Handler
    body: Any = None
    params: type[msgspec.Struct] = NoParams
    result: Any = bool
    decode: Callable[[bytes], Any] | None = None
    body_optional: bool = False
    enveloped: bool = True
    documented: bool = True

    @property
    def operation_id(self) -> str:
        return self.handler.__name__


class Routes:
    """The routes of one OpenAPI tag."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.table: list[Route] = []

    def add(self, method: str, path: str, *, summary: str, **facts: Any) -> Callable[[Handler], Handler]:
        """Registers the decorated handler; ``facts`` are fields of Route."""

        def register(handler: Handler) -> Handler:
            self.table.append(Route(method=method, path=path, tag=self.tag, summary=summary, handler=handler, **facts))
            return handler

        return register
