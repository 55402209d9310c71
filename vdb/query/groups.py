"""Hits in groups by the values of a field: what stands first in the ranking decides which groups there are.

The ranking is the one that the query has without groups, so that scores do not depend on grouping. A ranking that ends
before all groups are full is made longer; where that does not help, only the points of those that are not full are
ranked again. What prefetches find is ranked anew with wider prefetches, as long as groups are missing or not full:
fused scores then are those of the wider prefetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import orjson
from pyroaring import BitMap

from vdb.model.conditions import Conditions, FieldCondition, Filter, MatchAny
from vdb.model.groups import GROUP_SIZE_DEFAULT, GROUPS_DEFAULT, QueryGroupsRequest, WithLookup
from vdb.model.ids import InvalidPointId, PointId, parse_point_id
from vdb.model.json_path import parse_path, value_reader
from vdb.model.queries import LIMIT_DEFAULT, QueryStage
from vdb.model.query_kinds import NearestQuery, SampleQuery
from vdb.query.examples import Source
from vdb.query.hits import Hits
from vdb.query.pipeline import Pipeline
from vdb.query.points_json import PointWriter, array
from vdb.query.scroll import ROWS_MAX
from vdb.query.selection import select
from vdb.storage import points

GroupId = str | int
Stage = TypeVar("Stage", bound=QueryStage)

_GROWTH: Final = 4  # how many times more hits are asked for when groups are not full
# A longer ranking than this costs more than asking which points have the values of the groups; with an index every
# longer ranking does.
_LENGTHENED_MAX: Final = 1_000
_WIDENINGS_MAX: Final = 3  # of prefetches, each by _GROWTH: a request for more groups than there are must end
_BLOCK_POINTS: Final = 500  # points whose payloads are read at once
_INT64_MAX: Final = 2**63 - 1  # larger values cannot stand in a condition


def query_groups(pipeline: Pipeline, request: QueryGroupsRequest) -> str:
    """A JSON object with the groups. Raises what ``Pipeline.rank`` does."""
    writer = PointWriter(pipeline.source.view, request.with_payload, request.with_vector, payload_default=False)
    looked_up = request.with_lookup and _Lookup(pipeline.lookups[request.with_lookup.collection], request.with_lookup)
    members = _Grouping(pipeline, request).run()
    flat = [member for group in members.values() for member in group]
    texts = iter(writer.write_hits(pipeline.source.connection, _hits_of(flat)))
    lookups = looked_up.write(list(members)) if looked_up else {}
    groups = []
    for value, group in members.items():
        hits = array([text for text in islice(texts, len(group)) if text is not None])
        lookup = f',"lookup":{lookups[value]}' if value in lookups else ""
        groups.append(f'{{"hits":{hits},"id":{orjson.dumps(value).decode()}{lookup}}}')
    return f'{{"groups":{array(groups)}}}'


@dataclass(frozen=True, slots=True)
class _Member:
    num: int
    score: float
    order_value: int | float | None


def _hits_of(members: Sequence[_Member]) -> Hits:
    nums = np.array([member.num for member in members], dtype=np.uint32)
    scores = np.array([member.score for member in members], dtype=np.float32)
    values = [member.order_value for member in members if member.order_value is not None]
    return Hits(nums, scores, values or None)


@dataclass(slots=True)
class _Groups:
    """Groups in the order of their best hits."""

    limit: int
    size: int
    members: dict[GroupId, list[_Member]] = field(default_factory=dict)

    def add(self, value: GroupId, member: _Member) -> None:
        group = self.members.get(value)
        if group is None:
            if len(self.members) == self.limit:
                return
            group = self.members[value] = []
        if len(group) < self.size and all(other.num != member.num for other in group):
            group.append(member)

    @property
    def chosen(self) -> bool:
        return len(self.members) == self.limit

    def unfilled(self) -> list[GroupId]:
        return [value for value, group in self.members.items() if len(group) < self.size]


class _Grouping:
    """One request."""

    def __init__(self, pipeline: Pipeline, request: QueryGroupsRequest) -> None:
        self._pipeline = pipeline
        self._request = request
        self._limit = min(GROUPS_DEFAULT if request.limit is None else request.limit, ROWS_MAX)
        self._size = min(GROUP_SIZE_DEFAULT if request.group_size is None else request.group_size, ROWS_MAX)
        path = parse_path(request.group_by)
        self._read = value_reader(path)
        fields = pipeline.view.fields
        self._index = next((fields[name] for name in fields if parse_path(name) == path), None)
        self._values: dict[int, Sequence[GroupId]] = {}

    def run(self) -> dict[GroupId, list[_Member]]:
        """The members of each group, best first."""
        count = min(self._limit * self._size, ROWS_MAX)
        if self._request.prefetches and not self._ranked_once:
            return self._among_prefetched()
        if self._ranked_once:
            hits = self._pipeline.rank(self._request, self._whole_ranking(count))
            return self._grouped(hits, self._limit).members
        while True:
            hits = self._pipeline.rank(self._request, count)
            groups = self._grouped(hits, self._limit)
            exhausted = len(hits) < count
            long_enough = self._index is not None or count >= _LENGTHENED_MAX
            if exhausted or (groups.chosen and (not groups.unfilled() or long_enough)):
                break
            count *= _GROWTH
        unfilled = groups.unfilled()
        if unfilled and not exhausted:
            groups.members.update(self._filled(unfilled, count))
        return groups.members

    @property
    def _ranked_once(self) -> bool:
        """True where a longer ranking would be another one."""
        query = self._request.query
        diverse = isinstance(query, NearestQuery) and query.mmr is not None
        return diverse or isinstance(query, SampleQuery)

    def _among_prefetched(self) -> dict[GroupId, list[_Member]]:
        """The members of groups of all that the prefetches find, which are widened until it is enough."""
        request, before = self._request, -1
        for _ in range(_WIDENINGS_MAX + 1):
            hits = self._pipeline.rank(request, ROWS_MAX)
            groups = self._grouped(hits, self._limit)
            if len(hits) == before or (groups.chosen and not groups.unfilled()):
                break
            before = len(hits)
            request = _widened(request)
        return groups.members

    def _whole_ranking(self, count: int) -> int:
        diverse = isinstance(self._request.query, NearestQuery) and not self._request.prefetches
        return count if diverse else ROWS_MAX

    def _filled(self, values: Sequence[GroupId], count: int) -> dict[GroupId, list[_Member]]:
        """The members of groups that a ranking of ``count`` hits did not fill."""
        while True:
            among = self._points_with(values)
            hits = self._pipeline.rank(self._request, count, inherited=among)
            groups = self._grouped(hits, len(values), set(values))
            if len(hits) < count or (groups.chosen and not groups.unfilled()):
                return groups.members
            count *= _GROWTH

    def _points_with(self, values: Sequence[GroupId]) -> BitMap | None:
        """The points that have one of ``values``; None for all, where a condition cannot say."""
        if any(isinstance(value, int) and value > _INT64_MAX for value in values):
            return None
        source = self._pipeline.source
        by_type = [tuple(value for value in values if isinstance(value, kind)) for kind in (str, int)]
        conditions = [FieldCondition(key=self._request.group_by, match=MatchAny(any=some)) for some in by_type if some]
        return select(source.view, source.connection, Filter(should=Conditions(conditions)), self._pipeline.deadline)

    def _grouped(self, hits: Hits, limit: int, wanted: set[GroupId] | None = None) -> _Groups:
        """The groups of a ranking, of ``wanted`` values where they are given; stops once all are full."""
        groups = _Groups(limit, self._size)
        for start in range(0, len(hits), _BLOCK_POINTS):
            self._pipeline.deadline.check()
            part = hits.part(start, start + _BLOCK_POINTS)
            nums = part.nums.tolist()
            self._read_values(nums)
            values: Sequence[int | float | None] = part.order_values or [None] * len(nums)
            for num, score, order_value in zip(nums, part.scores.tolist(), values, strict=True):
                for value in self._values[num]:
                    if wanted is None or value in wanted:
                        groups.add(value, _Member(num, score, order_value))
            if groups.chosen and not groups.unfilled():
                break
        return groups

    def _read_values(self, nums: Sequence[int]) -> None:
        unread = [num for num in nums if num not in self._values]
        if self._index is not None:
            for num in unread:
                known = self._index.group_values(num)
                if known is not None:
                    self._values[num] = known
            unread = [num for num in unread if num not in self._values]
        payloads = self._pipeline.source.read_payloads(unread) if unread else {}
        for num in unread:
            text = payloads.get(num)
            self._values[num] = _group_ids(self._read(orjson.loads(text))) if text else []


def _widened(stage: Stage) -> Stage:
    """The stage with larger limits of its prefetches, at every depth."""
    prefetches = [
        msgspec.structs.replace(
            _widened(prefetch),
            limit=min((LIMIT_DEFAULT if prefetch.limit is None else prefetch.limit) * _GROWTH, ROWS_MAX),
        )
        for prefetch in stage.prefetches
    ]
    return msgspec.structs.replace(stage, prefetch=prefetches) if prefetches else stage


class _Lookup:
    """The points of another collection whose ids are the values of groups."""

    def __init__(self, source: Source, request: WithLookup) -> None:
        self._source = source
        self._writer = PointWriter(source.view, request.with_payload, request.with_vectors, payload_default=False)

    def write(self, values: Sequence[GroupId]) -> dict[GroupId, str]:
        """The points that there are, as JSON records."""
        ids = {value: point_id for value in values if (point_id := _point_id(value)) is not None}
        connection = self._source.connection
        with self._writer.reading(connection):
            nums = points.find(connection, set(ids.values()))
            stored = points.read_points(connection, list(nums.values()), self._writer.reads_payload)
            there = {value: stored[nums[i]] for value, i in ids.items() if i in nums and nums[i] in stored}
            return dict(zip(there, self._writer.write(connection, list(there.values())), strict=True))


def _group_ids(found: Sequence[Any]) -> list[GroupId]:
    """Strings and integers, each once; arrays count by their elements, all else not at all."""
    flat = [element for value in found for element in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(value for value in flat if type(value) in (str, int)))


def _point_id(value: GroupId) -> PointId | None:
    try:
        return parse_point_id(value)
    except InvalidPointId:
        return None
