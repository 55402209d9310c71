"""The comparison of vdb's OpenAPI document with another one."""

from __future__ import annotations

import copy
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from scripts.compare_openapi import compare, report
from vdb.api.openapi import document
from vdb.api.routing import Call, Routes


class Colour(Enum):
    GREEN = "green"
    RED = "red"


class Leaf(msgspec.Struct, kw_only=True):
    size: Annotated[int, msgspec.Meta(ge=1, le=100)]
    colour: Colour = Colour.GREEN
    shape: Literal["round", "long"] | None = None
    names: dict[str, list[str]] = {}
    place: tuple[float, float] | None = None
    note: str | msgspec.UnsetType = msgspec.UNSET
    weight: float = msgspec.field(name="weight_g", default=0.5)
    extra: Any = None


OTHER_SPELLING: dict[str, Any] = {
    "openapi": "3.0.1",
    "paths": {
        "/leaves/{id}": {
            "get": {
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "properties": {
                                        "result": {
                                            "anyOf": [{"$ref": "#/components/schemas/ALeaf"}, {"nullable": True}]
                                        },
                                        "status": {"type": "string"},
                                        "time": {"type": "number", "format": "float"},
                                    },
                                }
                            }
                        }
                    }
                }
            }
        }
    },
    "components": {
        "schemas": {
            "ALeaf": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "format": "uint", "minimum": 1, "maximum": 100},
                    "colour": {"allOf": [{"$ref": "#/components/schemas/Paint"}]},
                    "shape": {"type": "string", "enum": ["long", "round"], "nullable": True},
                    "names": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
                    "place": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 2,
                        "maxItems": 2,
                        "nullable": True,
                    },
                    "note": {"type": "string"},
                    "weight_g": {"type": "number", "format": "float"},
                    "extra": {},
                },
            },
            "Paint": {"oneOf": [{"type": "string", "enum": ["green"]}, {"type": "string", "enum": ["red"]}]},
        }
    },
}


@pytest.fixture
def leaves() -> dict[str, Any]:
    trees = Routes("Trees")

    @trees.add("GET", "/leaves/{leaf_id}", summary="One leaf", access="read", result=Leaf | None)
    async def get_leaf(call: Call) -> Any: ...

    return document(trees.table, "1")


def test_documents_that_say_the_same_in_other_words_do_not_differ(leaves: dict[str, Any]) -> None:
    assert compare(leaves, OTHER_SPELLING) == []


def test_every_difference_is_listed_with_its_place(leaves: dict[str, Any]) -> None:
    other = copy.deepcopy(OTHER_SPELLING)
    other["paths"]["/trees"] = {"get": {"responses": {}}}
    leaf = other["components"]["schemas"]["ALeaf"]
    leaf["required"] = ["size", "note"]
    leaf["properties"]["size"]["maximum"] = 99
    leaf["properties"]["shape"]["enum"].append("flat")
    leaf["properties"]["weight_g"] = {"type": "integer"}
    leaf["properties"]["names"]["nullable"] = True
    leaf["properties"]["age"] = {"type": "integer", "deprecated": True}
    del leaf["properties"]["extra"]
    leaf["additionalProperties"] = False
    other["components"]["schemas"]["Paint"]["oneOf"].pop()
    differences = compare(leaves, other)
    assert {(each.group, each.place, each.kind, each.text, each.harmless) for each in differences} == {
        ("GET /trees", "", "route", "only in Qdrant", False),
        ("ALeaf", "note", "required", "required only in Qdrant", False),
        ("ALeaf", "size", "bound", "maximum 100 in vdb, 99 in Qdrant", False),
        ("ALeaf", "shape", "enum", 'value "flat" only in Qdrant', True),
        ("ALeaf", "weight_g", "type", "integer only in Qdrant", True),
        ("ALeaf", "weight_g", "type", "number only in vdb", False),
        ("ALeaf", "names", "null", "allowed only in Qdrant", True),
        ("ALeaf", "age", "field", "deprecated, only in Qdrant", True),
        ("ALeaf", "extra", "field", "only in vdb", False),
        ("ALeaf", "", "closed", "unknown fields refused only in Qdrant", False),
        ("Paint", "", "enum", 'value "red" only in vdb', False),
    }
    text = report(differences)
    assert text.startswith("GET /trees: only in Qdrant\n\nALeaf (met in GET /leaves/{})\n")
    assert text.endswith("11 differences, 4 of them harmless (~)")
