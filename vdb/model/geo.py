"""Points on the globe in degrees, and the three shapes that filters ask about.

Every test is strict: a point on the edge of a shape is outside it. Polygons are plane figures over longitude and
latitude and do not know the date line; boxes and circles do.
"""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import Any, Final

import msgspec

# Mean radius of the WGS84 ellipsoid in metres, (2a + b) / 3.
EARTH_RADIUS_M: Final = 6_371_008.8

LonLat = tuple[float, float]


class GeoPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A position; raises ValueError outside −180…180 and −90…90 degrees."""

    lon: float
    lat: float

    def __post_init__(self) -> None:
        if not (-180 <= self.lon <= 180 and -90 <= self.lat <= 90):
            raise ValueError(
                f"Wrong format of GeoPoint payload: expected `lat` = {self.lat:g} within [-90;90] "
                f"and `lon` = {self.lon:g} within [-180;180]"
            )


class GeoBoundingBox(msgspec.Struct, frozen=True, kw_only=True):
    """Where ``top_left`` is east of ``bottom_right``, the box runs over the date line."""

    top_left: GeoPoint
    bottom_right: GeoPoint

    @property
    def crosses_date_line(self) -> bool:
        return self.top_left.lon > self.bottom_right.lon


class GeoRadius(msgspec.Struct, frozen=True, kw_only=True):
    """``radius`` is in metres over the surface of a sphere."""

    center: GeoPoint
    radius: float


class GeoLineString(msgspec.Struct, frozen=True, kw_only=True):
    """A ring: at least four points, the last one equal to the first; raises ValueError otherwise."""

    points: tuple[GeoPoint, ...]

    def __post_init__(self) -> None:
        if len(self.points) < 4:
            raise ValueError(f"polygon invalid, the size must be at least 4, got {len(self.points)}")
        if self.points[0] != self.points[-1]:
            raise ValueError("polygon invalid, the first and the last points should be the same to form a closed line")

    def ring(self) -> list[LonLat]:
        return [(point.lon, point.lat) for point in self.points]


class GeoPolygon(msgspec.Struct, frozen=True, kw_only=True):
    """``interiors`` are holes."""

    exterior: GeoLineString
    interiors: tuple[GeoLineString, ...] | None = None


def lon_lat(value: Any) -> LonLat | None:
    """The position that a payload's value is, or None where it is none."""
    if not isinstance(value, dict):
        return None
    lon: Any = value.get("lon")
    lat: Any = value.get("lat")
    if type(lon) not in (int, float) or type(lat) not in (int, float):
        return None
    return (float(lon), float(lat)) if -180 <= lon <= 180 and -90 <= lat <= 90 else None


def in_box(box: GeoBoundingBox, lon: float, lat: float) -> bool:
    if not box.bottom_right.lat < lat < box.top_left.lat:
        return False
    if box.crosses_date_line:
        return lon > box.top_left.lon or lon < box.bottom_right.lon
    return box.top_left.lon < lon < box.bottom_right.lon


def haversine_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Great-circle distance in metres (R. W. Sinnott, Virtues of the Haversine, 1984)."""
    phi_a, phi_b = radians(lat_a), radians(lat_b)
    half = sin((phi_b - phi_a) / 2) ** 2 + cos(phi_a) * cos(phi_b) * sin(radians(lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(half)))


def in_circle(circle: GeoRadius, lon: float, lat: float) -> bool:
    return haversine_m(circle.center.lon, circle.center.lat, lon, lat) < circle.radius


def in_polygon(exterior: list[LonLat], holes: list[list[LonLat]], lon: float, lat: float) -> bool:
    """Inside the exterior ring, and neither inside a hole nor on its edge."""
    return _place(exterior, lon, lat) > 0 and all(_place(hole, lon, lat) < 0 for hole in holes)


def _place(ring: list[LonLat], lon: float, lat: float) -> int:
    """1 inside, 0 on the edge, −1 outside: crossings of a ray eastwards, even-odd (M. Shimrat, 1962)."""
    inside = False
    ax, ay = ring[0]
    for bx, by in ring[1:]:
        turn = (bx - ax) * (lat - ay) - (by - ay) * (lon - ax)
        if turn == 0 and min(ax, bx) <= lon <= max(ax, bx) and min(ay, by) <= lat <= max(ay, by):
            return 0
        if (ay > lat) != (by > lat) and (turn > 0) == (by > ay):
            inside = not inside
        ax, ay = bx, by
    return 1 if inside else -1
