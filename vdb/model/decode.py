"""Decoding JSON into the model: unions that msgspec cannot tell apart by itself are read by their keys.

msgspec refuses unions of untagged structs. A type that stands for one is a class with ``decode``, which looks at the
plain value and picks the struct; ``alternatives`` names what it can become, for the OpenAPI document.

Qdrant reads some fields under a second name too. A struct declares it beside the field that it means:
``with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET``. No value fits such a field, so that
decoding stops where one stands, and starts again with the documented names: requests without one pay nothing. What is
decoded, stored, answered and documented never has another name.

Assumes: a client spells another name without escapes.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Generic, Protocol, TypeVar, Union, cast, get_args, get_origin

import msgspec

from vdb.errors import MalformedBody

T = TypeVar("T")

# One level of a JSON text: what is inside stays text, so that payloads and numbers are copied as they stand.
_OPENED: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class AnotherNameOf:
    """Marks a field of type UnsetType that stands for another ``field`` of the same struct."""

    field: str


class DecodedByShape(Protocol):
    """A custom type that reads itself from plain JSON values."""

    alternatives: ClassVar[tuple[Any, ...]]

    @classmethod
    def decode(cls, value: Any) -> Any:
        """Raises ValueError (msgspec adds the place) or BadRequest."""


def decode_hook(kind: type[Any], value: Any) -> Any:
    """msgspec's ``dec_hook`` for every custom type of the model, and for other names of fields, which it refuses."""
    if kind is msgspec.UnsetType:
        raise ValueError("This is not the documented name of the field")
    return cast(DecodedByShape, kind).decode(value)


class Decoder(Generic[T]):
    """Decodes JSON texts into ``kind``, a type of the model."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind, dec_hook=decode_hook)

    def decode(self, text: bytes) -> T:
        """Raises msgspec's errors, MalformedBody or BadRequest."""
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError:
            documented = with_documented_names(text, self._kind)
            if documented is text:
                raise
        return self._decoder.decode(documented)


def convert(value: Any, kind: type[T]) -> T:
    """A plain JSON value as ``kind``; raises msgspec.ValidationError or BadRequest."""
    try:
        return msgspec.convert(value, kind, dec_hook=decode_hook)
    except msgspec.ValidationError:
        documented = _documented(value, kind)
        if documented is value:
            raise
    return msgspec.convert(documented, kind, dec_hook=decode_hook)


def convert_part(value: Any, kind: type[T]) -> T:
    """``convert`` for use inside a ``decode``: raises ValueError with the place inside; msgspec adds its own."""
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        place = path.rstrip("`").lstrip(".")
        raise ValueError(f"{message} (in `{place}`)" if place else message) from error


def with_documented_names(text: bytes, kind: Any) -> bytes:
    """``text`` where no other name of a field stands in it, else the same JSON without them.

    What custom types read is left to them. Raises msgspec.DecodeError for what is not JSON, and MalformedBody for a
    field that stands under two names.
    """
    if not any(b'"%b"' % name.encode() in text for name in _names_within(kind)):
        return text
    raw = msgspec.Raw(text)
    documented = _documented(raw, kind)
    return text if documented is raw else bytes(documented)


def another_name(field: msgspec.structs.FieldInfo) -> AnotherNameOf | None:
    """What ``field`` stands for; None where it is a field of its own."""
    return next((mark for mark in get_args(field.type)[1:] if isinstance(mark, AnotherNameOf)), None)


def _documented(value: Any, kind: Any) -> Any:
    """``value``, plain or Raw, with the documented names; itself where it has no others."""
    if isinstance(value, msgspec.Raw):
        try:
            opened = _OPENED.decode(value)
        except msgspec.ValidationError:
            return value
        documented = _documented(opened, kind)
        return value if documented is opened else msgspec.Raw(msgspec.json.encode(documented))
    for member in _members(kind):
        arguments = get_args(member)
        if isinstance(value, list) and get_origin(member) is list:
            items = [_documented(item, arguments[0]) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, dict) and get_origin(member) is dict:
            return _with(value, {key: _documented(item, arguments[1]) for key, item in value.items()})
        if isinstance(value, dict) and get_origin(member) is None:
            return _documented_fields(value, member)
    return value


def _documented_fields(value: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    other_names, within = _fields(kind)
    if any(name in value for name in other_names):
        renamed = {other_names.get(key, key): item for key, item in value.items()}
        if len(renamed) < len(value):
            field = next(field for name, field in other_names.items() if name in value and field in value)
            raise MalformedBody(f"duplicate field `{field}`")
        value = renamed
    return _with(value, {name: _documented(value[name], field) for name, field in within.items() if name in value})


def _with(value: dict[str, Any], documented: dict[str, Any]) -> dict[str, Any]:
    return value | documented if any(value[key] is not item for key, item in documented.items()) else value


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[dict[str, str], dict[str, Any]]:
    """The other names of a struct's fields with the fields that they mean, and the types of fields that have some."""
    other_names: dict[str, str] = {}
    within: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if mark := another_name(field):
            other_names[field.name] = mark.field
        elif _names_within(field.type):
            within[field.name] = field.type
    return other_names, within


def _members(kind: Any) -> tuple[Any, ...]:
    """The structs, lists and maps that a value of ``kind`` can be, of those that have other names in them."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(member for choice in get_args(kind) for member in _members(choice))
    return (kind,) if _names_within(kind) else ()


def _names_within(kind: Any) -> frozenset[str]:
    """Every other name in ``kind``, however deep; not what custom types read."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _names_within_struct(kind)
    return frozenset().union(*map(_names_within, get_args(kind)))


@cache
def _names_within_struct(kind: type[msgspec.Struct]) -> frozenset[str]:
    names: set[str] = set()
    met: set[Any] = set()
    left: list[Any] = [kind]
    while left:
        inner = left.pop()
        if not (isinstance(inner, type) and issubclass(inner, msgspec.Struct)):
            left.extend(get_args(inner))
        elif inner not in met:
            met.add(inner)
            for field in msgspec.structs.fields(inner):
                if another_name(field):
                    names.add(field.name)
                else:
                    left.append(field.type)
    return frozenset(names)
