"""JSON paths: where a value lies in a payload, in Qdrant's notation.

=================  ===================================================================
``a.b``            the value under ``b`` of the object under ``a``
``a[].b``          ``b`` of every element of the array under ``a``
``a[2]``           the third element of the array under ``a``
``"a.b"."c d"``    keys with other characters than letters, digits, ``_`` and ``-``
=================  ===================================================================

A key never looks into an array by itself: ``a.b`` finds nothing where ``a`` is an array, ``a[].b`` nothing where it is
an object. A quoted key may be empty and cannot hold a quote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from vdb.errors import BadRequest

# A step into an object is its key, into an array its position, and None stands for ``[]``, every element.
Step = str | int | None

# Longer than any path a person writes; bounds the work and the cache for those that a program sends.
_PATH_CHARACTERS_MAX: Final = 4096
_PATHS_CACHED_MAX: Final = 2048
# Deeper than the JSON that is accepted; ``set_at`` recurses once a step.
_STEPS_MAX: Final = 128
# Positions beyond it are in no array that fits in a request.
_POSITION_DIGITS_MAX: Final = 10


class InvalidJsonPath(BadRequest, ValueError):
    """Not a JSON path (a ValueError too, so that decoders name its place)."""

    def __init__(self, path: str, reason: str) -> None:
        shown = path if len(path) <= 100 else path[:100] + "…"
        super().__init__(f"Invalid JSON path `{shown}`: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class JsonPath:
    """A parsed path: ``first`` is a key of the payload itself. Equal paths are equal however they were quoted."""

    first: str
    rest: tuple[Step, ...] = ()

    def __str__(self) -> str:
        """The path in its one shortest spelling."""
        parts = [_key_text(self.first)]
        for step in self.rest:
            match step:
                case None:
                    parts.append("[]")
                case int():
                    parts.append(f"[{step}]")
                case _:
                    parts.append("." + _key_text(step))
        return "".join(parts)

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.first, *self.rest)

    @cached_property
    def elements(self) -> JsonPath:
        """The elements of the array here: what a nested condition on this path looks at."""
        return self if self.rest and self.rest[-1] is None else JsonPath(self.first, (*self.rest, None))

    def child(self, path: JsonPath) -> JsonPath:
        """``path`` seen from here."""
        return JsonPath(self.first, (*self.rest, *path.steps))


@lru_cache(maxsize=_PATHS_CACHED_MAX)
def parse_path(text: str) -> JsonPath:
    """The path that ``text`` spells; raises InvalidJsonPath."""
    if len(text) > _PATH_CHARACTERS_MAX:
        raise InvalidJsonPath(text, f"longer than {_PATH_CHARACTERS_MAX} characters")
    first, at = _read_key(text, 0)
    rest: list[Step] = []
    while at < len(text):
        if text[at] == ".":
            key, at = _read_key(text, at + 1)
            rest.append(key)
        elif text[at] == "[":
            end = text.find("]", at)
            if end < 0:
                raise InvalidJsonPath(text, "`[` is not closed")
            rest.append(_position(text, text[at + 1 : end]))
            at = end + 1
        else:
            raise InvalidJsonPath(text, f"unexpected `{text[at]}` at character {at}, quote keys that hold it")
    if len(rest) >= _STEPS_MAX:
        raise InvalidJsonPath(text, f"more than {_STEPS_MAX} steps")
    return JsonPath(first, tuple(rest))


def values_at(payload: Mapping[str, Any], path: JsonPath) -> list[Any]:
    """The values that ``path`` reaches, in order; none, an empty list. Arrays are not opened at its end."""
    if path.first not in payload:
        return []
    found = [payload[path.first]]
    for step in path.rest:
        if isinstance(step, str):
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
        elif step is None:
            found = [element for value in found if isinstance(value, list) for element in value]
        else:
            found = [value[step] for value in found if isinstance(value, list) and step < len(value)]
        if not found:
            break
    return found


def value_reader(path: JsonPath) -> Callable[[Mapping[str, Any]], list[Any]]:
    """``values_at`` for one path and many payloads."""
    if path.rest:
        return lambda payload: values_at(payload, path)
    key = path.first
    return lambda payload: [payload[key]] if key in payload else []


def set_at(payload: dict[str, Any], path: JsonPath | None, value: Mapping[str, Any]) -> None:
    """Merges ``value`` into the object at ``path``, or into the payload itself, in place.

    Keys of ``value`` replace those that are there, null removes them. What stands in the way and is no object becomes
    one, what is no array where ``path`` wants one becomes an empty array; positions that do not exist stay so.
    """
    if path is None:
        _merge(payload, value)
    else:
        payload[path.first] = _merged(payload.get(path.first), path.rest, value)


def delete_at(payload: dict[str, Any], path: JsonPath) -> None:
    """Removes what ``path`` names, in place. ``[]`` at its end empties the array; single positions stay."""
    if not path.rest:
        payload.pop(path.first, None)
        return
    *before, last = path.rest
    for holder in values_at(payload, JsonPath(path.first, tuple(before))):
        if isinstance(last, str) and isinstance(holder, dict):
            holder.pop(last, None)
        elif last is None and isinstance(holder, list):
            holder.clear()


def _merged(current: object, steps: tuple[Step, ...], value: Mapping[str, Any]) -> object:
    if not steps or isinstance(steps[0], str):
        target = current if isinstance(current, dict) else {}
        if not steps:
            _merge(target, value)
        else:
            target[steps[0]] = _merged(target.get(steps[0]), steps[1:], value)
        return target
    elements = current if isinstance(current, list) else []
    positions = range(len(elements)) if steps[0] is None else [steps[0]]
    for position in positions:
        if position < len(elements):
            elements[position] = _merged(elements[position], steps[1:], value)
    return elements


def _merge(target: dict[str, Any], value: Mapping[str, Any]) -> None:
    for key, item in value.items():
        if item is None:
            target.pop(key, None)
        else:
            target[key] = _copied(item)


def _copied(value: Any) -> Any:
    """A copy that shares nothing: one value may be merged into several elements of one payload."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _read_key(text: str, start: int) -> tuple[str, int]:
    """The key that begins at ``start``, and where it ends."""
    if text.startswith('"', start):
        end = text.find('"', start + 1)
        if end < 0:
            raise InvalidJsonPath(text, "a quote is not closed")
        return text[start + 1 : end], end + 1
    end = start
    while end < len(text) and _is_bare(text[end]):
        end += 1
    if end == start:
        raise InvalidJsonPath(text, f"a key is missing at character {start}")
    return text[start:end], end


def _position(text: str, digits: str) -> int | None:
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _POSITION_DIGITS_MAX):
        raise InvalidJsonPath(text, f"`[{digits}]` is not a position in an array")
    return int(digits)


def _is_bare(character: str) -> bool:
    return character.isalnum() or character in "_-"


def _key_text(key: str) -> str:
    return key if key and all(map(_is_bare, key)) else f'"{key}"'
