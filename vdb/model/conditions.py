"""Filters and their conditions, as Qdrant's API spells them.

A condition is told by its keys: ``key`` makes a FieldCondition, ``has_id`` a HasIdCondition, and so on; what has none
of them is a Filter, which is the only one that refuses keys it does not know. Unlike msgspec's own structs, filters in
filters are read here, because their depth needs a bound and their errors a place.

Guarantees: a filter that was decoded can be evaluated. Paths parse, datetimes and shapes are valid, and no filter is
nested deeper than ``FILTER_DEPTH_MAX``, so that recursion over it is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final, cast

import msgspec

from vdb.errors import BadRequest, OutOfBounds
from vdb.model.datetimes import parse_datetime
from vdb.model.decode import decode_hook
from vdb.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius
from vdb.model.ids import PointId, parse_point_id
from vdb.model.json_path import parse_path

# A filter in a list of a filter is two levels of JSON, and Qdrant's parser refuses JSON deeper than 128.
FILTER_DEPTH_MAX: Final = 64

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Term = str | int | bool


class Condition:
    """One of the conditions below."""

    __slots__ = ()
    alternatives: ClassVar[tuple[Any, ...]] = (
        "FieldCondition",
        "IsEmptyCondition",
        "IsNullCondition",
        "HasIdCondition",
        "HasVectorCondition",
        "SliceCondition",
        "NestedCondition",
        "Filter",
    )

    @classmethod
    def decode(cls, value: Any) -> Condition:
        return _condition(value, "", 1)


class Conditions(tuple[Condition, ...]):
    """Conditions of one clause; a single one may stand without its list."""

    __slots__ = ()
    alternatives: ClassVar[tuple[Any, ...]] = (Condition, "list[Condition]")

    @classmethod
    def decode(cls, value: Any) -> Conditions:
        return _conditions(value, "", 1)


class Match:
    """How a value must compare; the first of its keys that is there decides."""

    __slots__ = ()
    alternatives: ClassVar[tuple[Any, ...]] = (
        "MatchValue",
        "MatchText",
        "MatchTextAny",
        "MatchPhrase",
        "MatchPrefix",
        "MatchAny",
        "MatchExcept",
    )

    @classmethod
    def decode(cls, value: Any) -> Match:
        for key, kind in _MATCHES.items():
            if isinstance(value, dict) and key in value:
                return cast(Match, msgspec.convert(value, kind))
        raise ValueError(f"Expected `match` with one of {', '.join(f'`{key}`' for key in _MATCHES)}")


class MatchValue(msgspec.Struct, Match, frozen=True, kw_only=True):
    value: str | Int64 | bool


class MatchText(msgspec.Struct, Match, frozen=True, kw_only=True):
    """Every word of ``text`` is in the value."""

    text: str


class MatchTextAny(msgspec.Struct, Match, frozen=True, kw_only=True):
    """Some word of ``text_any`` is in the value."""

    text_any: str


class MatchPhrase(msgspec.Struct, Match, frozen=True, kw_only=True):
    """The words of ``phrase`` are in the value, one after another."""

    phrase: str


class MatchPrefix(msgspec.Struct, Match, frozen=True, kw_only=True):
    """The value is a string that starts with ``prefix``, letter by letter."""

    prefix: str


class MatchAny(msgspec.Struct, Match, frozen=True, kw_only=True):
    any: tuple[str | Int64, ...]

    def __post_init__(self) -> None:
        _one_type(self.any, "any")


class MatchExcept(msgspec.Struct, Match, frozen=True, kw_only=True, rename={"except_": "except"}):
    """Some value is none of these."""

    except_: tuple[str | Int64, ...]

    def __post_init__(self) -> None:
        _one_type(self.except_, "except")


class RangeInterface:
    """Bounds of numbers, or of datetimes where one of them is a string."""

    __slots__ = ()
    alternatives: ClassVar[tuple[Any, ...]] = ("Range", "DatetimeRange")

    @classmethod
    def decode(cls, value: Any) -> RangeInterface:
        bounds = [value.get(name) for name in ("lt", "gt", "gte", "lte")] if isinstance(value, dict) else []
        datetimes = any(isinstance(bound, str) for bound in bounds)
        return msgspec.convert(value, DatetimeRange) if datetimes else msgspec.convert(value, Range)


class Range(msgspec.Struct, RangeInterface, frozen=True, kw_only=True, omit_defaults=True):
    """Whole numbers stay whole, so that large ones are compared exactly."""

    lt: int | float | None = None
    gt: int | float | None = None
    gte: int | float | None = None
    lte: int | float | None = None


class DatetimeRange(msgspec.Struct, RangeInterface, frozen=True, kw_only=True, omit_defaults=True):
    lt: str | None = None
    gt: str | None = None
    gte: str | None = None
    lte: str | None = None

    def __post_init__(self) -> None:
        self.micros()

    def micros(self) -> Range:
        """The same bounds in microseconds since 1970."""
        bounds = {name: getattr(self, name) for name in self.__struct_fields__}
        return Range(**{name: parse_datetime(text) for name, text in bounds.items() if text is not None})


class ValuesCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    lt: Count | None = None
    gt: Count | None = None
    gte: Count | None = None
    lte: Count | None = None


class FieldCondition(msgspec.Struct, Condition, frozen=True, kw_only=True, omit_defaults=True):
    """A test of the values at ``key``; of several tests in one condition any may hold."""

    key: str
    match: Match | None = None
    range: RangeInterface | None = None
    geo_bounding_box: GeoBoundingBox | None = None
    geo_radius: GeoRadius | None = None
    geo_polygon: GeoPolygon | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None

    def __post_init__(self) -> None:
        parse_path(self.key)
        if all(getattr(self, name) is None for name in self.__struct_fields__ if name != "key"):
            raise OutOfBounds(self.key, "At least one field condition must be specified")


class PayloadField(msgspec.Struct, frozen=True, kw_only=True):
    key: str

    def __post_init__(self) -> None:
        parse_path(self.key)


class IsEmptyCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    """The field is missing, null or an empty array."""

    is_empty: PayloadField


class IsNullCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    """The field is null, or an array that holds a null."""

    is_null: PayloadField


class HasIdCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    has_id: tuple[int | str, ...]

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "has_id", tuple(map(parse_point_id, self.has_id)))

    @property
    def ids(self) -> frozenset[PointId]:
        return frozenset(self.has_id)


class HasVectorCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    has_vector: str


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    total: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    index: UInt32

    def __post_init__(self) -> None:
        if self.index >= self.total:
            raise OutOfBounds("slice.index", f"value {self.index} invalid, must be less than total {self.total}")


class SliceCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    """The point falls into one of ``total`` parts of the id space, by a hash of its id."""

    slice: Slice


class MinShould(msgspec.Struct, frozen=True, kw_only=True):
    conditions: Conditions
    min_count: Annotated[int, msgspec.Meta(ge=1)]


class Filter(msgspec.Struct, Condition, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All of ``must``, at least one of ``should``, none of ``must_not``; a clause without conditions asks nothing."""

    should: Conditions | None = None
    min_should: MinShould | None = None
    must: Conditions | None = None
    must_not: Conditions | None = None


class Nested(msgspec.Struct, frozen=True, kw_only=True):
    """Some element of the array at ``key`` is an object that ``filter`` matches by itself."""

    key: str
    filter: Filter

    def __post_init__(self) -> None:
        parse_path(self.key)


class NestedCondition(msgspec.Struct, Condition, frozen=True, kw_only=True):
    nested: Nested


def clauses(filter: Filter) -> Iterator[Conditions]:
    """The conditions of every clause that is there."""
    for clause in (filter.must, filter.should, filter.must_not):
        if clause:
            yield clause
    if filter.min_should is not None:
        yield filter.min_should.conditions


def subfilter(condition: Condition) -> Filter | None:
    """The filter inside a condition that is or holds one."""
    match condition:
        case Filter():
            return condition
        case NestedCondition(nested=nested):
            return nested.filter
        case _:
            return None


_MATCHES: Final[dict[str, type[msgspec.Struct]]] = {
    "value": MatchValue,
    "text": MatchText,
    "text_any": MatchTextAny,
    "phrase": MatchPhrase,
    "prefix": MatchPrefix,
    "any": MatchAny,
    "except": MatchExcept,
}
_LEAVES: Final[dict[str, type[msgspec.Struct]]] = {
    "key": FieldCondition,
    "is_empty": IsEmptyCondition,
    "is_null": IsNullCondition,
    "has_id": HasIdCondition,
    "has_vector": HasVectorCondition,
    "slice": SliceCondition,
}


def _conditions(value: Any, place: str, depth: int) -> Conditions:
    if isinstance(value, list):
        return Conditions(_condition(item, f"{place}[{position}]", depth) for position, item in enumerate(value))
    return Conditions((_condition(value, place, depth),))


def _condition(value: Any, place: str, depth: int) -> Condition:
    if not isinstance(value, dict):
        raise ValueError(_placed(f"Expected a condition, got `{type(value).__name__}`", place))
    for key, kind in _LEAVES.items():
        if key in value:
            return cast(Condition, _leaf(value, kind, place))
    if "nested" in value:
        return _nested(value["nested"], f"{place}.nested", depth)
    return _filter(value, place, depth + 1)


def _nested(value: Any, place: str, depth: int) -> NestedCondition:
    key, filter = _fields(value, place, ("key", "filter"))
    if not isinstance(key, str):
        raise ValueError(_placed("Expected `str`", f"{place}.key"))
    return NestedCondition(nested=Nested(key=key, filter=_filter(filter, f"{place}.filter", depth + 1)))


def _filter(value: Any, place: str, depth: int) -> Filter:
    if depth > FILTER_DEPTH_MAX:
        raise BadRequest(f"filter is nested too deep, at most {FILTER_DEPTH_MAX} levels are allowed")
    if not isinstance(value, dict):
        raise ValueError(_placed(f"Expected a filter, got `{type(value).__name__}`", place))
    readers: dict[str, Callable[[Any, str, int], Any]] = {
        "must": _conditions,
        "should": _conditions,
        "must_not": _conditions,
        "min_should": _min_should,
    }
    for key in value:
        if key not in readers:
            raise ValueError(_placed(f"unknown field `{key}`, expected a condition or {', '.join(readers)}", place))
    return Filter(
        **{key: readers[key](clause, f"{place}.{key}", depth) for key, clause in value.items() if clause is not None}
    )


def _min_should(value: Any, place: str, depth: int) -> MinShould:
    conditions, min_count = _fields(value, place, ("conditions", "min_count"))
    read = _conditions(conditions, f"{place}.conditions", depth)
    if type(min_count) is not int:
        raise ValueError(_placed("Expected `int`", f"{place}.min_count"))
    if min_count < 1:
        raise OutOfBounds(f"{place}.min_count".lstrip("."), f"value {min_count} invalid, must be 1 or larger")
    return MinShould(conditions=read, min_count=min_count)


def _fields(value: Any, place: str, names: tuple[str, str]) -> tuple[Any, Any]:
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise ValueError(_placed(f"Object missing required field `{name}`", place))
    return value[names[0]], value[names[1]]


def _leaf(value: Any, kind: type[msgspec.Struct], place: str) -> msgspec.Struct:
    try:
        return msgspec.convert(value, kind, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        if kind is FieldCondition:
            message = f"{message}, key `{value['key']}`"
        raise ValueError(_placed(message, place + path.rstrip("`"))) from error


def _placed(message: str, place: str) -> str:
    """msgspec adds the path of the clause; ``place`` is where in it."""
    return f"{message} (in `{place.lstrip('.')}`)" if place else message


def _one_type(values: tuple[str | int, ...], name: str) -> None:
    if len({type(value) for value in values}) > 1:
        raise ValueError(f"`{name}` must hold either strings or integers")
