"""Which segments to rebuild: a pure function of what the segments look like.

=============== ==========================================================================================
optimizer       what it does
=============== ==========================================================================================
indexing        seals rows in memory: above ``indexing_threshold`` with a graph, above ``memmap_threshold`` or 128 MiB
                without one
config_mismatch rebuilds a sealed segment whose graph, quantisation or place in memory is not the one asked for
vacuum          rebuilds a sealed segment with more than ``deleted_threshold`` dead rows
merge           joins sealed segments when there are more than ``default_segment_number``: last, as what the others
                make decides what is to be joined, but before vacuum where segments have become very many
=============== ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from vdb.collection.state import SlotView
from vdb.model.collection_config import CollectionConfig
from vdb.segment.recipe import recipe_for, sealing_bytes
from vdb.segment.sealed import SealedSegment

# Rows left in memory beside sealed segments are sealed too once writing pauses: beyond this many bytes their scan costs
# a query more than one more graph does.
TAIL_BYTES: Final = 2 * 2**20
# One view of a sealed segment holds the interpreter lock for 32 ms per million rows: this keeps it under 10 ms.
SEGMENT_ROWS_MAX: Final = 300_000
_SEGMENT_BYTES_PER_CPU: Final = 200_000 * 1024  # Qdrant's default: 200 MB for each thread that builds
_SEGMENTS_MAX: Final = 8  # of `default_segment_number: 0`, which is half the CPUs: one graph searched beats two
_TIER_FACTOR: Final = 3  # a segment so many times as large as what it would be merged with is left alone
_SPARE_SEGMENTS: Final = 3  # but for so many segments more than are wanted
# Points that are written again and again leave dead rows in every segment: to clean one after the other would never
# end, and every seal adds one more. Merging cleans them too.
_CROWDED_SEGMENTS: Final = 8  # so many more than are wanted


@dataclass(frozen=True, slots=True)
class Plan:
    """Slots to be replaced by one; ``freeze`` says that rows still being added to belong to them."""

    optimizer: str
    inputs: tuple[int, ...]
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """``segments`` is the number to merge down to, ``segment_bytes`` what a merge's float32 vectors may reach."""

    segments: int
    segment_bytes: int

    @classmethod
    def of(cls, config: CollectionConfig, cpus: int) -> Limits:
        optimizers = config.optimizer_config
        segments = optimizers.default_segment_number or max(1, min(_SEGMENTS_MAX, cpus // 2))
        size = optimizers.max_segment_size
        return cls(segments, _SEGMENT_BYTES_PER_CPU * cpus if size is None else size * 1024)


def plan(
    slots: Sequence[SlotView],
    config: CollectionConfig,
    limits: Limits,
    idle: bool,
    busy: Collection[int] = frozenset(),
) -> Plan | None:
    """The next rebuild, or None. ``idle`` is True when no write has come for a while; ``busy`` slots are in one."""
    free = [slot for slot in slots if slot.number not in busy]
    sealed = [slot for slot in free if slot.sealed is not None]
    crowded = len(sealed) > limits.segments + _CROWDED_SEGMENTS
    built_bytes = _size(sealed) + sum(slot.size_bytes for slot in slots if slot.number in busy)
    return (
        _index(free, sealed, built_bytes, config, limits, idle)
        or _mismatch(sealed, config)
        or (_merge(sealed, limits, idle) if crowded else None)
        or _vacuum(sealed, config)
        or (None if busy else _merge(sealed, limits, idle))  # what comes out of a build decides what is to be merged
    )


def _index(
    free: Sequence[SlotView],
    sealed: Sequence[SlotView],
    built_bytes: int,
    config: CollectionConfig,
    limits: Limits,
    idle: bool,
) -> Plan | None:
    memory = [slot for slot in free if slot.sealed is None and slot.size_bytes]
    if not memory:
        return None
    size = _size(memory)
    if idle:
        due = size > sealing_bytes(config) or (bool(built_bytes) and size >= TAIL_BYTES)
    else:  # while writes come, each build takes as much as all before it did together: none is thrown away soon
        due = size > max(sealing_bytes(config), min(built_bytes, limits.segment_bytes // 2))
    if not due:
        return None
    chosen: list[SlotView] = []
    for slot in memory:  # oldest first, as many as one segment takes
        if chosen and not _fits([*chosen, slot], limits):
            break
        chosen.append(slot)
    freeze = any(not slot.frozen for slot in chosen)
    if idle:
        chosen = _with_smaller(chosen, sealed, limits)
    return Plan("indexing", tuple(slot.number for slot in chosen), freeze)


def _with_smaller(chosen: list[SlotView], sealed: Sequence[SlotView], limits: Limits) -> list[SlotView]:
    """``chosen`` and as many of the smallest segments as bring their number down to what is wanted.

    A segment much larger than all smaller ones together stays out, for as long as there are not too many: else every
    handful of new points would rebuild it. With one that stays in, all that are smaller do.
    """
    left = len(sealed) + (1 if chosen else 0)
    smaller = list(chosen)
    for slot in sorted(sealed, key=lambda slot: slot.size_bytes):
        if left <= limits.segments or not _fits([*smaller, slot], limits):
            break
        large = bool(smaller) and slot.size_bytes > _TIER_FACTOR * _size(smaller)
        left_out = large and left <= limits.segments + _SPARE_SEGMENTS
        left -= 1 if smaller else 0
        smaller.append(slot)
        if not left_out:
            chosen = list(smaller)
    return chosen


def _mismatch(sealed: Sequence[SlotView], config: CollectionConfig) -> Plan | None:
    for slot in sealed:
        assert slot.sealed is not None
        if slot.rows_count and _differs(slot.sealed, config):
            return Plan("config_mismatch", (slot.number,))
    return None


def _differs(segment: SealedSegment, config: CollectionConfig) -> bool:
    vectors = config.vectors()
    return any(
        entry.rows
        and entry.name in vectors
        and entry.recipe != recipe_for(config, entry.name, entry.rows, entry.recipe)
        for entry in segment.manifest.vectors
    )


def _vacuum(sealed: Sequence[SlotView], config: CollectionConfig) -> Plan | None:
    optimizers = config.optimizer_config
    for slot in sealed:
        for rows in slot.rows.values():
            if rows.length >= optimizers.vacuum_min_vector_number and rows.dead_share > optimizers.deleted_threshold:
                return Plan("vacuum", (slot.number,))
    return None


def _merge(sealed: Sequence[SlotView], limits: Limits, idle: bool) -> Plan | None:
    excess = len(sealed) - limits.segments
    if excess <= 0 or (not idle and excess <= _SPARE_SEGMENTS):  # while writes come, merging again and again is waste
        return None
    chosen = _with_smaller([], sealed, limits)
    return Plan("merge", tuple(slot.number for slot in chosen)) if len(chosen) > 1 else None


def _size(slots: Sequence[SlotView]) -> int:
    return sum(slot.size_bytes for slot in slots)


def _fits(slots: Sequence[SlotView], limits: Limits) -> bool:
    return _size(slots) <= limits.segment_bytes and sum(slot.rows_count for slot in slots) <= SEGMENT_ROWS_MAX
