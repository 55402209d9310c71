"""Compares vdb's OpenAPI document with a Qdrant one, route by route and schema by schema, and lists what differs.

    python scripts/compare_openapi.py PATH_TO_QDRANT_DOCUMENT [--json]

Exits with 0 where nothing differs, with 1 where something does. Schemas are compared by what they allow, from the
routes' requests and answers downwards: names of schemas, ``nullable`` or a union with null, wrappers of one member and
the order of unions make no difference. Members of a union that are objects are paired by their fields.

Left out on purpose: descriptions, defaults and formats, names of path parameters, whether a body may be absent (Qdrant
never says so), and the envelope around ``result``, which Qdrant repeats in every route and never requires.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

Schema = Any  # a dict, or True for any value

_METHODS: Final = ("get", "put", "post", "patch", "delete")
_BOUNDS: Final[tuple[str, ...]] = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
# Bounds that a format of Qdrant's implies, so that spelling them out is no difference.
_IMPLIED: Final[dict[str, dict[str, int]]] = {
    "uint32": {"maximum": 2**32 - 1},
    "int64": {"minimum": -(2**63)},
}

# A maximum from here on is where a machine's integers end, not a bound that anybody chose.
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, order=True)
class Difference:
    """``group`` is a route or a schema's name in Qdrant's document, ``place`` the way from there, ``route`` the first
    that leads to it. ``harmless``: vdb takes more than Qdrant, or answers less; no client of Qdrant's can fall over it.
    """

    group: str
    place: str
    kind: str
    text: str
    route: str
    harmless: bool


@dataclass
class Shape:
    """What a schema allows, with references, unions and wrappers dissolved."""

    anything: bool = False
    null: bool = False
    enum: set[Any] = field(default_factory=set)
    scalars: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: list[Schema] = field(default_factory=list)
    maps: list[Schema] = field(default_factory=list)
    objects: list[tuple[Schema, str]] = field(default_factory=list)


class Document:
    """One OpenAPI document, 3.0 or 3.1."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Operations by method and path, with the names of path parameters left out."""
        return {
            (re.sub(r"{\w+}", "{}", path), method.upper()): operation
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if method in _METHODS
        }

    def resolve(self, node: Schema) -> tuple[Schema, str]:
        """What a reference leads to, and the last name on the way (empty where there is none)."""
        name = ""
        while isinstance(node, dict) and "$ref" in node:
            way = node["$ref"].removeprefix("#/").split("/")
            node, name = self.document, way[-1]
            for step in way:
                node = node[step]
        return node, name

    def unwrapped(self, node: Schema) -> tuple[Schema, str]:
        """The same, and through unions of one member and null."""
        node, name = self.resolve(node)
        members = [part for part in _members(node) if part not in ({"type": "null"}, {"nullable": True})]
        if len(members) != 1 or node.keys() & {"type", "properties", "enum"}:
            return node, name
        inner, inner_name = self.unwrapped(members[0])
        return inner, inner_name or name

    def shape(self, schema: Schema) -> Shape:
        shape = Shape()
        self._add(schema, "", shape, member=False)
        if "number" in shape.scalars:  # every integer is a number too
            shape.scalars.pop("integer", None)
        return shape

    def _add(self, schema: Schema, name: str, shape: Shape, *, member: bool) -> None:
        schema, own_name = self.resolve(schema)
        name = own_name or name
        if not isinstance(schema, dict):
            shape.anything |= schema is not False
            return
        members = _members(schema)
        for part in members:
            self._add(part, name, shape, member=True)
        shape.null |= schema.get("nullable") is True
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None:
            shape.null |= None in values
            shape.enum |= {value for value in values if value is not None}
            return
        kinds = schema.get("type", ["object"] if "properties" in schema else [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            _add_kind(kind, schema, name, shape)
        # Qdrant writes a union's null as a member that says nothing but `nullable`.
        if not kinds and not members and not (member and schema.get("nullable")):
            shape.anything = True


def _members(schema: Schema) -> list[Schema]:
    if not isinstance(schema, dict):
        return []
    return [part for keyword in ("anyOf", "oneOf", "allOf") for part in schema.get(keyword, [])]


def _add_kind(kind: str, schema: dict[str, Any], name: str, shape: Shape) -> None:
    if kind == "null":
        shape.null = True
    elif kind == "array":
        shape.arrays.append(schema)
    elif kind != "object":
        facts = {keyword: schema[keyword] for keyword in (*_BOUNDS, "format") if keyword in schema}
        known = shape.scalars.setdefault(kind, facts)
        # Of two numbers in one union the wider bound holds.
        shape.scalars[kind] = {keyword: value for keyword, value in known.items() if facts.get(keyword) == value}
    elif "properties" in schema:
        shape.objects.append((schema, name))
    else:
        shape.maps.append(schema)


class Comparison:
    """Collects the differences between two documents; ``ours`` is vdb's, ``theirs`` Qdrant's."""

    def __init__(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        self.ours = Document(ours)
        self.theirs = Document(theirs)
        self._found: dict[tuple[str, str, str, str], Difference] = {}
        # Pairs of schemas by identity, for schemas contain themselves, and whether in a request.
        self._compared: set[tuple[int, int, bool]] = set()
        self._route = ""
        self._asking = False  # True within a request, False within an answer

    def run(self) -> list[Difference]:
        ours, theirs = self.ours.operations(), self.theirs.operations()
        for key in sorted(ours.keys() | theirs.keys()):
            self._route = f"{key[1]} {key[0]}"
            if key not in ours or key not in theirs:
                self._add(self._route, "", "route", _only(key in ours), harmless=key in ours)
                continue
            self._asking = True
            self._parameters(ours[key], theirs[key])
            self._bodies(ours[key], theirs[key])
            self._asking = False
            self._answers(ours[key], theirs[key])
        return sorted(self._found.values())

    def _add(self, group: str, place: str, kind: str, text: str, *, harmless: bool = False) -> None:
        key = (group, place, kind, text)
        known = self._found.setdefault(key, Difference(*key, self._route, harmless))
        if known.harmless and not harmless:
            self._found[key] = Difference(*key, self._route, harmless)

    def _add_one_sided(self, group: str, place: str, kind: str, text: str, ours: bool, *, demand: bool = False) -> None:
        """Something that only one side allows (or demands): ``ours`` says which."""
        self._add(group, place, kind, f"{text} {_only(ours)}".lstrip(), harmless=(ours == self._asking) != demand)

    def _parameters(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        mine, other = (
            {parameter["name"]: parameter for parameter in side.get("parameters", []) if parameter["in"] == "query"}
            for side in (ours, theirs)
        )
        for name in sorted(mine.keys() | other.keys()):
            place = f"?{name}"
            if name not in mine or name not in other:
                self._add_one_sided(self._route, place, "parameter", "", name in mine)
                continue
            self._required(mine[name].get("required", False), other[name].get("required", False), self._route, place)
            self._schemas(mine[name]["schema"], other[name]["schema"], self._route, place, nulls=False)

    def _bodies(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        mine, other = (side.get("requestBody", {}).get("content", {}) for side in (ours, theirs))
        self._contents(mine, other, "body")
        for media_type in sorted(mine.keys() & other.keys()):
            self._schemas(mine[media_type]["schema"], other[media_type]["schema"], self._route, "body")

    def _answers(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        mine, other = (
            {code: self_side.resolve(answer)[0] for code, answer in side["responses"].items() if code.startswith("2")}
            for self_side, side in ((self.ours, ours), (self.theirs, theirs))
        )
        for code in sorted(mine.keys() | other.keys()):
            if code not in mine or code not in other:
                self._add_one_sided(self._route, f"answer {code}", "answer", "", code in mine)
                continue
            my_content, other_content = mine[code].get("content", {}), other[code].get("content", {})
            self._contents(my_content, other_content, f"answer {code}")
            for media_type in sorted(my_content.keys() & other_content.keys()):
                self._answer(my_content[media_type]["schema"], other_content[media_type]["schema"], f"answer {code}")

    def _contents(self, mine: dict[str, Any], other: dict[str, Any], place: str) -> None:
        for media_type in sorted(mine.keys() ^ other.keys()):
            self._add_one_sided(self._route, place, "media type", media_type, media_type in mine)

    def _answer(self, mine: Schema, other: Schema, place: str) -> None:
        fields = other.get("properties", {})
        if not {"status", "time"} <= fields.keys():
            self._schemas(mine, other, self._route, place)
            return
        my_fields = mine.get("properties", {})
        for name in ("result", "status", "time"):
            if (name in fields) != (name in my_fields):
                self._add(self._route, f"{place} {name}", "field", _only(name in my_fields))
        for name in sorted({"result", "usage"} & fields.keys() & my_fields.keys()):
            self._schemas(my_fields[name], fields[name], self._route, name)

    def _schemas(self, mine: Schema, other: Schema, group: str, place: str, *, nulls: bool = True) -> None:
        """Compares two schemas; ``nulls`` is False where null cannot be said, as in a URL."""
        ours, theirs = self.ours.shape(mine), self.theirs.shape(other)
        if ours.anything or theirs.anything:
            if ours.anything != theirs.anything:
                self._add_one_sided(group, place, "type", "any value", ours.anything)
            return
        if nulls and ours.null != theirs.null:
            self._add_one_sided(group, place, "null", "allowed", ours.null)
        (my_node, _), (other_node, name) = self.ours.unwrapped(mine), self.theirs.unwrapped(other)
        if not self._is_new(my_node, other_node):
            return
        if name:
            group, place = name, ""
        self._enums(ours, theirs, group, place)
        self._scalars(ours, theirs, group, place)
        self._arrays(ours, theirs, group, place)
        self._maps(ours, theirs, group, place)
        self._objects(ours, theirs, group, place)

    def _is_new(self, mine: Schema, other: Schema) -> bool:
        pair = (id(mine), id(other), self._asking)
        new = pair not in self._compared
        self._compared.add(pair)
        return new

    def _enums(self, ours: Shape, theirs: Shape, group: str, place: str) -> None:
        if ours.enum and theirs.enum:
            for value in sorted(ours.enum ^ theirs.enum, key=repr):
                self._add_one_sided(group, place, "enum", f"value {json.dumps(value)}", value in ours.enum)
        elif ours.enum or theirs.enum:
            values = ", ".join(sorted(json.dumps(value) for value in ours.enum | theirs.enum))
            self._add_one_sided(group, place, "type", f"one of {values}", bool(ours.enum))

    def _scalars(self, ours: Shape, theirs: Shape, group: str, place: str) -> None:
        for kind in sorted(ours.scalars.keys() | theirs.scalars.keys()):
            if kind in ours.scalars and kind in theirs.scalars:
                self._bounds(ours.scalars[kind], theirs.scalars[kind], group, place)
            else:
                self._add_one_sided(group, place, "type", kind, kind in ours.scalars)

    def _bounds(self, mine: dict[str, Any], other: dict[str, Any], group: str, place: str) -> None:
        implied = _IMPLIED.get(str(other.get("format")), {})
        for keyword in _BOUNDS:
            bounds = [side.get(keyword, implied.get(keyword)) for side in (mine, other)]
            if keyword == "maximum":
                bounds = [None if edge is None or edge >= _LARGEST else edge for edge in bounds]
            if bounds[0] != bounds[1]:
                said = ["none" if bound is None else json.dumps(bound) for bound in bounds]
                text = f"{keyword} {said[0]} in vdb, {said[1]} in Qdrant"
                looser = _is_looser(keyword, bounds[0], bounds[1])
                self._add(group, place, "bound", text, harmless=looser == self._asking)

    def _arrays(self, ours: Shape, theirs: Shape, group: str, place: str) -> None:
        for mine, other in self._pairs(ours.arrays, theirs.arrays, group, place, "array of "):
            self._bounds(mine, other, group, f"{place}[]")
            self._schemas(_items(mine), _items(other), group, f"{place}[]")

    def _maps(self, ours: Shape, theirs: Shape, group: str, place: str) -> None:
        for mine, other in self._pairs(ours.maps, theirs.maps, group, place, "map of "):
            values = [side.get("additionalProperties", True) for side in (mine, other)]
            self._schemas(values[0], values[1], group, f"{place}{{}}")

    def _objects(self, ours: Shape, theirs: Shape, group: str, place: str) -> None:
        names = {id(schema): name for schema, name in theirs.objects}
        mine, other = ([schema for schema, _ in side.objects] for side in (ours, theirs))
        for my_object, other_object in self._pairs(mine, other, group, place, ""):
            if self._is_new(my_object["properties"], other_object["properties"]):
                name = names[id(other_object)]
                self._fields(my_object, other_object, name or group, "" if name else place)

    def _fields(self, mine: dict[str, Any], other: dict[str, Any], group: str, place: str) -> None:
        my_fields, fields = mine["properties"], other["properties"]
        for name in sorted(my_fields.keys() | fields.keys()):
            way = f"{place}.{name}" if place else name
            if name not in my_fields or name not in fields:
                text = "deprecated," if fields.get(name, {}).get("deprecated") else ""
                self._add_one_sided(group, way, "field", text, name in my_fields)
                if name in mine.get("required", ()) or name in other.get("required", ()):
                    self._required(name in my_fields, name in fields, group, way)
                continue
            self._required(name in mine.get("required", ()), name in other.get("required", ()), group, way)
            self._schemas(my_fields[name], fields[name], group, way)
        closed = [side.get("additionalProperties", True) is False for side in (mine, other)]
        if closed[0] != closed[1]:
            self._add_one_sided(group, place, "closed", "unknown fields refused", closed[0], demand=True)

    def _required(self, mine: bool, other: bool, group: str, place: str) -> None:
        if mine != other:
            self._add_one_sided(group, place, "required", "required", mine, demand=True)

    def _pairs(
        self, ours: list[Any], theirs: list[Any], group: str, place: str, prefix: str
    ) -> Iterator[tuple[Any, Any]]:
        """Members of two unions that mean the same, the most alike first; the rest are differences."""
        alike = []
        for mine, other in itertools.product(ours, theirs):
            traits = _traits(self.ours, mine), _traits(self.theirs, other)
            alike.append((len(traits[0] & traits[1]) / max(1, len(traits[0] | traits[1])), mine, other))
        only_ones = len(ours) == len(theirs) == 1
        paired: set[int] = set()
        for likeness, mine, other in sorted(alike, key=lambda entry: -entry[0]):
            if (likeness > 0 or only_ones) and not {id(mine), id(other)} & paired:
                paired |= {id(mine), id(other)}
                yield mine, other
        for document, members in ((self.ours, ours), (self.theirs, theirs)):
            for member in (member for member in members if id(member) not in paired):
                words = ", ".join(sorted(_traits(document, member)))
                self._add_one_sided(group, place, "type", f"{prefix}{{{words}}}", document is self.ours)


def _is_looser(keyword: str, mine: Any, other: Any) -> bool:
    """Does the bound ``mine`` allow more than ``other``? (None bounds nothing.)"""
    if mine is None or other is None:
        return mine is None
    return bool(mine < other) == (keyword in _LOWER_BOUNDS)


def _items(array: dict[str, Any]) -> Schema:
    return {"anyOf": array["prefixItems"]} if "prefixItems" in array else array.get("items", True)


def _traits(document: Document, schema: dict[str, Any], depth: int = 3) -> frozenset[str]:
    """What tells one member of a union from another: names of fields with the values of tags, or kinds of items."""
    if "properties" in schema:
        traits = set()
        for name, value in schema["properties"].items():
            enum = document.shape(value).enum
            traits.add(f"{name}={min(enum, key=repr)}" if len(enum) == 1 else name)
        return frozenset(traits)
    shape = document.shape(_items(schema) if "array" in schema["type"] else schema.get("additionalProperties", True))
    words = {"anything"} if shape.anything else {*shape.scalars, *(f"={value}" for value in shape.enum)}
    if depth:
        for prefix, members in (("array of ", shape.arrays), ("map of ", shape.maps)):
            words |= {prefix + trait for member in members for trait in _traits(document, member, depth - 1)}
        words |= {f".{trait}" for member, _ in shape.objects for trait in _traits(document, member, depth - 1)}
    return frozenset(words)


def _only(ours: bool) -> str:
    return "only in vdb" if ours else "only in Qdrant"


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Difference]:
    """What differs between vdb's document and Qdrant's, in order of groups."""
    return Comparison(ours, theirs).run()


def report(differences: list[Difference]) -> str:
    """The differences as text, routes first, then schemas, each under its heading."""
    lines = [f"{difference.group}: {difference.text}" for difference in differences if difference.kind == "route"]
    groups: dict[str, list[Difference]] = {}
    for difference in differences:
        if difference.kind != "route":
            groups.setdefault(difference.group, []).append(difference)
    for group in sorted(groups, key=lambda name: (" " not in name, name)):
        route = groups[group][0].route
        lines += ["", group if group == route else f"{group} (met in {route})"]
        for member in groups[group]:
            mark = "~" if member.harmless else " "
            lines.append(f"{mark} {member.kind:<10} {member.place and member.place + ': '}{member.text}")
    harmless = sum(difference.harmless for difference in differences)
    return "\n".join([*lines, "", f"{len(differences)} differences, {harmless} of them harmless (~)"]).lstrip("\n")


def own_document() -> dict[str, Any]:
    """vdb's document, as the server would serve it."""
    from vdb import __version__
    from vdb.api.app import all_routes
    from vdb.api.openapi import document

    return document(all_routes(), __version__)


def main() -> int:
    parser = argparse.ArgumentParser(description="List what differs between vdb's OpenAPI document and Qdrant's.")
    parser.add_argument("qdrant_document", type=Path, help="an OpenAPI document of Qdrant, as JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    arguments = parser.parse_args()
    differences = compare(own_document(), json.loads(arguments.qdrant_document.read_text()))
    if arguments.json:
        print(json.dumps([asdict(difference) for difference in differences], indent=2))
    else:
        print(report(differences))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
