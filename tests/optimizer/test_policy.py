"""The optimizer's policy: what is asked for is built, and once built is not asked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.segment.segments import build_segment, clustered, configured, space_of
from vdb.collection.state import SlotView
from vdb.model.collection_config import CollectionConfig, UpdateCollection, apply_update
from vdb.model.decode import decode_hook
from vdb.model.vectors import Datatype, Distance
from vdb.optimizer.job import prepare
from vdb.optimizer.policy import Limits, Plan, plan
from vdb.segment.appendable import AppendableRows
from vdb.segment.builder import Job, build
from vdb.segment.manifest import MANIFEST_NAME, FileEntry, Manifest, VectorEntry
from vdb.segment.recipe import MEMORY_BYTES_MAX, recipe_for, sealing_bytes
from vdb.segment.sealed import MaskedRows, SealedSegment, open_segment

DIM: Final = 16
LIMITS: Final = Limits(2, 2**40)
ROWS: Final = 150

PLACES = st.sampled_from([None, "cold", "cached", "pinned"])
FLAGS = st.sampled_from([None, True, False])
METHODS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"scalar": st.fixed_dictionaries({"type": st.just("int8")}, optional={"quantile": st.floats(0.5, 1)})}
    ),
    st.fixed_dictionaries({"binary": st.fixed_dictionaries({}, optional={"always_ram": FLAGS, "memory": PLACES})}),
    st.fixed_dictionaries({"product": st.fixed_dictionaries({"compression": st.sampled_from(["x4", "x16", "x64"])})}),
)
CHANGES: Final = st.fixed_dictionaries(
    {
        "hnsw_config": st.fixed_dictionaries(
            {"m": st.sampled_from([0, 4, 8]), "ef_construct": st.sampled_from([8, 16])},
            optional={"on_disk": FLAGS, "memory": PLACES, "payload_m": st.sampled_from([0, 16])},
        ),
        "optimizers_config": st.fixed_dictionaries(
            {"indexing_threshold": st.sampled_from([0, 1, 8, 1_000_000])},
            optional={"memmap_threshold": st.sampled_from([0, 1, 5, 1_000_000])},
        ),
        "vectors": st.fixed_dictionaries(
            {"": st.fixed_dictionaries({}, optional={"on_disk": FLAGS, "memory": st.sampled_from(["cold", "cached"])})}
        ),
    },
    optional={"quantization_config": METHODS.map(lambda method: "Disabled" if method is None else method)},
)


def changed(config: CollectionConfig, change: dict[str, Any]) -> CollectionConfig:
    return apply_update(config, msgspec.convert(change, UpdateCollection, dec_hook=decode_hook))


def in_memory(rows: int, number: int = 0, *, frozen: bool = False) -> SlotView:
    appendable = AppendableRows(space_of(Distance.DOT, DIM))
    appendable.append(np.arange(rows, dtype=np.uint32), clustered(rows, DIM))
    return SlotView(number, "u", None, frozen, {0: appendable.view()})


def as_slot(segment: SealedSegment, number: int = 0, dead: int = 0) -> SlotView:
    masked = MaskedRows(segment.rows[0])
    if dead:
        masked.kill(np.arange(dead))
    return SlotView(number, "u", segment, True, {0: masked.view()})


class Unopened(SealedSegment):
    """A segment of which the policy sees the manifest only."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest


def planned(config: CollectionConfig, *slots: SlotView, idle: bool = True) -> Plan | None:
    return plan(slots, config, LIMITS, idle)


def rebuilt(config: CollectionConfig, slot: SlotView, folder: Path) -> SlotView:
    """What the worker does with a plan of one slot, in this process."""
    scratch, output = folder / "scratch", folder / "output"
    scratch.mkdir(parents=True)
    output.mkdir()
    path = prepare(scratch, output, config, {"": 0}, [slot])
    assert path is not None
    build(msgspec.json.decode(path.read_bytes(), type=Job))
    return as_slot(open_segment(1, output, 1, (output / MANIFEST_NAME).read_text(), verify_files=True), slot.number + 1)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> SlotView:
    config = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8})
    folder = tmp_path_factory.mktemp("sealed") / "segment"
    recipe = recipe_for(config, "", ROWS)
    return as_slot(build_segment(folder, space_of(Distance.DOT, DIM), clustered(ROWS, DIM), recipe))


@given(change=CHANGES, distance=st.sampled_from(Distance), rows=st.integers(1, 20_000))
def test_what_was_built_as_asked_for_is_not_asked_for_again(
    change: dict[str, Any], distance: Distance, rows: int
) -> None:
    config = changed(configured(space_of(distance, DIM)), change)
    for present in (None, recipe_for(configured(space_of(distance, DIM)), "", rows)):
        recipe = recipe_for(config, "", rows, present)
        assert recipe_for(config, "", rows, recipe) == recipe
        file = FileEntry("0.matrix", 1, "")
        entry = VectorEntry(0, "", DIM, distance.value, Datatype.FLOAT32.value, rows, file, file, recipe)
        slot = in_memory(rows)
        assert planned(config, SlotView(0, "u", Unopened(Manifest(2, (entry,))), True, slot.rows)) is None


@pytest.mark.parametrize("seed", range(25))
def test_one_rebuild_brings_any_segment_to_any_configuration(seed: int, sealed: SlotView, tmp_path: Path) -> None:
    """Through real builds: a chain of changes, each of which needs one rebuild at most."""
    random = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[int(random.integers(len(choices)))]

    config, slot = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8}), sealed
    for step in range(3):
        config = changed(
            config,
            {
                "hnsw_config": {"m": one_of(0, 4, 8), "on_disk": one_of(True, False)},
                "optimizers_config": {"indexing_threshold": one_of(0, 1, 10**6), "memmap_threshold": one_of(0, 1)},
                "vectors": {"": {"on_disk": one_of(True, False)}},
                "quantization_config": one_of(
                    "Disabled",
                    {"scalar": {"type": "int8", "always_ram": one_of(True, False)}},
                    {"binary": {"memory": one_of("cold", "pinned")}},
                    {"product": {"compression": one_of("x8", "x32")}},
                ),
            },
        )
        chosen = planned(config, slot)
        if chosen is not None:
            assert chosen == Plan("config_mismatch", (slot.number,))
            slot = rebuilt(config, slot, tmp_path / str(step))
            assert planned(config, slot) is None
        rows = slot.rows[0].rows
        np.testing.assert_array_equal(rows.matrix, clustered(ROWS, DIM)[rows.nums])


@pytest.mark.parametrize(
    "change",
    [
        {"hnsw_config": {"m": 12}},
        {"hnsw_config": {"m": 0}},
        {"hnsw_config": {"ef_construct": 77}},
        {"hnsw_config": {"on_disk": True}},
        {"vectors": {"": {"on_disk": True}}},
        {"vectors": {"": {"hnsw_config": {"m": 5}}}},
        {"vectors": {"": {"quantization_config": {"binary": {}}}}},
        {"quantization_config": {"scalar": {"type": "int8"}}},
        {"quantization_config": {"product": {"compression": "x8"}}},
        {"optimizers_config": {"memmap_threshold": 1}},
    ],
)
def test_a_change_that_matters_rebuilds_and_its_reversal_does_too(
    change: dict[str, Any], sealed: SlotView, tmp_path: Path
) -> None:
    config = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8})
    assert planned(config, sealed) is None
    slot = rebuilt(changed(config, change), sealed, tmp_path)
    assert planned(changed(config, change), sealed) is not None
    assert planned(changed(config, change), slot) is None
    assert planned(config, slot) == Plan("config_mismatch", (1,))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizers_config": {"indexing_threshold": 0}},
        {"optimizers_config": {"indexing_threshold": 10**6}},
        {"hnsw_config": {"full_scan_threshold": 77, "payload_m": 4, "max_indexing_threads": 3}},
    ],
)
def test_a_change_that_search_obeys_at_once_rebuilds_nothing(change: dict[str, Any], sealed: SlotView) -> None:
    config = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8})
    assert planned(changed(config, change), sealed) is None


def test_memory_is_sealed_without_a_graph_where_none_is_wanted(tmp_path: Path) -> None:
    """Without a limit, a collection whose indexing is off would keep all its vectors in memory for ever."""
    space = space_of(Distance.DOT, DIM)
    off = configured(space, optimizers={"indexing_threshold": 0})
    assert sealing_bytes(off) == MEMORY_BYTES_MAX
    assert planned(off, in_memory(300)) is None
    for config in (
        configured(space, optimizers={"indexing_threshold": 0, "memmap_threshold": 16}),
        configured(space, hnsw_config={"m": 0}, optimizers={"memmap_threshold": 16}),
        configured(space, optimizers={"indexing_threshold": 10**6, "memmap_threshold": 16}),
    ):
        assert planned(config, in_memory(200), idle=False) is None
        assert planned(config, in_memory(300), idle=False) == Plan("indexing", (0,), freeze=True)
        recipe = recipe_for(config, "", 300)
        assert (recipe.m, recipe.matrix) == (0, "cold")


def test_a_big_segment_gets_the_graph_that_a_small_one_did_not_want() -> None:
    config = configured(space_of(Distance.DOT, DIM), optimizers={"indexing_threshold": 100, "memmap_threshold": 10})
    assert recipe_for(config, "", 1_000).m == 0
    assert recipe_for(config, "", 10_000).m == 16


def cleaning() -> CollectionConfig:
    """Segments of which half is dead are cleaned."""
    return configured(
        space_of(Distance.DOT, DIM),
        hnsw_config={"m": 4, "ef_construct": 8},
        optimizers={"deleted_threshold": 0.5, "vacuum_min_vector_number": 100},
    )


def test_dead_rows_are_cleaned_away(sealed: SlotView) -> None:
    assert sealed.sealed is not None
    config = cleaning()
    assert planned(config, as_slot(sealed.sealed, dead=70)) is None
    assert planned(config, as_slot(sealed.sealed, dead=80)) == Plan("vacuum", (0,))


def test_small_segments_are_merged_down_to_the_number_asked_for(sealed: SlotView) -> None:
    assert sealed.sealed is not None
    config = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8})
    slots = [as_slot(sealed.sealed, number) for number in range(6)]
    assert planned(config, *slots[:2]) is None
    assert planned(config, *slots[:4]) == Plan("merge", (0, 1, 2))
    assert plan(slots[:4], config, Limits(2, 1), idle=True) is None


def test_segments_do_not_become_ever_more_where_points_are_written_again_and_again(sealed: SlotView) -> None:
    assert sealed.sealed is not None
    config = cleaning()
    slots = [as_slot(sealed.sealed, number, dead=80) for number in range(12)]
    for idle in (True, False):
        assert plan(slots[:10], config, LIMITS, idle, {11}) == Plan("vacuum", (0,))
        assert plan(slots, config, LIMITS, idle, {11}) == Plan("merge", tuple(range(10)))
    assert plan(slots[10:], config, LIMITS, False, set(range(10))) == Plan("vacuum", (10,))


def sealed_of(rows: int, number: int) -> SlotView:
    """A segment of so many rows, as far as the policy looks at it."""
    file = FileEntry("0.matrix", 1, "")
    recipe = recipe_for(configured(space_of(Distance.DOT, DIM)), "", rows)
    entry = VectorEntry(0, "", DIM, "Dot", Datatype.FLOAT32.value, rows, file, file, recipe)
    return SlotView(number, "u", Unopened(Manifest(2, (entry,))), True, in_memory(rows).rows)


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([4_000, 13_500, 32_500], (0, 1, 2)),  # the largest is not three times as large as the others together
        ([1_000, 32_500], ()),
        ([1_000, 2_500, 32_500], (0, 1)),
        ([400, 2_000, 32_500], ()),
        ([100, 400, 2_000, 8_500, 36_000], (0, 1)),  # one fewer, so that three more than are wanted remain
    ],
)
def test_a_segment_is_merged_with_smaller_ones_unless_it_is_larger_by_far(
    sizes: list[int], merged: tuple[int, ...]
) -> None:
    config = configured(space_of(Distance.DOT, DIM))
    slots = [sealed_of(rows, number) for number, rows in enumerate(sizes)]
    assert plan(slots, config, Limits(1, 2**40), idle=True) == (Plan("merge", merged) if merged else None)


def test_merging_waits_for_a_pause_unless_segments_are_far_too_many(sealed: SlotView) -> None:
    assert sealed.sealed is not None
    config = configured(space_of(Distance.DOT, DIM), hnsw_config={"m": 4, "ef_construct": 8})
    slots = [as_slot(sealed.sealed, number) for number in range(6)]
    assert planned(config, *slots[:5], idle=False) is None
    assert planned(config, *slots, idle=False) == Plan("merge", (0, 1, 2, 3, 4))
