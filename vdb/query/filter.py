"""Filters against payloads: the exact answer for one point, whatever is indexed.

A filter is compiled once into closures, so that a scan decides nothing about conditions but their outcome.

How values compare (Qdrant's server decides, edge by edge):

- Types never cross: ``1`` is not ``"1"``, ``true`` is not ``1``, and ``match`` on integers does not see ``1.0``. Ranges
  see integers and floats alike.
- An array matches where one of its elements does. Arrays in arrays are not opened; nulls match nothing.
- ``except`` asks for some value that is none of the listed ones, of whatever type: a missing field has none.
- ``values_count`` counts an array's elements, 0 for null or a missing field, 1 for all else.
- ``is_empty`` is missing, null or ``[]``; ``is_null`` is null or an array that holds a null.
- Several tests in one condition are alternatives.
- Inside a nested filter there are no ids, vectors or slices: such conditions do not hold.

Guarantees: a Matcher is immutable, and may be used from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vdb.model.conditions import (
    Condition,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    Nested,
    NestedCondition,
    SliceCondition,
    clauses,
    subfilter,
)
from vdb.model.field_index import TextIndexParams
from vdb.model.id_hash import in_slice
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, parse_path, value_reader
from vdb.segment.fields.text_analysis import DEFAULT_TEXT
from vdb.segment.fields.value_tests import ValueTest, count_test, is_empty_value, is_null_value, value_tests

Payload = Mapping[str, Any]


@dataclass(slots=True)
class PointFacts:
    """What conditions can ask about a point.

    ``payload`` and ``vector_names`` may stay empty where a matcher does not need them.
    """

    id: PointId
    payload: Payload
    vector_names: Collection[str] = ()


Test = Callable[[PointFacts], bool]
ValuesTest = Callable[[Sequence[Any]], bool]

# The id of the elements that nested filters look at: they have none.
_NO_ID: Final = -1
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Matcher:
    """A compiled filter. The others tell what PointFacts must hold."""

    matches: Test
    needs_payload: bool
    needs_vectors: bool
    needs_id: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where conditions stand: ``prefix`` is the path of the nested elements, None at the point itself.

    ``texts`` holds the text indexes by path, which decide how texts are cut.
    """

    texts: Mapping[JsonPath, TextIndexParams]
    prefix: JsonPath | None = None

    def text_params(self, path: JsonPath) -> TextIndexParams:
        return self.texts.get(self.prefix.child(path) if self.prefix is not None else path, DEFAULT_TEXT)


def compile_filter(filter: Filter, texts: Mapping[JsonPath, TextIndexParams] | None = None) -> Matcher:
    """The test of whole points.

    ``texts`` are the fields with a text index: their texts are cut as it cuts them, so that an answer does not depend
    on who gives it.
    """
    return Matcher(
        _filter(filter, _Scope(texts or {})),
        needs_payload(filter),
        needs_vectors=_asks(filter, HasVectorCondition),
        needs_id=_asks(filter, HasIdCondition, SliceCondition),
    )


def compile_condition(condition: Condition, texts: Mapping[JsonPath, TextIndexParams] | None = None) -> Test:
    """The test of one condition."""
    return _condition(condition, _Scope(texts or {}))


def needs_payload(filter: Filter) -> bool:
    """False where ids and vector names decide alone."""
    return any(_reads_payload(condition) for clause in clauses(filter) for condition in clause)


def _reads_payload(condition: Condition) -> bool:
    match condition:
        case Filter():
            return needs_payload(condition)
        case HasIdCondition() | HasVectorCondition() | SliceCondition():
            return False
        case _:
            return True


def _asks(filter: Filter, *kinds: type[Condition]) -> bool:
    """Whether a condition of one of ``kinds`` is anywhere in it."""
    for clause in clauses(filter):
        for condition in clause:
            inner = subfilter(condition)
            if isinstance(condition, kinds) or (inner is not None and _asks(inner, *kinds)):
                return True
    return False


def _filter(filter: Filter, scope: _Scope) -> Test:
    tests: list[Test] = [_condition(condition, scope) for condition in filter.must or ()]
    if filter.must_not:
        tests.append(_none([_condition(condition, scope) for condition in filter.must_not]))
    if filter.should:
        tests.append(_some([_condition(condition, scope) for condition in filter.should]))
    if filter.min_should is not None:
        alternatives = [_condition(condition, scope) for condition in filter.min_should.conditions]
        tests.append(_at_least(alternatives, filter.min_should.min_count))
    return _every(tests)


def _condition(condition: Condition, scope: _Scope) -> Test:
    match condition:
        case FieldCondition():
            return _field(condition, scope)
        case IsEmptyCondition(is_empty=field):
            return _field(FieldCondition(key=field.key, is_empty=True), scope)
        case IsNullCondition(is_null=field):
            return _field(FieldCondition(key=field.key, is_null=True), scope)
        case NestedCondition(nested=nested):
            return _nested(nested, scope)
        case Filter():
            return _filter(condition, scope)
        case _ if scope.prefix is not None:
            return _never
        case HasIdCondition():
            ids = condition.ids
            return lambda point: point.id in ids
        case HasVectorCondition(has_vector=name):
            return lambda point: name in point.vector_names
        case SliceCondition(slice=part):
            return lambda point: in_slice(point.id, part.total, part.index)
    raise AssertionError(f"unknown condition {condition!r}")


def _every(tests: list[Test]) -> Test:
    match tests:
        case []:
            return lambda _: True
        case [only]:
            return only
        case [first, second]:
            return lambda point: first(point) and second(point)

    def every(point: PointFacts) -> bool:
        for test in tests:  # noqa: SIM110  a generator would double the cost of a scan
            if not test(point):
                return False
        return True

    return every


def _some(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def some(point: PointFacts) -> bool:
        for test in tests:  # noqa: SIM110
            if test(point):
                return True
        return False

    return some


def _none(tests: list[Test]) -> Test:
    some = _some(tests)
    return lambda point: not some(point)


def _at_least(tests: list[Test], min_count: int) -> Test:
    def at_least(point: PointFacts) -> bool:
        found = 0
        for test in tests:
            if test(point):
                found += 1
                if found == min_count:
                    return True
        return False

    return at_least


def _never(_: PointFacts) -> bool:
    return False


def _nested(nested: Nested, scope: _Scope) -> Test:
    path = parse_path(nested.key).elements
    read = value_reader(path)
    prefix = path if scope.prefix is None else scope.prefix.child(path)
    matches = _filter(nested.filter, _Scope(scope.texts, prefix))

    def test(point: PointFacts) -> bool:
        for element in read(point.payload):
            if element.__class__ is dict and matches(PointFacts(_NO_ID, element)):
                return True
        return False

    return test


def _field(condition: FieldCondition, scope: _Scope) -> Test:
    path = parse_path(condition.key)
    per_value = value_tests(condition, scope.text_params(path))
    per_values = _values_tests(condition)
    missing = _holds_when_missing(condition)
    if len(per_value) == 1 and not per_values:
        return _any_value(path, per_value[0], missing)
    read = value_reader(path)

    def test(point: PointFacts) -> bool:
        values = read(point.payload)
        if not values:
            return missing
        for per in per_values:
            if per(values):
                return True
        return any(per(value) for per in per_value for value in values)

    return test


def _any_value(path: JsonPath, test: ValueTest, missing: bool) -> Test:
    if not path.rest:
        key = path.first

        def single(point: PointFacts) -> bool:
            value = point.payload.get(key, _MISSING)
            return missing if value is _MISSING else test(value)

        return single
    read = value_reader(path)

    def several(point: PointFacts) -> bool:
        values = read(point.payload)
        if not values:
            return missing
        for value in values:  # noqa: SIM110
            if test(value):
                return True
        return False

    return several


def _holds_when_missing(condition: FieldCondition) -> bool:
    return (
        condition.is_empty is True
        or condition.is_null is False
        or (condition.values_count is not None and count_test(condition.values_count)(0))
    )


def _values_tests(condition: FieldCondition) -> list[ValuesTest]:
    tests: list[ValuesTest] = []
    if condition.is_empty is not None:
        empty_wanted = condition.is_empty
        tests.append(lambda values: all(map(is_empty_value, values)) is empty_wanted)
    if condition.is_null is not None:
        null_wanted = condition.is_null
        tests.append(lambda values: any(map(is_null_value, values)) is null_wanted)
    return tests
