"""Decoding JSON into the model: unions that msgspec cannot tell apart by itself are read by their keys.

msgspec refuses unions of untagged structs. A type that stands for one is a class with ``decode``, which looks at the
plain value and picks the struct; ``alternatives`` names what it can become, for the OpenAPI document.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar, cast

import msgspec

T = TypeVar("T")


class DecodedByShape(Protocol):
    """A custom type that reads itself from plain JSON values."""

    alternatives: ClassVar[tuple[Any, ...]]

    @classmethod
    def decode(cls, value: Any) -> Any:
        """Raises ValueError (msgspec adds the place) or BadRequest."""


def decode_hook(kind: type[Any], value: Any) -> Any:
    """msgspec's ``dec_hook`` for every custom type of the model."""
    return cast(DecodedByShape, kind).decode(value)


def convert(value: Any, kind: type[T]) -> T:
    """A plain JSON value as ``kind``; raises msgspec.ValidationError or BadRequest."""
    return msgspec.convert(value, kind, dec_hook=decode_hook)


def convert_part(value: Any, kind: type[T]) -> T:
    """``convert`` for use inside a ``decode``: raises ValueError with the place inside; msgspec adds its own."""
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        place = path.rstrip("`").lstrip(".")
        raise ValueError(f"{message} (in `{place}`)" if place else message) from error
