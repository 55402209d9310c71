"""The index of positions: columns by latitude, of which a shape looks at the band that it spans.

Boxes and polygons are computed with the same operations as for a single payload. Distances are not: numpy's sine and
the C library's differ in the last bit, so what lies that close to the edge of a circle is computed again, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import degrees
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.model.conditions import Match, MatchExcept
from vdb.model.field_index import PayloadFieldSchema
from vdb.model.geo import EARTH_RADIUS_M, GeoBoundingBox, GeoPolygon, GeoRadius, LonLat, in_circle, lon_lat
from vdb.segment.fields.base_columns import ColumnIndex
from vdb.segment.fields.bitmaps import Nums, bitmap_of
from vdb.segment.fields.blocks import Block, Blocks, flattened, gathered, of_array, to_nums
from vdb.segment.fields.chunks import FrozenChunks
from vdb.segment.fields.index import FieldSnapshot
from vdb.segment.fields.presence import Batch, Presence
from vdb.segment.fields.value_tests import Shape

Degrees = NDArray[np.float64]
Flags = NDArray[np.bool_]
# A point's positions: one stands bare.
Entry = LonLat | tuple[LonLat, ...]

# Far more than the two ways of computing a distance differ by, and far less than two places.
_SLACK_M: Final = 1e-3


@dataclass(frozen=True, slots=True)
class PositionColumns:
    """``lats`` ``(n,)`` ascending, ``lons`` and ``nums`` ``(n,)`` beside them; degrees as float64."""

    lats: Degrees
    lons: Degrees
    nums: Nums

    def inside(self, shape: Shape) -> BitMap:
        south, north = _latitudes(shape)
        band = slice(
            int(np.searchsorted(self.lats, south, side="left")), int(np.searchsorted(self.lats, north, side="right"))
        )
        lons, lats = self.lons[band], self.lats[band]
        match shape:
            case GeoBoundingBox():
                flags = _in_box(shape, lons, lats)
            case GeoRadius():
                flags = _in_circle(shape, lons, lats)
            case GeoPolygon():
                flags = _in_polygon(shape, lons, lats)
        return bitmap_of(self.nums[band][flags])


class PositionSnapshot(FieldSnapshot):
    def __init__(
        self,
        schema: PayloadFieldSchema,
        presence: Presence,
        base: PositionColumns,
        fresh: BitMap,
        forward: FrozenChunks[Entry],
    ) -> None:
        super().__init__(schema, presence)
        self._base = base
        self._fresh = fresh
        self._forward = forward

    def _dump(self) -> dict[str, Block]:
        nums, positions = flattened((num, _positions(entry)) for num, entry in self._forward.items())
        return {
            "nums": of_array(nums),
            "lons": of_array(np.array([lon for lon, _ in positions], dtype=np.float64)),
            "lats": of_array(np.array([lat for _, lat in positions], dtype=np.float64)),
        }

    def _match(self, match: Match) -> BitMap | None:
        if isinstance(match, MatchExcept):
            return self._everything() if match.except_ else self.presence.foreign | self.presence.indexed
        return self._nothing()

    def _shape(self, shape: Shape) -> BitMap:
        found = self._base.inside(shape)
        return (found - self._fresh) | self._overlay.inside(shape) if self._fresh else found

    @cached_property
    def _overlay(self) -> PositionColumns:
        return _gathered(self._fresh, self._forward)


class PositionIndex(ColumnIndex[PositionColumns]):
    """Owned by the collection's actor."""

    def snapshot(self) -> PositionSnapshot:
        return PositionSnapshot(self.schema, self._presence, self._base, self._fresh, self._forward.freeze())

    def _entry(self, num: int, elements: list[Any], batch: Batch) -> Entry | None:
        positions = tuple(position for element in elements if (position := lon_lat(element)) is not None)
        if len(positions) < len(elements):
            batch.foreign.append(num)
        if not positions:
            return None
        batch.indexed.append(num)
        batch.counted.append(num)
        return positions if len(positions) > 1 else positions[0]

    def _restore(self, blocks: Blocks) -> None:
        lons, lats = (np.frombuffer(blocks[name], dtype=np.float64).tolist() for name in ("lons", "lats"))
        positions = list(zip(lons, lats, strict=True))
        self._take(
            (num, tuple(found) if len(found) > 1 else found[0])
            for num, found in gathered(to_nums(blocks["nums"]).tolist(), positions)
        )

    def _columns(self, nums: Iterable[int], forward: FrozenChunks[Any]) -> PositionColumns:
        return _gathered(nums, forward)


def _positions(entry: Entry | None) -> tuple[LonLat, ...]:
    if entry is None:
        return ()
    return entry if isinstance(entry[0], tuple) else (entry,)


def _gathered(nums: Iterable[int], forward: FrozenChunks[Entry]) -> PositionColumns:
    rows = [(lat, lon, num) for num in nums for lon, lat in _positions(forward.get(num))]
    lats = np.array([row[0] for row in rows], dtype=np.float64)
    order = np.argsort(lats, kind="stable")
    lons = np.array([row[1] for row in rows], dtype=np.float64)
    holders = np.array([row[2] for row in rows], dtype=np.uint32)
    return PositionColumns(lats[order], lons[order], holders[order])


def _latitudes(shape: Shape) -> tuple[float, float]:
    """The southernmost and the northernmost latitude that the shape may contain."""
    match shape:
        case GeoBoundingBox(top_left=top_left, bottom_right=bottom_right):
            return bottom_right.lat, top_left.lat
        case GeoRadius(center=center, radius=radius):
            reach = degrees((radius + _SLACK_M) / EARTH_RADIUS_M)
            return center.lat - reach, center.lat + reach
        case GeoPolygon(exterior=exterior):
            lats = [point.lat for point in exterior.points]
            return min(lats), max(lats)


def _in_box(box: GeoBoundingBox, lons: Degrees, lats: Degrees) -> Flags:
    west, east = box.top_left.lon, box.bottom_right.lon
    between = (lons > west) | (lons < east) if box.crosses_date_line else (lons > west) & (lons < east)
    return between & (lats > box.bottom_right.lat) & (lats < box.top_left.lat)


def _in_circle(circle: GeoRadius, lons: Degrees, lats: Degrees) -> Flags:
    phi = np.radians(lats)
    phi_center = np.radians(circle.center.lat)
    half = (
        np.sin((phi - phi_center) / 2) ** 2
        + np.cos(phi) * np.cos(phi_center) * np.sin(np.radians(lons - circle.center.lon) / 2) ** 2
    )
    distances = 2 * EARTH_RADIUS_M * np.arcsin(np.minimum(1.0, np.sqrt(half)))
    flags: Flags = distances < circle.radius
    # Near the antipode the arc sine is steep: a last bit of its argument is a decimetre there.
    unsure = (np.abs(distances - circle.radius) <= _SLACK_M) | (half > 0.999)
    for row in np.flatnonzero(unsure).tolist():
        flags[row] = in_circle(circle, float(lons[row]), float(lats[row]))
    return flags


def _in_polygon(polygon: GeoPolygon, lons: Degrees, lats: Degrees) -> Flags:
    inside, on_edge = _places(polygon.exterior.ring(), lons, lats)
    flags = inside & ~on_edge
    for hole in polygon.interiors or ():
        inside, on_edge = _places(hole.ring(), lons, lats)
        flags &= ~(inside | on_edge)
    return flags


def _places(ring: list[LonLat], lons: Degrees, lats: Degrees) -> tuple[Flags, Flags]:
    """Which positions a ray eastwards finds inside, and which are on the edge; see ``vdb.model.geo``."""
    inside = np.zeros(len(lons), dtype=bool)
    on_edge = np.zeros(len(lons), dtype=bool)
    ax, ay = ring[0]
    for bx, by in ring[1:]:
        turn = (bx - ax) * (lats - ay) - (by - ay) * (lons - ax)
        within = (lons >= min(ax, bx)) & (lons <= max(ax, bx)) & (lats >= min(ay, by)) & (lats <= max(ay, by))
        on_edge |= (turn == 0) & within
        inside ^= ((ay > lats) != (by > lats)) & ((turn > 0) == (by > ay))
        ax, ay = bx, by
    return inside, on_edge
