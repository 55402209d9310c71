"""What a collection must hold: a dictionary of points, and what each operation makes of it.

Knows nothing of vdb's code, and is too plain to be wrong in the same way.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

PointId = int | str
Json = dict[str, Any]


@dataclass(slots=True)
class Point:
    """``vectors`` are as a client sends them; ``version`` is the operation that last changed the point."""

    payload: Json
    vectors: Json
    version: int


@dataclass(slots=True)
class Points:
    """``names`` are the vectors that the collection has now."""

    names: set[str]
    by_id: dict[PointId, Point] = field(default_factory=dict)

    def apply(self, kind: str, body: Json, seq: int) -> None:
        """One write as REST's batch spells it. The points that a filter selects stand in ``points`` already."""
        match kind:
            case "upsert":
                for sent in body["points"]:
                    vectors = {name: value for name, value in sent["vector"].items() if name in self.names}
                    self.by_id[sent["id"]] = Point(deepcopy(sent["payload"]), vectors, seq)
            case "delete":
                for point_id in body["points"]:
                    self.by_id.pop(point_id, None)
            case "update_vectors":
                for sent in body["points"]:
                    point = self.by_id[sent["id"]]
                    point.vectors, point.version = point.vectors | sent["vector"], seq
            case _:
                for point_id in body["points"]:
                    _change(self.by_id[point_id], kind, body)
                    self.by_id[point_id].version = seq

    def refuses(self, kind: str, body: Json) -> bool:
        """Whether one of the points is not there that would have to be."""
        ids = [entry["id"] if isinstance(entry, dict) else entry for entry in body["points"]]
        return kind not in ("upsert", "delete") and not all(point_id in self.by_id for point_id in ids)

    def add_name(self, name: str) -> None:
        self.names.add(name)

    def remove_name(self, name: str) -> None:
        self.names.discard(name)
        for point in self.by_id.values():
            point.vectors.pop(name, None)


def _change(point: Point, kind: str, body: Json) -> None:
    match kind:
        case "delete_vectors":
            for name in body["vector"]:
                point.vectors.pop(name, None)
        case "set_payload" if "key" in body:
            inner = point.payload.get(body["key"])
            point.payload[body["key"]] = _merged(inner if isinstance(inner, dict) else {}, body["payload"])
        case "set_payload":
            point.payload = _merged(point.payload, body["payload"])
        case "overwrite_payload":
            point.payload = deepcopy(body["payload"])
        case "delete_payload":
            for key in body["keys"]:
                point.payload.pop(key, None)
        case "clear_payload":
            point.payload = {}
        case _:
            raise ValueError(kind)


def _merged(payload: Json, change: Json) -> Json:
    """A null takes its key away."""
    return {key: value for key, value in (payload | deepcopy(change)).items() if value is not None or key not in change}


def matches(condition: Json, point_id: PointId, point: Point) -> bool:
    """A filter, or one of its conditions, decided naively."""
    match condition:
        case {"key": key, "match": {"value": wanted}}:
            return any(type(value) is type(wanted) and value == wanted for value in _values(point.payload.get(key)))
        case {"key": key, "match": {"any": wanted}}:
            return any(value in wanted for value in _values(point.payload.get(key)) if isinstance(value, str))
        case {"key": key, "range": {"gte": low, "lt": high}}:
            return any(low <= value < high for value in _values(point.payload.get(key)) if _is_number(value))
        case {"is_empty": {"key": key}}:
            return point.payload.get(key) in (None, [])
        case {"has_id": ids}:
            return point_id in ids
        case {"has_vector": name}:
            return name in point.vectors
    must = condition.get("must", [])
    should = condition.get("should", [])
    return (
        all(matches(inner, point_id, point) for inner in must)
        and (not should or any(matches(inner, point_id, point) for inner in should))
        and not any(matches(inner, point_id, point) for inner in condition.get("must_not", []))
    )


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
