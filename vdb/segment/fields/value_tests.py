"""Conditions against single JSON values: the one place that says what matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vdb.model.conditions import (
    DatetimeRange,
    FieldCondition,
    Match,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchText,
    MatchTextAny,
    MatchValue,
    Range,
    RangeInterface,
    ValuesCount,
)
from vdb.model.datetimes import datetime_micros
from vdb.model.field_index import TextIndexParams
from vdb.model.geo import GeoBoundingBox, GeoPolygon, GeoRadius, in_box, in_circle, in_polygon, lon_lat
from vdb.segment.fields.text_analysis import DEFAULT_TEXT, text_test

ValueTest = Callable[[Any], bool]
Shape = GeoBoundingBox | GeoRadius | GeoPolygon


def value_tests(condition: FieldCondition, text: TextIndexParams = DEFAULT_TEXT) -> list[ValueTest]:
    """The tests of one value at the condition's path; one that holds is enough."""
    tests: list[ValueTest] = []
    if condition.match is not None:
        tests.append(_element_wise(match_test(condition.match, text)))
    if condition.range is not None:
        tests.append(_element_wise(range_test(condition.range)))
    tests.extend(_element_wise(geo_test(shape)) for shape in shapes(condition))
    if condition.values_count is not None:
        counts = count_test(condition.values_count)
        tests.append(lambda value: counts(count_of(value)))
    return tests


def shapes(condition: FieldCondition) -> list[Shape]:
    """The geographic tests of a condition."""
    given = (condition.geo_bounding_box, condition.geo_radius, condition.geo_polygon)
    return [shape for shape in given if shape is not None]


def _element_wise(test: ValueTest) -> ValueTest:
    def any_element(value: Any) -> bool:
        if value.__class__ is list:
            for element in value:  # noqa: SIM110  a generator would double the cost of a scan
                if test(element):
                    return True
            return False
        return test(value)

    return any_element


def match_test(match: Match, text: TextIndexParams) -> ValueTest:
    """The test of one value that is not an array."""
    match match:
        case MatchValue(value=wanted):
            kind = wanted.__class__
            return lambda value: value.__class__ is kind and value == wanted
        case MatchAny(any=terms):
            members = frozenset(terms)
            if not members:
                return lambda _: False
            member_kind = terms[0].__class__
            return lambda value: value.__class__ is member_kind and value in members
        case MatchExcept(except_=terms):
            excluded = frozenset(terms)
            excluded_kind = terms[0].__class__ if terms else str
            return lambda value: value is not None and not (value.__class__ is excluded_kind and value in excluded)
        case MatchPrefix(prefix=prefix):
            return lambda value: value.__class__ is str and value.startswith(prefix)
        case MatchText() | MatchTextAny() | MatchPhrase():
            contains = text_test(text, match)
            return lambda value: value.__class__ is str and contains(value)
    raise AssertionError(f"unknown match {match!r}")


def range_test(bounds: RangeInterface) -> ValueTest:
    """The test of one number, or of one datetime."""
    match bounds:
        case DatetimeRange():
            within = number_test(bounds.micros())

            def datetime_within(value: Any) -> bool:
                if value.__class__ is not str:
                    return False
                micros = datetime_micros(value)
                return micros is not None and within(micros)

            return datetime_within
        case Range():
            holds = number_test(bounds)
            return lambda value: (value.__class__ is int or value.__class__ is float) and holds(value)
    raise AssertionError(f"unknown range {bounds!r}")


def number_test(bounds: Range) -> Callable[[int | float], bool]:
    """Python compares integers and floats by their exact values."""
    lt, gt, gte, lte = bounds.lt, bounds.gt, bounds.gte, bounds.lte

    def within(value: int | float) -> bool:
        return (
            (gte is None or value >= gte)
            and (lt is None or value < lt)
            and (lte is None or value <= lte)
            and (gt is None or value > gt)
        )

    return within


def geo_test(shape: Shape) -> ValueTest:
    contains = position_test(shape)

    def test(value: Any) -> bool:
        position = lon_lat(value)
        return position is not None and contains(*position)

    return test


def position_test(shape: Shape) -> Callable[[float, float], bool]:
    """The test of a longitude and a latitude."""
    match shape:
        case GeoBoundingBox():
            return lambda lon, lat: in_box(shape, lon, lat)
        case GeoRadius():
            return lambda lon, lat: in_circle(shape, lon, lat)
        case GeoPolygon():
            exterior = shape.exterior.ring()
            holes = [hole.ring() for hole in shape.interiors or ()]
            return lambda lon, lat: in_polygon(exterior, holes, lon, lat)


def count_test(bounds: ValuesCount) -> Callable[[int], bool]:
    return number_test(Range(lt=bounds.lt, gt=bounds.gt, gte=bounds.gte, lte=bounds.lte))


def count_of(value: Any) -> int:
    if value.__class__ is list:
        return len(value)
    return 0 if value is None else 1


def is_empty_value(value: Any) -> bool:
    return value is None or value == []


def is_null_value(value: Any) -> bool:
    return value is None or (value.__class__ is list and None in value)
