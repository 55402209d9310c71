"""JSON Schema from the types of the model, by these rules:

- A struct, an enum and a custom type with ``alternatives`` or ``json_schema`` of its own become components, named
  after their class; all else stands where it is used.
- A field without a default is required; ``T | UnsetType`` may be absent but not null; ``T | None`` may be null.
- The other names of a field (see ``vdb.model.decode``) are left out.
- Bounds, titles and descriptions come from ``msgspec.Meta``, descriptions of components from docstrings.
- ``alternatives`` (see ``vdb.model.decode``) become ``anyOf``; they may name types that are defined later, as strings.
- ``exactly_one: ClassVar[bool] = True`` on a struct makes it a union of objects with one of its fields each.
- ``json_schema: ClassVar[dict]`` stands for a type whose JSON form Python cannot tell, such as a point id.

msgspec's own schemas do not serve, because it refuses the unions of untagged structs that results are full of.

Guarantees: a type without a JSON form is refused with the place where it is used, so that a schema is never vague.
"""

from __future__ import annotations

import datetime
import inspect
import sys
import types
import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, Union

import msgspec

from vdb.model.decode import another_name

Schema = dict[str, Any]

_SCALARS: Final[dict[Any, Schema]] = {
    Any: {},
    object: {},
    msgspec.Raw: {},
    None: {"type": "null"},
    types.NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "format": "binary"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    dict: {"type": "object"},
    list: {"type": "array"},
}
_ARRAYS: Final = (list, set, frozenset, tuple, Sequence, Iterable, AbstractSet)
_OBJECTS: Final = (dict, Mapping)

# What a bound of msgspec.Meta is called in JSON Schema, by the type that it bounds.
_NUMBER_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_BOUNDS: Final[dict[str, dict[str, str]]] = {
    "integer": _NUMBER_BOUNDS,
    "number": _NUMBER_BOUNDS,
    "string": {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"},
    "array": {"min_length": "minItems", "max_length": "maxItems"},
    "object": {"min_length": "minProperties", "max_length": "maxProperties"},
}


# Keywords that explain a schema and do not narrow it.
_NOTES: Final = ("title", "description", "examples")


class Components:
    """The named schemas, filled as types are met; owned by whoever builds one document."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any, place: str) -> Schema:
        """The schema of ``kind``, by reference where it has a name; ``place`` is for the error."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Annotated:
            return self._annotated(arguments[0], kind.__metadata__, place)
        if origin in (Union, types.UnionType):
            return self._union(arguments, place)
        if origin is Literal:
            return _enumeration(arguments)
        if origin is tuple and arguments[-1] is not Ellipsis:
            return {
                "type": "array",
                "prefixItems": [self.schema(item, place) for item in arguments],
                "items": False,
                "minItems": len(arguments),
                "maxItems": len(arguments),
            }
        if origin in _ARRAYS:
            array: Schema = {"type": "array", "items": self.schema(arguments[0], place)}
            return array if not issubclass(origin, AbstractSet) else array | {"uniqueItems": True}
        if origin in _OBJECTS:
            return self._mapping(arguments[0], arguments[1], place)
        if isinstance(kind, NewType):
            return self.schema(kind.__supertype__, place)
        if _is_named(kind):
            return {"$ref": f"#/components/schemas/{self._component(kind)}"}
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        raise TypeError(f"{place}: {kind!r} has no JSON form; give it `alternatives` or `json_schema`")

    def field(self, field: msgspec.structs.FieldInfo, owner: type[msgspec.Struct]) -> Schema:
        """The schema of one field, with its default where the default says something."""
        schema = self.schema(field.type, f"{owner.__qualname__}.{field.name}")
        factory: Any = field.default_factory
        default = field.default if factory is msgspec.NODEFAULT else factory()
        if default is msgspec.NODEFAULT or default is msgspec.UNSET or default is None:
            return schema
        try:
            return schema | {"default": msgspec.to_builtins(default)}
        except TypeError:  # A default made of a custom type: it has no plain form, and the schema stands without.
            return schema

    def _annotated(self, kind: Any, metadata: Iterable[Any], place: str) -> Schema:
        metas = [meta for meta in metadata if isinstance(meta, msgspec.Meta)]
        extra = {key: value for meta in metas for key, value in (meta.extra_json_schema or {}).items()}
        # An extra schema that names the type replaces what the type says, so that numpy arrays have a form too.
        schema = extra if extra.keys() & {"type", "anyOf", "$ref"} else self.schema(kind, place) | extra
        for meta in metas:
            _constrain(schema, meta)
            notes = {"title": meta.title, "description": meta.description, "examples": meta.examples}
            schema |= {key: value for key, value in notes.items() if value is not None}
        return schema

    def _union(self, members: Iterable[Any], place: str) -> Schema:
        members = [member for member in members if member is not msgspec.UnsetType]
        schemas = [self.schema(member, place) for member in members if member is not types.NoneType]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return nullable(schema) if types.NoneType in members else schema

    def _mapping(self, key: Any, value: Any, place: str) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self.schema(value, place) or True}
        key_schema = self.schema(key, place)
        return schema if key_schema == {"type": "string"} else schema | {"propertyNames": key_schema}

    def _component(self, kind: Any) -> str:
        if kind not in self._names:
            name = kind.__name__.lstrip("_")
            if name in self.schemas:
                name = f"{kind.__module__}.{kind.__qualname__}"
            self._names[kind] = name
            # Named before it is described, because a type may contain itself.
            self.schemas[name] = {}
            self.schemas[name].update(self._described(kind))
        return self._names[kind]

    def _described(self, kind: Any) -> Schema:
        description = inspect.cleandoc(vars(kind).get("__doc__") or "")
        schema: Schema = {"description": description} if description else {}
        if "json_schema" in vars(kind):
            return schema | dict(kind.json_schema)
        if "alternatives" in vars(kind):
            return schema | self._union(_resolved(kind), f"{kind.__qualname__}.alternatives")
        if issubclass(kind, Enum):
            return schema | _enumeration([member.value for member in kind])
        return schema | self._struct(kind)

    def _struct(self, kind: type[msgspec.Struct]) -> Schema:
        config = kind.__struct_config__
        if config.array_like:
            raise TypeError(f"{kind.__qualname__} is encoded as an array, which has no place in the API")
        properties: dict[str, Schema] = {}
        required: list[str] = []
        if config.tag_field is not None:
            properties[config.tag_field] = _enumeration([config.tag])
            required.append(config.tag_field)
        for field in msgspec.structs.fields(kind):
            if another_name(field):
                continue
            properties[field.encode_name] = self.field(field, kind)
            if field.required:
                required.append(field.encode_name)
        if vars(kind).get("exactly_one"):
            return {"anyOf": [_sole(name, schema) for name, schema in properties.items()]}
        schema: Schema = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if config.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return schema


def _is_named(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    return issubclass(kind, (msgspec.Struct, Enum)) or bool(vars(kind).keys() & {"alternatives", "json_schema"})


def _sole(name: str, schema: Schema) -> Schema:
    """An object that says ``name`` and means it."""
    return {"type": "object", "properties": {name: without_null(schema)}, "required": [name]}


def _resolved(kind: Any) -> list[Any]:
    """The alternatives of ``kind``, with names in strings looked up where the class is defined."""
    hints = {str(place): alternative for place, alternative in enumerate(kind.alternatives)}
    holder = type("Alternatives", (), {"__annotations__": hints})
    return list(typing.get_type_hints(holder, vars(sys.modules[kind.__module__]), include_extras=True).values())


def _enumeration(values: Iterable[Any]) -> Schema:
    values = list(values)
    schema: Schema = {"enum": values}
    for scalar in (bool, int, str):
        if all(type(value) is scalar for value in values):
            return dict(_SCALARS[scalar]) | schema
    return schema


def nullable(schema: Schema) -> Schema:
    """``schema``, or null."""
    notes = {key: value for key, value in schema.items() if key in _NOTES}
    bare = {key: value for key, value in schema.items() if key not in _NOTES}
    if not bare:
        return schema
    if isinstance(bare.get("type"), str) and "enum" not in bare:
        return schema | {"type": [bare["type"], "null"]}
    members = bare["anyOf"] if bare.keys() == {"anyOf"} else [bare]
    return notes | {"anyOf": [*members, {"type": "null"}]}


def without_null(schema: Schema) -> Schema:
    """A copy of ``schema`` that does not allow null."""
    schema = dict(schema)
    if isinstance(schema.get("type"), list):
        schema["type"] = next(name for name in schema["type"] if name != "null")
    if "anyOf" in schema:
        members = [member for member in schema.pop("anyOf") if member != {"type": "null"}]
        schema |= members[0] if len(members) == 1 else {"anyOf": members}
    return schema


def _constrain(schema: Schema, meta: msgspec.Meta) -> None:
    """Writes the bounds of ``meta`` into ``schema``, and into those of its members that they fit."""
    if "anyOf" in schema:
        schema["anyOf"] = [dict(member) for member in schema["anyOf"]]
        for member in schema["anyOf"]:
            _constrain(member, meta)
    names = schema.get("type", [])
    for name in [names] if isinstance(names, str) else names:
        for attribute, keyword in _BOUNDS.get(name, {}).items():
            if (bound := getattr(meta, attribute)) is not None:
                schema[keyword] = bound
