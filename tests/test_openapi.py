"""The OpenAPI document and the schemas of types."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from vdb.api.json_schema import Components, Schema
from vdb.api.openapi import document
from vdb.api.routing import Call, Plain, Routes

Size = Annotated[int, msgspec.Meta(ge=1, le=100, description="How many leaves.")]


class Colour(Enum):
    """What a leaf looks like."""

    GREEN = "green"
    RED = "red"


class Leaf(msgspec.Struct, kw_only=True):
    """One leaf."""

    size: Size
    colour: Colour = Colour.GREEN
    shape: Literal["round", "long"] | None = None
    names: dict[str, list[str]] = {}
    place: tuple[float, float] | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET
    weight: float = msgspec.field(name="weight_g", default=0.5)
    extra: Any = None


class Node:
    """A leaf, a branch, a word or a list of numbers."""

    alternatives: ClassVar[tuple[Any, ...]] = (
        Leaf,
        "Branch",
        Literal["bud"],
        Annotated[list[float], msgspec.Meta(min_length=1)],
    )


class Branch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    nodes: list[Node]
    parent: Branch | None = None


class LeafId:
    json_schema: ClassVar[Schema] = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}


class Quantisation(msgspec.Struct, kw_only=True):
    exactly_one: ClassVar[bool] = True

    scalar: Leaf | None = None
    binary: bool | None = None


class Upload:
    media_type: ClassVar[str] = "multipart/form-data"
    json_schema: ClassVar[Schema] = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}


class Square(msgspec.Struct, tag="square", tag_field="kind"):
    side: Annotated[float, msgspec.Meta(gt=0)]


class TreeParams(msgspec.Struct, frozen=True):
    depth: Annotated[int, msgspec.Meta(ge=1, description="How deep to look.")] | None = None
    wait: bool = False


def routes() -> Routes:
    trees = Routes("Trees")

    @trees.add("GET", "/trees/{tree_name}", summary="One tree", access="read", params=TreeParams, result=Branch)
    async def get_tree(call: Call) -> Any:
        """Reads one tree."""

    @trees.add("POST", "/trees/grow", summary="Grow", access="read", body=Node, result=list[Leaf], body_optional=True)
    async def grow(call: Call) -> Any: ...

    @trees.add("GET", "/leaves/{leaf_id}", summary="One leaf", access="read", result=Leaf | None)
    async def get_leaf(call: Call) -> Any: ...

    @trees.add("GET", "/healthz", summary="Health", access="read", result=Plain, enveloped=False)
    async def healthz(call: Call) -> Any: ...

    @trees.add("GET", "/file", summary="A file", access="read", result=bytes, enveloped=False)
    async def get_file(call: Call) -> Any: ...

    @trees.add("POST", "/old", summary="For older clients", access="read", documented=False)
    async def old(call: Call) -> Any: ...

    return trees


def snapshots() -> Routes:
    table = Routes("Snapshots")

    @table.add("PUT", "/snapshots", summary="Upload", access="read", body=Upload, params=TreeParams)
    async def upload(call: Call) -> Any: ...

    return table


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return document([*routes().table, *snapshots().table], "1.2.3")


def schema_of(kind: Any) -> Schema:
    """The schema of ``kind``, with one reference at the top followed."""
    components = Components()
    schema = components.schema(kind, "here")
    return components.schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_the_document_is_valid_openapi(spec: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(spec).validate()
    assert spec["info"]["version"] == "1.2.3"
    assert json.loads(json.dumps(spec)) == spec


def test_undocumented_routes_are_left_out(spec: dict[str, Any]) -> None:
    assert "/old" not in spec["paths"]
    assert spec["paths"].keys() == {
        "/trees/{tree_name}",
        "/trees/grow",
        "/leaves/{leaf_id}",
        "/healthz",
        "/file",
        "/snapshots",
    }


def test_a_route_tells_its_summary_description_and_parameters(spec: dict[str, Any]) -> None:
    operation = spec["paths"]["/trees/{tree_name}"]["get"]
    assert (operation["operationId"], operation["summary"]) == ("get_tree", "One tree")
    assert operation["description"] == "Reads one tree."
    assert operation["parameters"] == [
        {"name": "tree_name", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "depth",
            "in": "query",
            "required": False,
            "description": "How deep to look.",
            "schema": {"type": "integer", "minimum": 1},
        },
        {"name": "wait", "in": "query", "required": False, "schema": {"type": "boolean", "default": False}},
    ]


def test_bodies_may_be_optional_and_need_not_be_json(spec: dict[str, Any]) -> None:
    assert spec["paths"]["/trees/grow"]["post"]["requestBody"] == {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}},
    }
    assert spec["paths"]["/snapshots"]["put"]["requestBody"]["content"].keys() == {"multipart/form-data"}


def test_answers_outside_the_envelope_are_text_or_files(spec: dict[str, Any]) -> None:
    assert spec["paths"]["/healthz"]["get"]["responses"]["200"]["content"] == {
        "text/plain": {"schema": {"type": "string"}}
    }
    assert spec["paths"]["/file"]["get"]["responses"]["200"]["content"].keys() == {"application/octet-stream"}


def test_a_field_without_default_is_required_and_others_tell_their_default() -> None:
    schema = schema_of(Leaf)
    assert schema["required"] == ["size"]
    assert schema["description"] == "One leaf."
    assert "additionalProperties" not in schema
    properties = schema["properties"]
    assert properties["size"] == {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many leaves."}
    assert properties["colour"] == {"$ref": "#/components/schemas/Colour", "default": "green"}
    assert properties["shape"] == {"anyOf": [{"type": "string", "enum": ["round", "long"]}, {"type": "null"}]}
    assert properties["names"]["additionalProperties"] == {"type": "array", "items": {"type": "string"}}
    assert properties["note"] == {"type": "string"}
    assert properties["weight_g"] == {"type": "number", "default": 0.5}
    assert properties["extra"] == {}


def test_a_tuple_has_a_fixed_length() -> None:
    number = {"type": "number"}
    assert schema_of(tuple[float, float]) == {
        "type": "array",
        "prefixItems": [number, number],
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }
    assert schema_of(tuple[float, ...]) == {"type": "array", "items": number}


def test_a_type_read_by_shape_is_a_union_that_may_look_forward() -> None:
    assert schema_of(Node)["anyOf"] == [
        {"$ref": "#/components/schemas/Leaf"},
        {"$ref": "#/components/schemas/Branch"},
        {"type": "string", "enum": ["bud"]},
        {"type": "array", "items": {"type": "number"}, "minItems": 1},
    ]


def test_a_closed_struct_refuses_unknown_fields_and_may_contain_itself() -> None:
    schema = schema_of(Branch)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["parent"] == {"anyOf": [{"$ref": "#/components/schemas/Branch"}, {"type": "null"}]}


def test_a_custom_type_may_bring_its_own_schema() -> None:
    assert schema_of(LeafId) == LeafId.json_schema
    array = Annotated[memoryview, msgspec.Meta(extra_json_schema={"type": "array"}, description="Numbers.")]
    assert schema_of(array) == {"type": "array", "description": "Numbers."}


def test_a_struct_of_which_one_field_is_set_is_a_union() -> None:
    assert schema_of(Quantisation)["anyOf"] == [
        {"type": "object", "properties": {"scalar": {"$ref": "#/components/schemas/Leaf"}}, "required": ["scalar"]},
        {"type": "object", "properties": {"binary": {"type": "boolean"}}, "required": ["binary"]},
    ]


def test_a_tagged_struct_requires_its_tag() -> None:
    schema = schema_of(Square)
    assert schema["required"] == ["kind", "side"]
    assert schema["properties"]["kind"] == {"type": "string", "enum": ["square"]}
    assert schema["properties"]["side"] == {"type": "number", "exclusiveMinimum": 0}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str | None, {"type": ["string", "null"]}),
        (int | str | None, {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
        (Annotated[int | None, msgspec.Meta(ge=3)], {"type": ["integer", "null"], "minimum": 3}),
        (Annotated[str | list[int], msgspec.Meta(min_length=1)], {"anyOf": [
            {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}),
        (Any | None, {}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (dict[str, object], {"type": "object", "additionalProperties": True}),
        (Literal[1, "one"], {"enum": [1, "one"]}),
    ],
)  # fmt: skip
def test_unions_bounds_and_containers_translate(kind: Any, schema: Schema) -> None:
    assert schema_of(kind) == schema


def test_types_of_one_name_are_told_apart() -> None:
    components = Components()
    twin = msgspec.defstruct("Leaf", [("other", int)], module="elsewhere")
    references = [components.schema(kind, "here")["$ref"] for kind in (Leaf, twin, Leaf, twin)]
    assert references[:2] == references[2:]
    assert references[0] != references[1]


def test_a_type_without_a_json_form_is_refused_by_its_place() -> None:
    kind = msgspec.defstruct("Odd", [("view", memoryview)])
    with pytest.raises(TypeError, match=r"Odd\.view: .*memoryview"):
        schema_of(kind)
