"""Filters answered from field indexes: a set of points, and what of the filter is left to check on their payloads.

Each condition gives the points that match it exactly, or more points than match it, or nothing at all; clauses combine
them as sets. What is not exact stays in the residual filter, which a scan of the candidates answers.

Guarantees: the points that match a filter are the candidates that match its residual, or all of them where it is None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from vdb.model.conditions import (
    Condition,
    Conditions,
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MinShould,
    Nested,
    NestedCondition,
)
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, parse_path
from vdb.segment.fields.bitmaps import bitmap_of, nums_of, union
from vdb.segment.fields.index import Estimate, FieldSnapshot

NumsOfIds = Callable[[Collection[PointId]], BitMap]
NumsWithVector = Callable[[str], BitMap | None]


@dataclass(frozen=True, slots=True)
class Resolved:
    """``candidates`` must not be changed: they may be an index's own."""

    candidates: BitMap
    residual: Filter | None

    def estimate(self) -> Estimate:
        """How many points match: known where nothing is left to check, half of the candidates for want of knowledge."""
        count = len(self.candidates)
        return Estimate.exactly(count) if self.residual is None else Estimate(0, (count + 1) // 2, count)


def resolve(
    filter: Filter,
    fields: Mapping[str, FieldSnapshot],
    all_points: BitMap,
    nums_of_ids: NumsOfIds,
    nums_with_vector: NumsWithVector | None = None,
) -> Resolved:
    """What the indexes know about ``filter``. ``fields`` are by the paths that they were made for.

    ``nums_of_ids`` gives the points that have one of some ids; ``nums_with_vector`` those with a vector of a name, or
    None where that must be looked up.
    """
    by_path = {parse_path(path): snapshot for path, snapshot in fields.items()}
    return _Resolver(by_path, all_points, nums_of_ids, nums_with_vector).filter(filter)


@dataclass(frozen=True, slots=True)
class _Part:
    """Points among which are all that match a condition, and what is left of it to check."""

    points: BitMap
    residual: Condition | None


@dataclass(frozen=True, slots=True)
class _Resolver:
    fields: Mapping[JsonPath, FieldSnapshot]
    all_points: BitMap
    nums_of_ids: NumsOfIds
    nums_with_vector: NumsWithVector | None

    def filter(self, filter: Filter) -> Resolved:
        candidates = self.all_points
        must: list[Condition] = []
        must_not: list[Condition] = []
        for condition in filter.must or ():
            part = self.condition(condition)
            if part is None:
                must.append(condition)
                continue
            candidates = candidates & part.points
            if part.residual is not None:
                must.append(part.residual)
            if not candidates:
                return Resolved(candidates, None)
        for condition in filter.must_not or ():
            part = self.condition(condition)
            if part is None or part.residual is not None:
                must_not.append(condition)
            else:
                candidates = candidates - part.points
        should, candidates = self._should(filter.should, candidates)
        min_should, candidates = self._min_should(filter.min_should, candidates)
        if not candidates or not (must or must_not or should or min_should):
            return Resolved(candidates, None)
        residual = Filter(
            must=Conditions(must) if must else None,
            must_not=Conditions(must_not) if must_not else None,
            should=should,
            min_should=min_should,
        )
        return Resolved(candidates, residual)

    def condition(self, condition: Condition) -> _Part | None:
        """None where no index knows anything about the condition."""
        match condition:
            case FieldCondition():
                return self._field(condition, parse_path(condition.key))
            case IsEmptyCondition(is_empty=field):
                return self._field(FieldCondition(key=field.key, is_empty=True), parse_path(field.key))
            case IsNullCondition(is_null=field):
                return self._field(FieldCondition(key=field.key, is_null=True), parse_path(field.key))
            case HasIdCondition():
                return _Part(self.nums_of_ids(condition.ids), None)
            case HasVectorCondition(has_vector=name):
                points = self.nums_with_vector(name) if self.nums_with_vector is not None else None
                return None if points is None else _Part(points, None)
            case NestedCondition(nested=nested):
                points = self._nested(nested)
                return None if points is None else _Part(points, condition)
            case Filter():
                resolved = self.filter(condition)
                return _Part(resolved.candidates, resolved.residual)
            case _:
                return None

    def _field(self, condition: FieldCondition, path: JsonPath) -> _Part | None:
        snapshot = self.fields.get(path)
        if snapshot is None:
            return None
        exact = snapshot.matching(condition, self.all_points)
        if exact is not None:
            return _Part(exact, None)
        more = snapshot.narrowing(condition, self.all_points)
        return None if more is None else _Part(more, condition)

    def _nested(self, nested: Nested) -> BitMap | None:
        """Points of which some element may match: an index of the elements' field knows where one meets a test."""
        elements = parse_path(nested.key).elements
        narrowed: BitMap | None = None
        for condition in nested.filter.must or ():
            points: BitMap | None = None
            if isinstance(condition, FieldCondition) and _needs_value(condition):
                part = self._field(condition, elements.child(parse_path(condition.key)))
                points = None if part is None else part.points
            elif isinstance(condition, NestedCondition):
                inner = condition.nested
                path = elements.child(parse_path(inner.key))
                points = self._nested(Nested(key=str(path), filter=inner.filter))
            if points is not None:
                narrowed = points if narrowed is None else narrowed & points
        return narrowed

    def _should(self, should: Conditions | None, candidates: BitMap) -> tuple[Conditions | None, BitMap]:
        """What is left of the clause, and the candidates that it leaves."""
        if not should:
            return None, candidates
        parts = self._parts(should)
        if parts is None:
            return should, candidates
        exact = all(part.residual is None for part in parts)
        return None if exact else should, candidates & union(part.points for part in parts)

    def _min_should(self, min_should: MinShould | None, candidates: BitMap) -> tuple[MinShould | None, BitMap]:
        if min_should is None:
            return None, candidates
        if min_should.min_count > len(min_should.conditions):
            return None, BitMap()
        parts = self._parts(min_should.conditions)
        if parts is None:
            return min_should, candidates
        exact = all(part.residual is None for part in parts)
        found = _at_least(min_should.min_count, (candidates & part.points for part in parts), candidates)
        return None if exact else min_should, found

    def _parts(self, conditions: Conditions) -> list[_Part] | None:
        """None where of some condition nothing is known: then any point may match."""
        parts = []
        for condition in conditions:
            part = self.condition(condition)
            if part is None:
                return None
            parts.append(part)
        return parts


def _needs_value(condition: FieldCondition) -> bool:
    """True where a missing field cannot meet the condition."""
    return condition.values_count is None and condition.is_empty is None and condition.is_null is None


def _at_least(min_count: int, points: Iterable[BitMap], within: BitMap) -> BitMap:
    """The members of ``within`` that are in at least ``min_count`` of its subsets ``points``."""
    if not within:
        return within
    counts = np.zeros(within.max() + 1, dtype=np.uint32)
    for subset in points:
        counts[nums_of(subset)] += 1
    return bitmap_of(np.flatnonzero(counts >= min_count).astype(np.uint32))
