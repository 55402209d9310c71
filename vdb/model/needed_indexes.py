"""Which field indexes a filter needs to be answered without reading payloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from vdb.model.conditions import (
    Condition,
    DatetimeRange,
    FieldCondition,
    Filter,
    IsEmptyCondition,
    IsNullCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchTextAny,
    MatchValue,
    NestedCondition,
    clauses,
)
from vdb.model.field_index import (
    IntegerIndexParams,
    PayloadFieldSchema,
    PayloadSchemaParams,
    PayloadSchemaType,
    TextIndexParams,
    schema_params,
    schema_type,
)
from vdb.model.json_path import JsonPath, parse_path

_ANY: tuple[PayloadSchemaType, ...] = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")


@dataclass(frozen=True, slots=True)
class NeededIndex:
    """One of ``kinds`` at ``path`` would answer a condition; ``phrases`` asks for one that knows where words stand."""

    path: JsonPath
    kinds: tuple[PayloadSchemaType, ...]
    phrases: bool = False

    def served_by(self, schema: PayloadFieldSchema) -> bool:
        if schema_type(schema) not in self.kinds:
            return False
        match schema_params(schema):
            case TextIndexParams(phrase_matching=phrase_matching):
                return bool(phrase_matching) or not self.phrases
            case IntegerIndexParams(lookup=lookup, range=range_):
                # A range may be answered by floats too, a match by nothing else.
                return range_ is not False if "float" in self.kinds else lookup is not False or self.kinds == _ANY
        return True

    @property
    def schemas(self) -> Sequence[PayloadSchemaType | PayloadSchemaParams]:
        """What to create, the best first."""
        if self.phrases:
            return [TextIndexParams(phrase_matching=True)]
        return ["keyword"] if self.kinds == _ANY else list(self.kinds)

    def __str__(self) -> str:
        kinds = ["text (with phrase_matching: true)"] if self.phrases else self.kinds
        return ", ".join(kinds)


def missing_indexes(filters: Iterable[Filter], schemas: Mapping[JsonPath, PayloadFieldSchema]) -> Iterator[NeededIndex]:
    """What ``filters`` need and ``schemas`` (by path) do not have, in the order of their conditions."""
    for filter in filters:
        for needed in _of_filter(filter, None):
            schema = schemas.get(needed.path)
            if schema is None or not needed.served_by(schema):
                yield needed


def _of_filter(filter: Filter, prefix: JsonPath | None) -> Iterator[NeededIndex]:
    for conditions in clauses(filter):
        for condition in conditions:
            yield from _of_condition(condition, prefix)


def _of_condition(condition: Condition, prefix: JsonPath | None) -> Iterator[NeededIndex]:
    match condition:
        case Filter():
            yield from _of_filter(condition, prefix)
        case NestedCondition(nested=nested):
            yield from _of_filter(nested.filter, _below(prefix, nested.key).elements)
        case IsEmptyCondition(is_empty=field) | IsNullCondition(is_null=field):
            yield NeededIndex(_below(prefix, field.key), _ANY)
        case FieldCondition():
            yield from _of_field(condition, _below(prefix, condition.key))


def _of_field(condition: FieldCondition, path: JsonPath) -> Iterator[NeededIndex]:
    if condition.match is not None:
        yield NeededIndex(path, _kinds_of_match(condition.match), isinstance(condition.match, MatchPhrase))
    if condition.range is not None:
        dates = isinstance(condition.range, DatetimeRange)
        yield NeededIndex(path, ("datetime",) if dates else ("integer", "float"))
    if (condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon) != (None, None, None):
        yield NeededIndex(path, ("geo",))
    if (condition.values_count, condition.is_empty, condition.is_null) != (None, None, None):
        yield NeededIndex(path, _ANY)


def _kinds_of_match(match: Match) -> tuple[PayloadSchemaType, ...]:
    match match:
        case MatchText() | MatchTextAny() | MatchPhrase():
            return ("text",)
        case MatchPrefix():
            return ("keyword",)
        case MatchValue(value=value):
            return _kinds_of_values((value,))
        case MatchAny(any=values) | MatchExcept(except_=values):
            return _kinds_of_values(values)
    raise AssertionError(f"unknown match {match!r}")


def _kinds_of_values(values: Sequence[str | int | bool]) -> tuple[PayloadSchemaType, ...]:
    if not values:
        return _ANY
    if isinstance(values[0], bool):
        return ("bool",)
    if isinstance(values[0], int):
        return ("integer",)
    return ("keyword", "uuid") if all(map(_is_uuid, values)) else ("keyword",)


def _is_uuid(value: str | int | bool) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _below(prefix: JsonPath | None, key: str) -> JsonPath:
    path = parse_path(key)
    return path if prefix is None else prefix.child(path)
