"""The table of routes: one entry feeds the application, the OpenAPI document and the contract tests alike.

A handler takes a ``Call`` (services, path, query parameters and body already decoded) and returns what stands under
``result`` in the envelope: a struct, plain values, or an ``Encoded`` that already is JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgspec

if TYPE_CHECKING:
    from vdb.api.access import Access
    from vdb.api.hardware import Meter
    from vdb.api.services import Services
    from vdb.collection.collection import Collection
    from vdb.model.conditions import Filter

# What a client must be allowed to do before a route carries its request out:
# open    nothing, not even a key: the routes that health checks call
# listed  any key; the handler answers only what ``Call.access`` may see
# read    to read the collection in the path, or everything where the path has none
# write   to change the points, indexes and snapshots of the collection in the path
# manage  everything
AccessKind = Literal["open", "listed", "read", "write", "manage"]


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


class Accepted:
    """An answer without a result: the work goes on in the background."""


@dataclass(frozen=True, slots=True)
class Download:
    """An open file as the answer: its first ``size`` bytes, sent piece by piece. Whoever sends it closes it."""

    file: BinaryIO
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request, decoded. ``path`` holds the values of the ``{…}`` parts of the route.

    ``access`` is what the client may do, of which the route's own demand is checked already. ``only``, where it is not
    None, matches the points of the path's collection that the client may see: a ``filtered`` route must heed it.
    ``meter``, where it is not None, counts what the request takes of the machine.
    """

    services: Services
    path: dict[str, str]
    params: Any
    body: Any
    access: Access
    only: Filter | None = None
    meter: Meter | None = None

    def collection(self) -> Collection:
        """The path's, as it is called now; raises CollectionNotFound and CollectionBroken.

        What is made for one collection must be written to no other: a write asks once, whatever becomes of the name
        meanwhile.
        """
        return self.services.registry.get(self.path["collection_name"])


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    ``access`` is what it demands of its clients. ``filtered`` says that the handler heeds ``Call.only``; a route that
    does not is refused to clients that may see some of a collection's points only.
    ``body`` and ``result`` are the types of the model that the OpenAPI document is generated from; ``decode`` replaces
    the generic decoding of large bodies. A ``streamed`` route's handler gets the body as an Upload, piece by piece.
    ``documented`` is False for routes that only older clients call.
    """

    method: str
    path: str
    tag: str
    summary: str
    handler: Handler
    access: AccessKind
    filtered: bool = False
    body: Any = None
    params: type[msgspec.Struct] = NoParams
    result: Any = bool
    decode: Callable[[bytes], Any] | None = None
    body_optional: bool = False
    streamed: bool = False
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

    def add(
        self, method: str, path: str, *, summary: str, access: AccessKind, **facts: Any
    ) -> Callable[[Handler], Handler]:
        """Registers the decorated handler; ``facts`` are fields of Route."""

        def register(handler: Handler) -> Handler:
            self.table.append(Route(method, path, self.tag, summary, handler, access, **facts))
            return handler

        return register
