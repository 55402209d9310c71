"""What an index answers is what a scan of the payloads answers: through writes, deletes, compactions, old snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from tests.filters.filter_worlds import FAMILIES, POINT_IDS, any_filters, field_conditions, payloads, square, triangle
from vdb.model.conditions import DatetimeRange, FieldCondition, Filter, IsEmptyCondition, IsNullCondition, Range
from vdb.model.datetimes import datetime_micros
from vdb.model.decode import convert
from vdb.model.field_index import CreateFieldIndex, PayloadFieldSchema, TextIndexParams, schema_type
from vdb.model.ids import PointId
from vdb.model.json_path import JsonPath, parse_path, values_at
from vdb.query.field_filter import resolve
from vdb.query.filter import PointFacts, compile_condition, compile_filter
from vdb.segment.fields.build import build_indexes, new_index
from vdb.segment.fields.index import FieldIndex, FieldSnapshot

# A point's number differs from its id, and numbers are far enough apart to meet several containers and chunks.
NUMS = (0, 1, 2, 1023, 1024, 70_000, 70_001, 200_000)
ID_OF: dict[int, PointId] = dict(zip(NUMS, POINT_IDS, strict=True))
World = dict[int, dict[str, Any]]

TYPES = ("keyword", "integer", "float", "geo", "bool", "datetime", "uuid")
TEXTS: tuple[dict[str, Any], ...] = (
    {},
    {"phrase_matching": True},
    {"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4},
    {"tokenizer": "prefix", "phrase_matching": True},
    {"tokenizer": "whitespace", "lowercase": False},
    {"tokenizer": "multilingual", "ascii_folding": True, "stopwords": {"custom": ["red"]}, "phrase_matching": True},
)


def read_schema(source: Any) -> PayloadFieldSchema:
    schema = convert({"field_name": "f", "field_schema": source}, CreateFieldIndex).field_schema
    assert schema is not None
    return schema


schemas = st.one_of(
    st.sampled_from(TYPES),
    st.sampled_from(TEXTS).map(lambda given: {"type": "text", **given}),
    st.just("text"),
).map(read_schema)
indexed_paths = st.dictionaries(
    st.sampled_from(["a", '"b"', "a[]", "b[0]", "n.x", "n[].x", "n[].y[]", '"c.d"', "n"]),
    schemas,
    min_size=1,
    max_size=5,
)
batches = st.dictionaries(st.sampled_from(NUMS), st.none() | payloads, min_size=1, max_size=len(NUMS))


def text_indexes(schemas: Mapping[str, PayloadFieldSchema]) -> dict[JsonPath, TextIndexParams]:
    texts: dict[JsonPath, TextIndexParams] = {}
    for path, schema in schemas.items():
        if schema == "text":
            texts[parse_path(path)] = TextIndexParams()
        elif isinstance(schema, TextIndexParams):
            texts[parse_path(path)] = schema
    return texts


def scan(world: World, filter: Filter, texts: Mapping[JsonPath, TextIndexParams]) -> set[int]:
    matcher = compile_filter(filter, texts)
    return {num for num, payload in world.items() if matcher.matches(PointFacts(ID_OF[num], payload))}


def answer(
    world: World, snapshots: Mapping[str, FieldSnapshot], filter: Filter, texts: Mapping[JsonPath, TextIndexParams]
) -> set[int]:
    """By the indexes as far as they know, and by a scan of the candidates for the rest."""

    def nums_of_ids(ids: Any) -> BitMap:
        return BitMap([num for num in world if ID_OF[num] in ids])

    resolved = resolve(filter, snapshots, BitMap(world), nums_of_ids, lambda name: BitMap() if name == "none" else None)
    found = set(resolved.candidates)
    if resolved.residual is not None:
        assert scan(world, filter, texts) <= found
        found = scan({num: world[num] for num in found}, resolved.residual, texts)
    estimate = resolved.estimate()
    assert estimate.min <= len(found) <= estimate.max
    assert estimate.min <= estimate.expected <= estimate.max
    return found


def write(world: World, indexes: Mapping[str, FieldIndex], batch: Mapping[int, dict[str, Any] | None]) -> World:
    for index in indexes.values():
        index.apply([(num, None if payload is None else index.values_in(payload)) for num, payload in batch.items()])
    after = {num: payload for num, payload in world.items() if num not in batch}
    return after | {num: payload for num, payload in batch.items() if payload is not None}


@given(
    schemas=indexed_paths,
    batches=st.lists(batches, min_size=1, max_size=4),
    asked=st.lists(any_filters, min_size=1, max_size=8),
    compactions=st.sampled_from(["none", "each", "late"]),
)
@settings(max_examples=200)
def test_filters_are_answered_as_a_scan_would(
    schemas: dict[str, PayloadFieldSchema],
    batches: list[dict[int, dict[str, Any] | None]],
    asked: list[Any],
    compactions: str,
) -> None:
    texts = text_indexes(schemas)
    decoded = [convert(filter, Filter) for filter in asked]
    indexes = {path: new_index(path, schema) for path, schema in schemas.items()}
    world: World = {}
    past: list[tuple[World, dict[str, FieldSnapshot]]] = []
    for batch in batches:
        jobs = {path: index.compaction(force=True) for path, index in indexes.items()} if compactions == "late" else {}
        world = write(world, indexes, batch)
        for path, job in jobs.items():
            if job is not None:
                job.run()
                indexes[path].adopt(job)
        if compactions == "each":
            for index in indexes.values():
                index.compact()
        past.append((world, {path: index.snapshot() for path, index in indexes.items()}))
    for world, snapshots in past:
        for source, filter in zip(asked, decoded, strict=True):
            assert answer(world, snapshots, filter, texts) == scan(world, filter, texts), source


@given(
    schema=schemas,
    batches=st.lists(batches, min_size=1, max_size=3),
    asked=st.lists(field_conditions(("a",)), min_size=1, max_size=12),
)
@settings(max_examples=200)
def test_one_condition_is_answered_exactly_or_not_at_all(
    schema: PayloadFieldSchema, batches: list[dict[int, dict[str, Any] | None]], asked: list[Any]
) -> None:
    index = new_index("a", schema)
    world: World = {}
    for batch in batches:
        world = write(world, {"a": index}, batch)
    snapshot, all_points = index.snapshot(), BitMap(world)
    for source in asked:
        condition = convert({"must": [source]}, Filter).must[0]  # type: ignore[index]
        if isinstance(condition, IsEmptyCondition | IsNullCondition):
            continue
        assert isinstance(condition, FieldCondition)
        test = compile_condition(condition, text_indexes({"a": schema}))
        expected = BitMap([num for num, payload in world.items() if test(PointFacts(0, payload))])
        exact = snapshot.matching(condition, all_points)
        assert exact is None or exact == expected, source
        more = snapshot.narrowing(condition, all_points)
        assert more is None or expected <= more, source
        estimate = snapshot.estimate(condition, all_points)
        assert (estimate is None) == (exact is None)
        assert estimate is None or estimate.min <= len(expected) <= estimate.max, source


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=60)
def test_each_kind_of_condition_is_answered_as_a_scan_would(family: str, data: st.DataObject) -> None:
    fields, asked = FAMILIES[family]
    own = schemas.filter(lambda schema: family == "counts" or schema_type(schema) == family)
    indexes: dict[str, FieldIndex] = {"a": new_index("a", data.draw(own))}
    texts = text_indexes({"a": indexes["a"].schema})
    filters = [
        convert({clause: [condition]}, Filter)
        for condition in data.draw(st.lists(asked, min_size=4, max_size=8))
        for clause in ("must", "must_not")
    ]
    world: World = {}
    past: list[tuple[World, dict[str, FieldSnapshot]]] = []
    for batch in data.draw(
        st.lists(st.dictionaries(st.sampled_from(NUMS), st.none() | fields, min_size=3), min_size=2)
    ):
        world = write(world, indexes, batch)
        past.append((world, {"a": indexes["a"].snapshot()}))
    for world, snapshots in past:
        for filter in filters:
            assert answer(world, snapshots, filter, texts) == scan(world, filter, texts), filter


def elements(payload: dict[str, Any], path: str) -> list[Any]:
    values = values_at(payload, parse_path(path))
    return [element for value in values for element in (value if isinstance(value, list) else [value])]


def integers(element: Any) -> int | None:
    return element if type(element) is int and -(2**63) <= element < 2**63 else None


def floats(element: Any) -> float | None:
    return float(element) if type(element) in (int, float) and float(element) == element else None


def moments(element: Any) -> int | None:
    return datetime_micros(element) if isinstance(element, str) else None


def keywords(element: Any) -> str | None:
    return element if isinstance(element, str) else None


def booleans(element: Any) -> bool | None:
    return element if isinstance(element, bool) else None


def pairs(world: World, path: str, read: Callable[[Any], Any]) -> list[tuple[Any, int]]:
    """Each distinct value of each point, with the point."""
    return [
        (value, num)
        for num, payload in world.items()
        for value in dict.fromkeys(read(element) for element in elements(payload, path))
        if value is not None
    ]


masks = st.none() | st.sets(st.sampled_from(NUMS))


@given(
    st.lists(batches, min_size=1, max_size=3),
    masks,
    st.sampled_from([("keyword", keywords), ("bool", booleans), ("integer", integers)]),
)
@settings(max_examples=200)
def test_facets_count_each_value_of_a_point_once(
    batches: list[Any], mask: set[int] | None, kind: tuple[Any, Callable[[Any], Any]]
) -> None:
    schema, read = kind
    index = new_index("a", schema)
    world: World = {}
    for batch in batches:
        world = write(world, {"a": index}, batch)
    counted = Counter(value for value, num in pairs(world, "a", read) if mask is None or num in mask)
    snapshot = index.snapshot()
    assert snapshot.facet(None if mask is None else BitMap(mask)) == counted
    assert snapshot.points() == len({num for _, num in pairs(world, "a", read)})


@given(
    st.lists(batches, min_size=1, max_size=3),
    masks,
    st.sampled_from([("integer", integers), ("float", floats), ("datetime", moments)]),
    st.sampled_from(["asc", "desc"]),
    st.none() | st.sampled_from([0, 1, 1.5, -3, 2**53 + 1, 2**70, 1_577_836_800_000_000]),
)
@settings(max_examples=150)
def test_orders_walk_every_value_from_where_they_start(
    batches: list[Any], mask: set[int] | None, kind: tuple[Any, Callable[[Any], Any]], direction: Any, start: Any
) -> None:
    schema, read = kind
    index = new_index("a", schema)
    world: World = {}
    for batch in batches:
        world = write(world, {"a": index}, batch)
    expected = sorted(pairs(world, "a", read), reverse=direction == "desc")
    if start is not None:
        expected = [pair for pair in expected if (pair[0] >= start if direction == "asc" else pair[0] <= start)]
    walked = index.snapshot().ordered(direction, start, None if mask is None else BitMap(mask))
    assert walked is not None
    assert list(walked) == [pair for pair in expected if mask is None or pair[1] in mask]


@given(st.dictionaries(st.sampled_from(NUMS), payloads), indexed_paths, st.lists(any_filters, max_size=6))
def test_a_bulk_build_answers_as_one_by_one(
    world: World, schemas: dict[str, PayloadFieldSchema], asked: list[Any]
) -> None:
    texts = text_indexes(schemas)
    snapshots = {path: index.snapshot() for path, index in build_indexes(schemas, world.items()).items()}
    for filter in (convert(source, Filter) for source in asked):
        assert answer(world, snapshots, filter, texts) == scan(world, filter, texts)


def test_a_uuid_is_counted_by_its_canonical_spelling() -> None:
    index = new_index("u", "uuid")
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    index.apply([(1, [uuid]), (2, [uuid.upper()]), (3, [f"urn:uuid:{uuid}"]), (4, ["no uuid"])])
    assert index.snapshot().facet(None) == {uuid: 3}
    assert index.snapshot().points() == 3


def test_the_last_change_of_a_num_counts() -> None:
    index = new_index("a", "keyword")
    index.apply([(1, ["old"]), (1, ["new"])])
    assert index.snapshot().facet(None) == {"new": 1}
    index.apply([])
    index.apply([(1, None)])
    assert index.snapshot().facet(None) == {} and index.snapshot().points() == 0


def test_many_numbers_answer_as_a_scan_before_and_after_a_compaction() -> None:
    index = new_index("n", "integer")
    world = {num: {"n": num * 7919 % 10_007} for num in range(0, 200_000, 3)}
    index.apply((num, [payload["n"]]) for num, payload in world.items())
    late = {num: {"n": 5} for num in range(0, 60_000, 6)}
    index.apply((num, [payload["n"]]) for num, payload in late.items())
    world |= late
    condition = FieldCondition(key="n", range=Range(gte=5, lt=4000))
    expected = BitMap([num for num, payload in world.items() if 5 <= payload["n"] < 4000])
    before = index.snapshot()
    job = index.compaction()
    assert job is not None
    index.apply([(0, [9_999]), (3, None)])
    job.run()
    index.adopt(job)
    assert index.compaction() is None
    assert before.matching(condition, BitMap(world)) == expected
    assert index.snapshot().matching(condition, BitMap(world)) == expected - BitMap([0, 3])


def test_an_overtaken_compaction_is_ignored() -> None:
    index = new_index("n", "integer")
    index.apply([(1, [1])])
    index.apply([(2, [2])])
    first = index.compaction(force=True)
    index.apply([(2, [3])])
    second = index.compaction(force=True)
    assert first is not None and second is not None
    for job in (second, first):
        job.run()
        index.adopt(job)
    assert list(index.snapshot().ordered() or ()) == [(1, 1), (3, 2)]


def test_a_filter_of_ids_needs_no_index() -> None:
    def nums_of_ids(ids: Any) -> BitMap:
        return BitMap([1, 2]) if 7 in ids else BitMap()

    resolved = resolve(convert({"must": [{"has_id": [7]}]}, Filter), {}, BitMap([0, 1]), nums_of_ids)
    assert resolved.residual is None and resolved.candidates == BitMap([1])


def test_an_index_of_strings_leaves_datetimes_to_a_scan() -> None:
    condition = FieldCondition(key="a", range=DatetimeRange(gte="2020-01-01"))
    for schema in ("keyword", "uuid", "text"):
        index = new_index("a", schema)
        index.apply([(1, ["2020-06-01"])])
        assert index.snapshot().matching(condition, BitMap([1])) is None


@pytest.mark.parametrize("schema", ["integer", "float"])
def test_bounds_that_no_float_holds_are_exact(schema: Any) -> None:
    index = new_index("n", schema)
    values = [2**53 - 1, 2**53, 2.0**53, 2**53 + 1, 2**53 + 2, 2**63, 2**64, 10**400, -(10**400), 0.5]
    index.apply((num, [value]) for num, value in enumerate(values))
    all_points = BitMap(range(len(values)))
    for bound in (2**53 + 1, 2**53, 2**63 - 1, 10**400, -(10**400), 1e300, 0.5):
        for name in ("gt", "gte", "lt", "lte"):
            condition = FieldCondition(key="n", range=Range(**{name: bound}))
            test = compile_condition(condition)
            expected = BitMap([num for num, value in enumerate(values) if test(PointFacts(0, {"n": value}))])
            assert index.snapshot().matching(condition, all_points) == expected, (name, bound)


def test_every_place_of_a_grid_is_in_a_shape_or_not_as_a_scan_says() -> None:
    places = [(lon / 4, lat / 4) for lon in range(-12, 13) for lat in range(-12, 13)]
    index = new_index("g", "geo")
    index.apply((num, [{"lon": lon, "lat": lat}]) for num, (lon, lat) in enumerate(places))
    ring, hole, hole_on_edge = square(1.5), square(0.5, 0.25, 0.25), square(0.5, 0, 0)
    shapes: list[dict[str, Any]] = [
        {"geo_polygon": {"exterior": ring}},
        {"geo_polygon": {"exterior": ring, "interiors": [hole, hole_on_edge]}},
        {"geo_polygon": {"exterior": triangle, "interiors": [hole]}},
        {"geo_bounding_box": {"top_left": {"lon": -1, "lat": 1}, "bottom_right": {"lon": 1, "lat": 0}}},
        {"geo_radius": {"center": {"lon": 0, "lat": 0}, "radius": 111_195.08}},
    ]
    for shape in shapes:
        condition = convert({"key": "g", **shape}, FieldCondition)
        test = compile_condition(condition)
        expected = BitMap(
            num for num, (lon, lat) in enumerate(places) if test(PointFacts(0, {"g": {"lon": lon, "lat": lat}}))
        )
        assert index.snapshot().matching(condition, BitMap(range(len(places)))) == expected
        assert 0 < len(expected) < len(places)
