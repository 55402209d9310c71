"""The OpenAPI 3.1 document of vdb, derived from the table of routes and the types that the routes name.

``result`` stands in the envelope; a route that is not ``enveloped`` answers it bare: ``str`` or ``Plain`` as text,
``bytes`` as a file, all else as JSON. A type with ``media_type: ClassVar[str]`` does not travel as JSON (an upload).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from vdb.api.json_schema import Components, Schema, nullable, without_null
from vdb.api.routing import Plain, Route
from vdb.model.usage import Usage


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the documented ``routes``; raises TypeError for a type without a JSON form."""
    components = Components()
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, None] = {}
    for route in routes:
        if route.documented:
            tags.setdefault(route.tag)
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vdb",
            "version": version,
            "description": "A vector database over plain SQLite files, with the REST API of Qdrant.",
        },
        "security": [{"api-key": []}, {"bearer": []}, {}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": _ERROR_RESPONSES,
            "securitySchemes": {
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


_TIME: Final[Schema] = {"type": "number", "description": "Seconds that the server spent on the request."}

_ERROR_RESPONSES: Final[dict[str, Any]] = {
    "Error": {
        "description": "The request was not carried out; the text says why.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["status", "time"],
                    "properties": {
                        "status": {
                            "type": "object",
                            "required": ["error"],
                            "properties": {"error": {"type": "string"}},
                        },
                        "time": _TIME,
                    },
                }
            }
        },
    },
    "Unauthorized": {
        "description": "The API key is missing, wrong, or not enough for this request.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
}


def _operation(route: Route, components: Components) -> dict[str, Any]:
    place = f"{route.method} {route.path}"
    operation: dict[str, Any] = {"tags": [route.tag], "summary": route.summary, "operationId": route.operation_id}
    if description := inspect.getdoc(route.handler):
        operation["description"] = description
    if parameters := [*_path_parameters(route), *_query_parameters(route, components)]:
        operation["parameters"] = parameters
    if route.body is not None:
        media_type = getattr(route.body, "media_type", "application/json")
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {media_type: {"schema": components.schema(route.body, f"the body of {place}")}},
        }
    operation["responses"] = {
        **_answers(route, components, f"the result of {place}"),
        "401": {"$ref": "#/components/responses/Unauthorized"},
        "4XX": {"$ref": "#/components/responses/Error"},
        "default": {"$ref": "#/components/responses/Error"},
    }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route, components: Components) -> list[dict[str, Any]]:
    parameters = []
    for field in msgspec.structs.fields(route.params):
        # A URL cannot say null: what may be None in the struct may just be left out.
        schema = without_null(components.field(field, route.params))
        parameter = {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}
        if description := schema.pop("description", None):
            parameter["description"] = description
        parameters.append(parameter)
    return parameters


def _answers(route: Route, components: Components, place: str) -> dict[str, Any]:
    if not route.enveloped:
        return {"200": _answer(*_bare(route.result, components, place))}
    envelope: Schema = {
        "type": "object",
        "required": ["result", "status", "time"],
        "properties": {
            "result": components.schema(route.result, place),
            "status": {"type": "string", "enum": ["ok"]},
            "time": _TIME,
            "usage": nullable(components.schema(Usage, place)),
        },
    }
    answers = {"200": _answer("application/json", envelope)}
    if _may_be_accepted(route):
        accepted: Schema = {
            "type": "object",
            "required": ["status", "time"],
            "properties": {"status": {"type": "string", "enum": ["accepted"]}, "time": _TIME},
        }
        answers["202"] = _answer("application/json", accepted, "The work goes on in the background.")
    return answers


def _answer(media_type: str, schema: Schema, description: str = "The request was carried out.") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _bare(result: Any, components: Components, place: str) -> tuple[str, Schema]:
    """Media type and schema of an answer outside the envelope: text, a file, or JSON of its own shape."""
    if result is str or result is Plain:
        return "text/plain", {"type": "string"}
    if result is bytes:
        return "application/octet-stream", {"type": "string", "format": "binary"}
    return getattr(result, "media_type", "application/json"), components.schema(result, place)


def _may_be_accepted(route: Route) -> bool:
    """Snapshot calls with ``wait=false`` answer 202 before they are done; all other writes answer 200 either way."""
    return route.tag == "Snapshots" and "wait" in route.params.__struct_fields__
