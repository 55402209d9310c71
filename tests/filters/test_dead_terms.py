"""Terms that came and went with their points: an index forgets them, and answers as if they had never been."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from tests.filters.filter_worlds import field_conditions, payloads
from tests.filters.test_field_blocks import field_condition, fill, restored, same
from tests.filters.test_fields import NUMS, TEXTS, read_schema
from vdb.model.conditions import FieldCondition, MatchPrefix, MatchText, MatchValue
from vdb.segment.fields.blocks import to_values
from vdb.segment.fields.build import new_index
from vdb.segment.fields.index import Compaction, FieldIndex, FieldSnapshot

ROUNDS = 4
ROUND_POINTS = 1_000
# As each point has it: a value of its own, and nothing that another round has.
OWN: dict[str, tuple[Any, Any]] = {
    "keyword": ("keyword", lambda number: f"session-{number}"),
    "uuid": ("uuid", lambda number: str(UUID(int=number))),
    "text": ("text", lambda number: f"word{number}"),
    "phrases": ({"type": "text", "phrase_matching": True}, lambda number: f"word{number} again"),
    "prefixes": ({"type": "text", "tokenizer": "prefix"}, lambda number: f"word{number}"),
    # Of these words only the beginning is ever asked for.
    "cut": ({"type": "text", "tokenizer": "prefix", "max_token_len": 6}, lambda number: f"{number:05x}tail{number}"),
}
own_values = pytest.mark.parametrize(("source", "own"), OWN.values(), ids=OWN)


def churned(source: Any, own: Any) -> FieldIndex:
    """Rounds of points that are written and deleted."""
    index = new_index("a", read_schema(source))
    for start in range(0, ROUNDS * ROUND_POINTS, ROUND_POINTS):
        index.apply([(num, [own(start + num)]) for num in range(ROUND_POINTS)])
        index.apply([(num, None) for num in range(ROUND_POINTS)])
    return index


def tidy(index: FieldIndex) -> None:
    """As the actor and its helper do, as often as the index asks for it."""
    while (job := index.compaction()) is not None:
        job.run()
        index.adopt(job)


def terms(snapshot: FieldSnapshot) -> list[Any]:
    """Those that a file would have."""
    return to_values(snapshot.dump()["vocabulary"])


def known_terms(index: FieldIndex) -> int:
    """Those in memory: nothing that an index answers tells dead terms from none."""
    return len(index._vocabulary.terms)  # type: ignore[attr-defined]


def condition_for(source: Any, value: str) -> FieldCondition:
    kind = source if isinstance(source, str) else source["type"]
    return FieldCondition(key="a", match=MatchText(text=value) if kind == "text" else MatchValue(value=value))


@own_values
def test_terms_that_no_point_has_are_forgotten(source: Any, own: Any) -> None:
    index = churned(source, own)
    tidy(index)
    assert known_terms(index) <= ROUND_POINTS
    index.apply([(num, [own(num)]) for num in (1, 2)])
    assert index.snapshot().matching(condition_for(source, own(2)), BitMap([1, 2])) == BitMap([2])


@own_values
def test_a_dump_has_no_dead_terms(source: Any, own: Any) -> None:
    index = churned(source, own)
    assert terms(index.snapshot()) == []
    index.apply([(7, [own(1)])])
    sizes = {name: len(block) for name, block in index.snapshot().dump().items()}
    fresh = new_index("a", read_schema(source))
    fresh.apply([(7, [own(1)])])
    assert sizes == {name: len(block) for name, block in fresh.snapshot().dump().items()}
    other = restored(index.snapshot(), read_schema(source))
    assert known_terms(other) == known_terms(fresh)
    assert other.snapshot().matching(condition_for(source, own(1)), BitMap([7])) == BitMap([7])


def test_living_terms_keep_their_points_while_dead_ones_go() -> None:
    index = churned("keyword", lambda number: f"session-{number}")
    living = {num: f"kept-{num % 5}" for num in range(2_000, 2_500)}
    index.apply((num, [value]) for num, value in living.items())
    prefix = FieldCondition(key="a", match=MatchPrefix(prefix="kept-"))
    session = FieldCondition(key="a", match=MatchValue(value="session-1"))
    index.apply([(1, ["session-1"])])
    before = index.snapshot()
    tidy(index)
    index.apply([(1, ["session-2"])])
    after = index.snapshot()
    everyone = BitMap([1, *living])
    for snapshot in (before, after):
        assert snapshot.matching(prefix, everyone) == BitMap(living)
    assert before.facet(None) == Counter([*living.values(), "session-1"])
    assert after.facet(None) == Counter([*living.values(), "session-2"])
    assert before.matching(session, everyone) == BitMap([1])
    assert after.matching(session, everyone) == BitMap()


@own_values
@pytest.mark.parametrize("meanwhile", [10, 300, 900])
def test_what_changes_during_a_compaction_is_in_the_new_index(source: Any, own: Any, meanwhile: int) -> None:
    index = churned(source, own)
    kept = {num: own(num) for num in range(ROUND_POINTS)}
    index.apply((num, [value]) for num, value in kept.items())
    numbers = random.Random(meanwhile)
    rounds = 0
    while (job := index.compaction()) is not None:
        # At first as many as asked for, then fewer, as an index that nears its end has it.
        for num in numbers.sample(range(ROUND_POINTS), meanwhile // (rounds + 1) ** 2):
            kept[num] = own(numbers.randrange(10**6))
            index.apply([(num, [kept[num]])])
        job.run()
        index.adopt(job)
        rounds += 1
    assert rounds == 1 if meanwhile == 10 else rounds > 1
    fresh = new_index("a", read_schema(source))
    fresh.apply((num, [value]) for num, value in kept.items())
    one, other, everyone = index.snapshot(), fresh.snapshot(), BitMap(kept)
    assert one.presence == other.presence
    assert one.facet(None) == other.facet(None)
    assert sorted(terms(one)) == sorted(terms(other))
    for value in kept.values():
        condition = condition_for(source, value)
        assert one.matching(condition, everyone) == other.matching(condition, everyone)


def test_writes_as_fast_as_a_compaction_do_not_keep_it_from_being_adopted() -> None:
    index = churned("keyword", lambda number: f"session-{number}")
    rounds = 0
    while (job := index.compaction()) is not None:
        rounds += 1
        assert rounds < 5
        index.apply([(num, [f"kept-{num}"]) for num in range(500)])
        job.run()
        index.adopt(job)
    assert known_terms(index) == 500


def test_a_compaction_that_is_never_adopted_is_made_again() -> None:
    index = churned("keyword", lambda number: f"session-{number}")
    lost = index.compaction()
    assert lost is not None
    index.apply([(1, ["red"])])
    job = index.compaction()
    assert job is not None
    index.apply([(2, ["red"])])
    job.run()
    index.adopt(job)
    lost.run()
    index.adopt(lost)
    assert known_terms(index) == 1
    assert index.snapshot().facet(None) == {"red": 2}


def test_few_dead_terms_are_not_worth_a_compaction() -> None:
    index = new_index("a", "keyword")
    index.apply([(num, [f"session-{num}"]) for num in range(ROUND_POINTS)])
    index.apply([(num, None) for num in range(ROUND_POINTS)])
    assert index.compaction() is None
    index.apply([(num, [f"kept-{num}"]) for num in range(10_000)])
    index.apply([(num, ["other"]) for num in range(4_000)])
    assert index.compaction() is None


OF_TERMS = ["keyword", "uuid", "bool", *({"type": "text", **text} for text in TEXTS)]
# A change of points, or what may befall an index between two of them.
steps = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(NUMS), st.none() | payloads, min_size=1),
        st.dictionaries(st.sampled_from(NUMS), st.none() | payloads, min_size=1),
        st.sampled_from(["begin", "begin and lose", "run and adopt", "dump and restore", "look"]),
    ),
    min_size=2,
    max_size=12,
)


@pytest.mark.parametrize("source", OF_TERMS, ids=str)
@given(
    steps=steps,
    conditions=st.lists(field_conditions(("a",)), min_size=1, max_size=6),
    mask=st.none() | st.sets(st.sampled_from(NUMS)),
)
@settings(max_examples=60)
def test_an_index_with_a_past_answers_like_one_without(
    source: Any, steps: list[Any], conditions: list[dict[str, Any]], mask: set[int] | None
) -> None:
    schema = read_schema(source)
    index = new_index("a", schema)
    world: dict[int, Any] = {}
    running: Compaction | None = None
    seen: list[tuple[dict[int, Any], FieldSnapshot]] = []
    for step in steps:
        match step:
            case "begin":
                running = running or index.compaction(force=True)
            case "begin and lose":
                index.compaction(force=True)
                running = None
            case "run and adopt":
                if running is not None:
                    running.run()
                    index.adopt(running)
                running = None
            case "dump and restore":
                index, running = restored(index.snapshot(), schema), None
            case "look":
                seen.append((world, index.snapshot()))
            case changes:
                fill(index, changes)
                world = {**world, **changes}
    index.compact()
    for past, snapshot in [*seen, (world, index.snapshot())]:
        fresh = new_index("a", schema)
        fill(fresh, past)
        same(snapshot, fresh.snapshot(), conditions)
        masked = None if mask is None else BitMap(mask)
        assert snapshot.facet(masked) == fresh.snapshot().facet(masked)
        assert snapshot.points() == fresh.snapshot().points()
        for condition in map(field_condition, conditions):
            assert snapshot.estimate(condition, BitMap(NUMS)) == fresh.snapshot().estimate(condition, BitMap(NUMS))
        for num in NUMS:
            assert snapshot.group_values(num) == fresh.snapshot().group_values(num)
