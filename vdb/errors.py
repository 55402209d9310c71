"""Every error that vdb raises on purpose, named after who must act.

::

    VdbError
    ├─ BadRequest                 the client sent something that can never work
    │  ├─ WrongDimension
    │  ├─ UnknownVectorName
    │  ├─ VectorNameRequired      a query of a collection whose vectors all have names
    │  ├─ MalformedBody           the body does not deserialise
    │  ├─ MalformedQuery          the query string does not
    │  ├─ EmptyUpdate             a write that names no point
    │  ├─ NoPointsGiven           a write without ids and without a filter
    │  ├─ OutOfBounds             it deserialises, and breaks a bound
    │  ├─ BadSnapshot             an archive that is damaged, of another format, or not what its checksum says
    │  ├─ UnknownEncoding         a body that is compressed in a way that vdb does not read
    │  └─ TooLarge                a body or a file that is larger than a setting allows
    ├─ NotFound                   the client named something that is not there
    │  ├─ CollectionNotFound
    │  └─ PointNotFound
    ├─ AlreadyExists
    ├─ Unauthorized               the client's key or token is missing or wrong
    ├─ Forbidden
    ├─ StrictModeViolation        a limit that the collection sets to its clients
    ├─ NotClustered               a cluster call on a server that is not one
    ├─ TryLater                   nothing is wrong with the request
    │  ├─ Busy
    │  ├─ DeadlineExceeded
    │  ├─ InsufficientStorage
    │  └─ StorageFailed           the disk refused: nothing was applied, reads go on
    ├─ OutcomeUnknown             a commit failed: the write may or may not be there
    ├─ CollectionBroken           this collection stopped; the others serve
    │  └─ CollectionClosing       the server stops, or another collection takes its place: nothing was applied
    ├─ Corrupt                    the operator must look at a file
    └─ Misconfigured              the operator must change a setting

Guarantees: a ``BadRequest`` is deterministic, so that replaying the log meets it again and skips it.
The text of an error is written for the person who must act; its facts are attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

# Where in a request something stands.
RequestPart = Literal["JSON body", "query parameters", "path parameters"]


class VdbError(Exception):
    """Base of all errors that vdb raises on purpose."""


class BadRequest(VdbError):
    """The request can never succeed as it stands."""


class WrongDimension(BadRequest):
    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"Vector dimension error: expected dim: {expected}, got {received}")
        self.expected = expected
        self.received = received


class UnknownVectorName(BadRequest):
    def __init__(self, name: str) -> None:
        super().__init__(f"Not existing vector name error: {name}")
        self.name = name


class VectorNameRequired(BadRequest):
    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"Collection requires specified vector name in the request, available names: {', '.join(names)}"
        )
        self.names = names


class MalformedBody(BadRequest):
    """The body is not JSON, or not of the shape that the route takes."""


class MalformedQuery(BadRequest):
    """The query string is not what the route takes."""


class EmptyUpdate(BadRequest):
    """A write that names no point: clients rely on its refusal to notice that they had nothing to send."""

    def __init__(self) -> None:
        super().__init__("Empty update request")


class NoPointsGiven(BadRequest):
    def __init__(self) -> None:
        super().__init__("No filter or points provided")


class OutOfBounds(BadRequest):
    """A well-formed value breaks a documented bound.

    ``field`` is the dotted path (``vectors.size``) in ``part`` of the request, ``reason`` what is wrong with it
    (``value 65537 invalid, must be from 1 to 65536``).
    """

    def __init__(self, field: str, reason: str, part: RequestPart = "JSON body") -> None:
        super().__init__(f"[{field}: {reason}]")
        self.field = field
        self.reason = reason
        self.part = part


class BadSnapshot(BadRequest):
    def __init__(self, why: str) -> None:
        super().__init__(f"The snapshot cannot be used: {why}")
        self.why = why


class UnknownEncoding(BadRequest):
    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding `{encoding}` is not supported, send gzip, deflate or identity")
        self.encoding = encoding


class TooLarge(BadRequest):
    """What was sent is larger than a setting allows."""


class NotFound(VdbError):
    """The client named something that does not exist."""


class CollectionNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"Collection `{name}` doesn't exist!")
        self.name = name


class PointNotFound(NotFound):
    def __init__(self, point_id: int | str) -> None:
        super().__init__(f"No point with id {point_id} found")
        self.point_id = point_id


class AlreadyExists(VdbError):
    """The name is taken."""


class Unauthorized(VdbError):
    """The request carries no key or token, or one that is not valid."""


class Forbidden(VdbError):
    """The request is understood and not allowed."""


class StrictModeViolation(VdbError):
    """A request beyond a limit of the collection's strict mode; ``help`` says what would be within it."""

    def __init__(self, reason: str, help: str) -> None:
        super().__init__(f"{reason}. Help: {help}")
        self.help = help


class NotClustered(VdbError):
    """A call that only makes sense on a server with peers."""


class TryLater(VdbError):
    """Nothing is wrong with the request; the server cannot serve it now."""


class Busy(TryLater):
    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(TryLater):
    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"Operation timed out after {timeout_s:g} s")
        self.timeout_s = timeout_s


class InsufficientStorage(TryLater):
    """The disk is full or a quota is reached; reads go on."""


class StorageFailed(TryLater):
    """The medium or the operating system refuses: an I/O error, a read-only file system, a limit. Reads go on."""


class OutcomeUnknown(VdbError):
    """A commit failed, and the disk does not say for sure what is on it.

    ``applied`` is True where the write is there and visible, and only its durability is in doubt; None where nobody
    can tell yet.
    """

    def __init__(self, reason: str, applied: bool | None = None) -> None:
        super().__init__(reason)
        self.applied = applied


class CollectionBroken(VdbError):
    """The collection's actor stopped on an error of its own; reads go on from the last View."""


class CollectionClosing(CollectionBroken):
    """The collection was given up on purpose before the write's turn came; a retry meets what comes after it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Collection `{name}` is shutting down: nothing was applied")


class Corrupt(VdbError):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class Misconfigured(VdbError):
    """A setting is unknown, ill-typed or contradictory; the server does not start."""
