"""An index that was dumped and restored is the index that it was, and goes on as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from tests.filters.filter_worlds import field_conditions, payloads
from tests.filters.test_fields import NUMS, TEXTS, TYPES, batches, read_schema
from vdb.model.conditions import FieldCondition, Filter, IsEmptyCondition, IsNullCondition
from vdb.model.decode import convert
from vdb.model.field_index import PayloadFieldSchema
from vdb.segment.fields.build import new_index, recipe
from vdb.segment.fields.index import FieldIndex, FieldSnapshot

SCHEMAS = [*TYPES, *({"type": "text", **text} for text in TEXTS)]
ALL = BitMap(NUMS)
some_conditions = st.lists(field_conditions(("a",)), min_size=1, max_size=6)


def fill(index: FieldIndex, world: Mapping[int, dict[str, Any] | None]) -> None:
    index.apply((num, None if payload is None else index.values_in(payload)) for num, payload in world.items())


def restored(snapshot: FieldSnapshot, schema: PayloadFieldSchema) -> FieldIndex:
    """Through bytes, as a file would hold them."""
    index = new_index("a", schema)
    index.restore({name: memoryview(bytes(block)) for name, block in snapshot.dump().items()})
    return index


def field_condition(source: dict[str, Any]) -> FieldCondition:
    must = convert({"must": [source]}, Filter).must
    assert must is not None
    condition = must[0]
    match condition:
        case IsEmptyCondition():
            return FieldCondition(key="a", is_empty=True)
        case IsNullCondition():
            return FieldCondition(key="a", is_null=True)
    assert isinstance(condition, FieldCondition)
    return condition


def same(one: FieldSnapshot, other: FieldSnapshot, conditions: list[dict[str, Any]]) -> None:
    assert one.presence == other.presence
    for source in conditions:
        condition = field_condition(source)
        assert one.matching(condition, ALL) == other.matching(condition, ALL)
        assert one.narrowing(condition, ALL) == other.narrowing(condition, ALL)
    assert one.facet(None) == other.facet(None)
    orders = [None if order is None else list(order) for order in (one.ordered("asc"), other.ordered("asc"))]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("source", SCHEMAS, ids=str)
@given(
    worlds=st.lists(batches, min_size=1, max_size=3),
    later=st.dictionaries(st.sampled_from(NUMS), st.none() | payloads),
    conditions=some_conditions,
)
def test_a_restored_index_answers_and_goes_on_like_the_one_that_was_dumped(
    source: Any, worlds: list[dict[int, Any]], later: dict[int, Any], conditions: list[dict[str, Any]]
) -> None:
    schema = read_schema(source)
    index = new_index("a", schema)
    for world in worlds:
        fill(index, world)
    other = restored(index.snapshot(), schema)
    same(index.snapshot(), other.snapshot(), conditions)
    fill(index, later)
    fill(other, later)
    same(index.snapshot(), other.snapshot(), conditions)
    index.compact()
    other.compact()
    same(index.snapshot(), other.snapshot(), conditions)


def test_a_snapshot_dumps_what_it_saw_and_nothing_later() -> None:
    index = new_index("a", "keyword")
    fill(index, {0: {"a": "red"}, 1: {"a": ["red", "green"]}})
    snapshot = index.snapshot()
    fill(index, {0: {"a": "blue"}, 2: {"a": "green"}})
    assert restored(snapshot, "keyword").snapshot().facet(None) == {"red": 2, "green": 1}


def test_texts_that_are_cut_otherwise_have_another_recipe() -> None:
    english = read_schema({"type": "text", "stemmer": {"type": "snowball", "language": "english"}})
    german = read_schema({"type": "text", "stemmer": {"type": "snowball", "language": "german"}})
    assert len({recipe("text"), recipe(english), recipe(german)}) == 3
    assert recipe("text") == recipe(read_schema({"type": "text"}))
