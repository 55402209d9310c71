"""Tokens: JSON Web Tokens that limit what their holder may do, signed with the API key (HS256).

    exp           seconds since 1970 from which on the token is void; 30 s are allowed for clocks that disagree
    nbf           the same for the time before which it is void
    access        "r" (read everything), "m" (everything, also without this claim), or a list of
                  {"collection": …, "access": "r" | "rw", "payload": {field: value, …}}
    value_exists  {"collection": …, "matches": [{"key": …, "value": …}, …]}: void unless some point has these values

``iss``, ``sub``, ``aud``, ``iat``, ``jti`` and ``subject`` are allowed and say nothing here. A token with any other
claim is refused: a misspelled limit would be no limit.

Guarantees: what ``Tokens.verify`` returns was signed with the key. Tokens that were verified are remembered, at most
``REMEMBERED_MAX``; their times are looked at for every request.
"""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from weakref import ReferenceType

import msgspec

from vdb.api.access import Access, Grant
from vdb.collection.collection import Collection
from vdb.errors import BadRequest, Unauthorized
from vdb.model.conditions import Conditions, FieldCondition, Filter, MatchValue

# Seconds that clocks may disagree, as in Qdrant.
LEEWAY_S: Final = 30

# The least recently used token is forgotten, and verified again when it comes back, in 20 µs.
REMEMBERED_MAX: Final = 1024

# Bytes of a key below which a token's signature can be guessed by trying, by RFC 7518.
KEY_BYTES_MIN: Final = 32

Value = str | int | bool


class CollectionAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``payload``: of the collection's points those with these values."""

    collection: str
    access: Literal["r", "rw"]
    payload: dict[str, Value] | None = None


class ValueMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    value: Value


class ValueExists(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some point of ``collection`` has all the values of ``matches``."""

    collection: str
    matches: Annotated[tuple[ValueMatch, ...], msgspec.Meta(min_length=1)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token says. Times are in seconds since 1970."""

    exp: int | float | None = None
    nbf: int | float | None = None
    access: Literal["r", "m"] | tuple[CollectionAccess, ...] = "m"
    value_exists: ValueExists | None = None
    iat: Any = None
    iss: Any = None
    sub: Any = None
    aud: Any = None
    jti: Any = None
    subject: Any = None


@dataclass(slots=True)
class Token:
    """A token whose signature was right. Owned by ``Tokens``.

    ``proof`` says of which state of the collection ``value_exists`` is known, by the number of its newest operation.
    """

    claims: Claims
    access: Access
    exists: Filter | None
    proof: tuple[ReferenceType[Collection], int, bool] | None = None

    def check_times(self, now: float) -> None:
        """Raises Unauthorized before and after the token's time."""
        if self.claims.exp is not None and now >= self.claims.exp + LEEWAY_S:
            raise Unauthorized("Invalid API key or JWT: the token has expired")
        if self.claims.nbf is not None and now < self.claims.nbf - LEEWAY_S:
            raise Unauthorized("Invalid API key or JWT: the token is not valid yet")


class Tokens:
    """Owned by the task that answers requests: the event loop's thread."""

    def __init__(self, key: str) -> None:
        import jwt

        # An operator is told once, when the server starts, and not by a line of Python's for a client's request.
        warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)
        self._error = jwt.PyJWTError
        self._signed = jwt.PyJWS(algorithms=["HS256"])
        self._key = key.encode()
        self._remembered: OrderedDict[bytes, Token] = OrderedDict()

    def verify(self, text: bytes) -> Token:
        """The token that ``text`` is; raises Unauthorized."""
        token = self._remembered.get(text)
        if token is None:
            token = self._read(text)
            self._remembered[text] = token
            if len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(text)
        token.check_times(time.time())
        return token

    def _read(self, text: bytes) -> Token:
        try:
            payload = self._signed.decode(text, self._key, algorithms=["HS256"])
        except (
            self._error,
            ValueError,
            RecursionError,
        ):  # a header that is nested too deeply is read before it is believed
            raise Unauthorized("Invalid API key or JWT") from None
        try:
            claims = msgspec.json.decode(payload, type=Claims)
            return Token(claims, _access(claims), _exists(claims))
        except (msgspec.DecodeError, BadRequest, RecursionError) as error:
            raise Unauthorized(f"Invalid API key or JWT: {error}") from error


def _access(claims: Claims) -> Access:
    match claims.access:
        case "m":
            return Access("manage")
        case "r":
            return Access("read")
        case entries:
            return Access(
                "granted",
                tuple(
                    Grant(
                        entry.collection,
                        writes=entry.access == "rw",
                        only=_filter(entry.payload.items()) if entry.payload else None,
                    )
                    for entry in entries
                ),
            )


def _exists(claims: Claims) -> Filter | None:
    if claims.value_exists is None:
        return None
    return _filter((match.key, match.value) for match in claims.value_exists.matches)


def _filter(values: Iterable[tuple[str, Value]]) -> Filter:
    """Raises BadRequest for a key that is no JSON path."""
    return Filter(must=Conditions(FieldCondition(key=key, match=MatchValue(value=value)) for key, value in values))
