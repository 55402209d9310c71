"""Random payloads and filters over a small world, where most conditions match something and not everything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

WORDS = ("red", "Red green", "green_blue", "blue, red blue", "", "Grün", "redgreen")
NUMBERS = (0, 1, -1, 2, 1.0, 1.5, 0.1, -2.5, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**63, -(2**63))
# Bounds that a float64 holds: beyond them local mode rounds, see test_congruence.
BOUNDS = tuple(number for number in NUMBERS if float(number) == number)
MOMENTS = ("2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01 12:30", "2020-01-01T01:00:00+02:00", "2020-13-01")
UUIDS = ("550e8400-e29b-41d4-a716-446655440000", "550E8400E29B41D4A716446655440000")
DEGREES = (-2.0, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0)
POINT_IDS: tuple[int | str, ...] = (0, 1, 2, 7, 2**63, 2**64 - 1, str(UUID(int=0)), str(UUID(int=2**127 + 5)))
VECTORS = ("", "other")

positions = st.builds(
    lambda lon, lat: {"lon": lon, "lat": lat},
    st.sampled_from((*DEGREES, 178.0, 179.5, 180.0, -179.0, -180.0, 1)),
    st.sampled_from((*DEGREES, 45, -89.5)),
)
scalars = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(NUMBERS),
    st.sampled_from(MOMENTS),
    st.sampled_from(UUIDS),
    st.booleans(),
    st.none(),
    positions,
    st.just({}),
)
values = st.one_of(scalars, scalars, st.lists(scalars, max_size=3), st.lists(st.lists(scalars, max_size=2), max_size=2))
objects = st.dictionaries(st.sampled_from("xyz"), values, max_size=3)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        "n": st.one_of(objects, st.lists(st.one_of(objects, scalars), max_size=3)),
        "c.d": scalars,
    },
)
PATHS = ("a", "a", "b", "b", "a[]", "b[0]", "n.x", "n[].x", "n[].y[]", "n[0].x", '"c.d"', "n", "missing")


def bounds(values: tuple[Any, ...]) -> st.SearchStrategy[dict[str, Any]]:
    one = st.sampled_from(values) | st.none()
    return st.fixed_dictionaries({}, optional={"gt": one, "gte": one, "lt": one, "lte": one})


def any_given(bounds: dict[str, Any]) -> bool:
    return any(bound is not None for bound in bounds.values())


terms = st.sampled_from((*WORDS, *MOMENTS[:1], *UUIDS))
integers = st.sampled_from([number for number in NUMBERS if type(number) is int and -(2**63) <= number < 2**63])
texts = st.sampled_from(("red", "RED", "green blue", "blue red", "re", "grün", "", "_", "red red"))
term_lists = st.lists(terms, max_size=3) | st.lists(integers, max_size=3)
matches = st.one_of(
    st.builds(lambda value: {"value": value}, st.one_of(terms, integers, st.booleans())),
    st.builds(lambda value: {"any": value}, term_lists),
    st.builds(lambda value: {"except": value}, term_lists),
    st.builds(lambda kind, text: {kind: text}, st.sampled_from(("text", "text_any", "phrase", "prefix")), texts),
)
datetime_bounds = bounds(MOMENTS[:-1]).filter(any_given)
boxes = st.builds(
    lambda west, east, south, north: {
        "top_left": {"lon": west, "lat": north},
        "bottom_right": {"lon": east, "lat": south},
    },
    *[st.sampled_from((*DEGREES, 178.5, -178.5))] * 2,
    *[st.sampled_from(DEGREES)] * 2,
)
circles = st.builds(
    lambda center, radius: {"center": center, "radius": radius},
    positions,
    st.sampled_from((0.0, 1.0, 60_000.0, 111_195.0, 200_000.0, 2e7, -1.0)),
)


def square(side: float, lon: float = 0.0, lat: float = 0.0) -> dict[str, Any]:
    corners = ((0, 0), (side, 0), (side, side), (0, side), (0, 0))
    return {"points": [{"lon": lon + x, "lat": lat + y} for x, y in corners]}


triangle = {"points": [{"lon": x, "lat": y} for x, y in ((-2, -2), (2, -1), (0.3, 2), (-2, -2))]}
polygons = st.builds(
    lambda exterior, holes: {"exterior": exterior} | ({"interiors": holes} if holes is not None else {}),
    st.sampled_from((square(1), square(4.5, -2.25, -2.25), triangle)),
    st.none() | st.lists(st.sampled_from((square(0.5, 0.25, 0.25), square(0.3, -1.2, -1.2))), max_size=2),
)
counts = bounds((0, 1, 2, 3))
field_tests = st.one_of(
    st.builds(lambda test: {"match": test}, matches),
    st.builds(lambda test: {"match": test}, matches),
    st.builds(lambda test: {"range": test}, bounds(BOUNDS)),
    st.builds(lambda test: {"range": test}, datetime_bounds),
    st.builds(lambda test: {"geo_bounding_box": test}, boxes),
    st.builds(lambda test: {"geo_radius": test}, circles),
    st.builds(lambda test: {"geo_polygon": test}, polygons),
    st.builds(lambda test: {"values_count": test}, counts),
    st.builds(lambda test: {"is_empty": test}, st.booleans()),
    st.builds(lambda test: {"is_null": test}, st.booleans()),
)


def field_conditions(paths: tuple[str, ...] = PATHS) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(paths)
    return st.one_of(
        st.builds(lambda key, test: {"key": key, **test}, keys, field_tests),
        st.builds(lambda key, test: {"key": key, **test}, keys, field_tests),
        st.builds(lambda key, kind: {kind: {"key": key}}, keys, st.sampled_from(("is_empty", "is_null"))),
    )


id_conditions = st.one_of(
    st.builds(lambda ids: {"has_id": ids}, st.lists(st.sampled_from(POINT_IDS), max_size=3)),
    st.builds(lambda name: {"has_vector": name}, st.sampled_from((*VECTORS, "none"))),
    st.builds(lambda total, index: {"slice": {"total": total, "index": index % total}}, *[st.integers(1, 5)] * 2),
)


def filters(conditions: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(conditions, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "must": several | conditions,
            "should": several,
            "must_not": several,
            "min_should": st.builds(
                lambda conditions, min_count: {"conditions": conditions, "min_count": min_count},
                several,
                st.integers(1, 3),
            ),
        },
    )


def nested_conditions(keys: tuple[str, ...] = ("n", "n[]", "a", "n[0]")) -> st.SearchStrategy[dict[str, Any]]:
    inner = st.one_of(field_conditions(("x", "y", "x[]", "y[0]")), id_conditions)
    return st.builds(
        lambda key, inner: {"nested": {"key": key, "filter": inner}}, st.sampled_from(keys), filters(inner)
    )


leaf_conditions = st.one_of(
    field_conditions(), field_conditions(), field_conditions(), id_conditions, nested_conditions()
)
conditions = leaf_conditions | filters(leaf_conditions)
any_filters = filters(conditions)


Family = tuple[st.SearchStrategy[dict[str, Any]], st.SearchStrategy[dict[str, Any]]]


def focused(scalars: st.SearchStrategy[Any], tests: st.SearchStrategy[dict[str, Any]]) -> Family:
    """Points whose one field has values of one type, nearly always, and conditions that ask about that type."""
    some = st.one_of(scalars, scalars, scalars, st.lists(scalars, max_size=3), st.sampled_from((None, "x", 7, True)))
    fields = st.fixed_dictionaries({}, optional={"a": some}) | st.builds(lambda value: {"a": value}, some)
    return fields, st.builds(lambda test: {"key": "a", **test}, tests)


few_terms = st.sampled_from(("red", "green", "blue"))
few_numbers = st.sampled_from((-1, 0, 0.5, 1, 1.0, 2, 2**53 + 1, 2.0**53))
few_integers = st.sampled_from((-1, 0, 1, 2))
few_texts = st.sampled_from(("red green", "Red blue green", "green red", "blue", "redder green"))
few_moments = st.sampled_from(("2020-01-01", "2020-01-01T01:00:00+01:00", "2020-01-02", "2021-05-05 10:00", "no date"))


def matching(kind: str, wanted: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda value: {"match": {kind: value}}, wanted)


def listed(terms: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(terms, max_size=2)
    return st.one_of(matching("value", terms), matching("any", several), matching("except", several))


text_queries = st.sampled_from(("red", "red green", "green red", "blue red", "re", "gre red"))
FAMILIES: dict[str, Family] = {
    "keyword": focused(few_terms, listed(few_terms) | matching("prefix", st.sampled_from(("", "r", "gre", "x")))),
    "integer": focused(few_numbers, listed(few_integers)),
    "float": focused(few_numbers, st.builds(lambda test: {"range": test}, bounds((-1, 0, 0.5, 1, 2, 2**53)))),
    "datetime": focused(
        few_moments,
        st.builds(lambda test: {"range": test}, bounds(("2020-01-01", "2020-01-02T00:00:00Z")).filter(any_given)),
    ),
    "geo": focused(
        positions,
        st.one_of(
            st.builds(lambda test: {"geo_bounding_box": test}, boxes),
            st.builds(lambda test: {"geo_radius": test}, circles),
            st.builds(lambda test: {"geo_polygon": test}, polygons),
        ),
    ),
    "text": focused(
        few_texts,
        st.one_of(matching("text", text_queries), matching("text_any", text_queries), matching("phrase", text_queries)),
    ),
    "bool": focused(st.booleans(), matching("value", st.booleans())),
    "counts": focused(
        st.sampled_from((1, "x")),
        st.one_of(
            st.builds(lambda test: {"values_count": test}, counts),
            st.builds(lambda test: {"is_empty": test}, st.booleans()),
            st.builds(lambda test: {"is_null": test}, st.booleans()),
        ),
    ),
}
