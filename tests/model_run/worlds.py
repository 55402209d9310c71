"""What a run starts from and what it does: collections of every kind, and random steps, both by seed.

A step is one JSON object with one key, spelled as REST spells it wherever REST has it:

    {"upsert": {"points": [...]}}, {"delete": {"points": [...]}} or {"delete": {"filter": {...}}}, …
    {"together": [{"upsert": …}, {"delete": …}, …]}   in one transaction, each refused or done by itself
    {"create_index": {...}}, {"delete_index": {...}}, {"patch": {...}}, {"add_vector": {...}}, {"remove_vector": name}
    {"begin": "idle"} or {"begin": "busy"}   the optimizer plans and prepares a build, which then waits
    {"finish": "well"}, {"finish": "badly"}, {"finish": "cancelled"}   what becomes of that build
    {"settle": …}    builds until there is nothing left to build
    {"restart": …}, {"kill": …}, {"damage": number}   ends, and what a start then finds; a killed server closes nothing
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.model_run.points import Json, PointId, Points, matches

DENSE: Final = {"a": (4, "Dot"), "b": (6, "Euclid"), "c": (5, "Cosine"), "d": (4, "Manhattan")}
MULTI: Final = "m"
MULTI_DIM: Final = 3
SPARSE: Final = "s"
ADDED: Final = {"x": {"dense": {"size": 4, "distance": "Dot"}}, "y": {"sparse": {}}}
WORDS: Final = ("red", "green", "blue", "ключ", "")
SCHEMAS: Final[dict[str, Sequence[Any]]] = {
    "word": ("keyword", {"type": "keyword", "is_tenant": True}),
    "number": ("integer", "float"),
    "flag": ("bool",),
}

_QUANTIZATIONS: Final[Sequence[Json | None]] = (
    None,
    {"scalar": {"type": "int8", "quantile": 0.99}},
    {"binary": {"always_ram": True}},
    {"product": {"compression": "x4"}},
)
# float32 and float16 hold these exactly, so that what is read back is what was sent.
_GRID: Final = 8


def ids_of(count: int) -> list[PointId]:
    """Small numbers, numbers that SQLite's integers do not hold, and UUIDs."""
    uuids = [f"00000000-0000-4000-8000-{number:012x}" for number in range(count // 8)]
    large = [2**63 + number for number in range(count // 8)]
    return [*range(count - count // 4), *large, *uuids]


def config_of(seed: int) -> Json:
    """The request that creates the collection of a seed."""
    picked = random.Random(f"config {seed}")
    vectors: Json = {name: {"size": dim, "distance": distance} for name, (dim, distance) in DENSE.items()}
    vectors[MULTI] = {"size": MULTI_DIM, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
    vectors["b"]["datatype"] = picked.choice(["float32", "float16"])
    vectors["a"]["on_disk"] = picked.random() < 0.5
    create: Json = {
        "vectors": vectors,
        "sparse_vectors": {SPARSE: {}},
        "on_disk_payload": picked.random() < 0.6,
        "optimizers_config": _optimizers(picked),
        "hnsw_config": {"m": 8, "ef_construct": 32, "full_scan_threshold": 10, "on_disk": picked.random() < 0.3},
    }
    quantization = picked.choice(_QUANTIZATIONS)
    return create if quantization is None else create | {"quantization_config": quantization}


def _optimizers(picked: random.Random) -> Json:
    return {
        "indexing_threshold": picked.choice([1, 1, 1, 4, 0]),
        "memmap_threshold": picked.choice([1, 3, 0]),
        "default_segment_number": picked.choice([1, 2, 4]),
        "max_segment_size": picked.choice([2, 8, 1000]),
        "deleted_threshold": picked.choice([0.1, 0.3]),
    }


class Steps:
    """Random steps that a collection holding ``points`` can take; the same ones for the same seed."""

    def __init__(self, seed: int, points: Points, ids: Sequence[PointId]) -> None:
        self.random = random.Random(seed)
        self._points = points
        self.ids = ids

    def next(self, building: bool) -> Json:
        """``building`` is True while a build is under way; it ends after some steps."""
        draw = self.random.random()
        if building and draw < 0.15:
            return {"finish": self.random.choices(["well", "badly", "cancelled"], [8, 1, 1])[0]}
        if not building and draw < 0.12:
            return {"begin": self.random.choice(["idle", "idle", "busy"])}
        kinds: list[tuple[float, Callable[[], Json]]] = [
            (30, self._upsert),
            (10, lambda: {"update_vectors": {"points": self._some_vectors()}}),
            (8, lambda: {"delete_vectors": self._selected() | {"vector": self._names()}}),
            (10, lambda: {"delete": self._selected()}),
            (8, self._set_payload),
            (5, lambda: {"overwrite_payload": self._selected() | {"payload": self._payload()}}),
            (5, lambda: {"delete_payload": self._selected() | {"keys": self.random.sample(list(SCHEMAS), 1)}}),
            (3, lambda: {"clear_payload": self._selected()}),
            (6, lambda: {"together": [self._by_ids() for _ in range(self.random.randint(2, 6))]}),
            (4, self._create_index),
            (2, lambda: {"delete_index": {"field_name": self.random.choice(list(SCHEMAS))}}),
            (3, self._patch),
            (2, self._change_names),
            (2, lambda: {"settle": True}),
            (1.5, lambda: {"restart": True}),
            (1.5, lambda: {"kill": True}),
            (0.7, lambda: {"damage": self.random.randrange(2**16)}),
        ]
        return self.random.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    def _by_ids(self) -> Json:
        """A write of points by id, some of which may not be there (any more)."""
        picked: Json = {"points": self._known(3) + self.random.sample(self.ids, self.random.choice([0, 0, 0, 1]))}
        return self.random.choice(
            [
                self._upsert(),
                {"delete": picked},
                {"delete_vectors": picked | {"vector": self._names()}},
                {"overwrite_payload": picked | {"payload": self._payload()}},
                {"set_payload": picked | {"payload": self._payload()}},
                {"update_vectors": {"points": [{"id": i, "vector": self._vectors(1)} for i in picked["points"]]}},
            ]
        )

    def _upsert(self) -> Json:
        count = self.random.choice([1, 5, 40, 120]) if self.random.random() < 0.3 else self.random.randint(1, 12)
        chosen = self.random.choices(self.ids, k=count)  # an id may stand twice: the later one counts
        return {
            "upsert": {"points": [{"id": i, "payload": self._payload(), "vector": self._vectors()} for i in chosen]}
        }

    def _some_vectors(self) -> list[Json]:
        chosen = self._known(8)
        return [{"id": i, "vector": self._vectors(1)} for i in chosen]

    def _vectors(self, at_least: int = 0) -> Json:
        names = sorted(self._points.names)
        kept = names if self.random.random() < 0.6 else self.random.sample(names, self.random.randint(at_least, 3))
        return {name: self.vector(name) for name in kept}

    def vector(self, name: str) -> Any:
        """A vector as a client sends it."""
        if name in (SPARSE, "y"):
            indices = sorted(self.random.sample(range(12), self.random.randint(1, 4)))
            return {"indices": indices, "values": [self._value() for _ in indices]}
        if name == MULTI:
            return [self._row(MULTI_DIM) for _ in range(self.random.randint(1, 3))]
        return self._row(DENSE[name][0] if name in DENSE else 4)

    def _row(self, dim: int) -> list[float]:
        return [self._value() for _ in range(dim)]

    def _value(self) -> float:
        return self.random.randint(-8 * _GRID, 8 * _GRID) / _GRID or 1.0 / _GRID

    def _payload(self) -> Json:
        payload = {
            "word": self.random.choice([*WORDS, ["red", "blue"], None]),
            "number": self.random.choice([0, 1, 2.5, -3, 10**12, [1, 7], "2"]),
            "flag": self.random.choice([True, False, [True, False], "true"]),
            "inner": {"deep": self.random.randint(0, 3)},
        }
        return {key: payload[key] for key in self.random.sample(list(payload), self.random.randint(0, 4))}

    def _set_payload(self) -> Json:
        if self.random.random() < 0.25:
            return {"set_payload": self._selected() | {"payload": {"deep": self.random.randint(4, 9)}, "key": "inner"}}
        return {"set_payload": self._selected() | {"payload": self._payload()}}

    def _selected(self) -> Json:
        """Points by id, or by a filter. The runner adds the ids that a filter means."""
        if self.random.random() < 0.4:
            return {"filter": self.filter()}
        return {"points": self._known(self.random.choice([1, 4, 20]))}

    def _known(self, count: int) -> list[PointId]:
        known = sorted(self._points.by_id, key=str)
        return self.random.sample(known, min(count, len(known)))

    def filter(self) -> Json:
        """A filter that a reader can decide."""
        clause = self.random.choice(["must", "should", "must_not"])
        filter: Json = {clause: [self._condition() for _ in range(self.random.randint(1, 2))]}
        if self.random.random() < 0.3:
            filter["must"] = [*filter.get("must", []), {"should": [self._condition(), self._condition()]}]
        return filter

    def _condition(self) -> Json:
        low = self.random.choice([-5, 0, 1, 2])
        conditions: list[Json] = [
            {"key": "word", "match": {"value": self.random.choice(WORDS)}},
            {"key": "word", "match": {"any": self.random.sample(WORDS, 2)}},
            {"key": "number", "range": {"gte": low, "lt": low + self.random.choice([1, 3, 10**13])}},
            {"key": "flag", "match": {"value": self.random.random() < 0.5}},
            {"is_empty": {"key": self.random.choice(list(SCHEMAS))}},
            {"has_id": self.random.sample(list(self.ids), 10)},
            {"has_vector": self.random.choice(sorted(self._points.names))},
        ]
        return self.random.choice(conditions)

    def _create_index(self) -> Json:
        field = self.random.choice(list(SCHEMAS))
        return {"create_index": {"field_name": field, "field_schema": self.random.choice(SCHEMAS[field])}}

    def _names(self) -> list[str]:
        return self.random.sample(sorted(self._points.names), self.random.randint(1, 2))

    def _patch(self) -> Json:
        changes: list[Json] = [
            {"hnsw_config": {"m": self.random.choice([0, 4, 8, 16]), "ef_construct": self.random.choice([16, 32])}},
            {"hnsw_config": {"on_disk": self.random.random() < 0.5}},
            {"optimizers_config": _optimizers(self.random)},
            {"quantization_config": self.random.choice(_QUANTIZATIONS) or "Disabled"},
            {"vectors": {"c": {"quantization_config": self.random.choice(_QUANTIZATIONS) or "Disabled"}}},
            {"vectors": {"a": {"on_disk": self.random.random() < 0.5}, "b": {"hnsw_config": {"m": 4}}}},
            {"params": {"on_disk_payload": self.random.random() < 0.5}},
        ]
        return {"patch": self.random.choice(changes)}

    def _change_names(self) -> Json:
        name = self.random.choice(list(ADDED))
        if name in self._points.names:
            return {"remove_vector": name}
        return {"add_vector": {"name": name, "config": ADDED[name]}}


def selected(points: Points, body: Json) -> list[PointId]:
    """The ids that a selector means."""
    if "points" in body:
        return [entry["id"] if isinstance(entry, dict) else entry for entry in body["points"]]
    return [i for i, point in points.by_id.items() if matches(body["filter"], i, point)]
