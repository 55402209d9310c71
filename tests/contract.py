"""Does an answer of the server fit the OpenAPI document? Every HTTP test asks this of every answer.

Stricter than the document in one point: a field that the document does not name is a failure too, so that the document
cannot fall behind the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import fastjsonschema
import msgspec
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

_EXCERPT_CHARACTERS: Final = 300


def check_response(
    document: dict[str, Any], method: str, path: str, status: int, content_type: str | None, body: bytes
) -> None:
    """Raises AssertionError, with the place, when an answer does not fit ``document``.

    ``path`` may carry a query string. A path that the document does not describe may answer what it likes where it
    succeeds (routes of older clients); where it fails, it owes the error envelope like all others.
    """
    checker = _CHECKERS.get(id(document))
    if checker is None or checker.document is not document:
        checker = _CHECKERS[id(document)] = _Checker(document)
    checker.check(method.upper(), urlsplit(path).path, status, content_type or "", body)


class _Checker:
    """The responses of one document, compiled as they are first met.

    fastjsonschema gives the verdict, twenty times as fast on vectors as jsonschema, which then gives the reason,
    because it looks into unions. Both read draft 7.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        schemas = document["components"]["schemas"]
        self._components = {"components": {"schemas": {name: _strict(schema) for name, schema in schemas.items()}}}
        # Literal parts win over parameters: "/collections/aliases" before "/collections/{collection_name}".
        self._templates = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))), template)
            for template in sorted(document["paths"], key=lambda path: (path.count("{"), path))
        ]
        self._compiled: dict[int, tuple[Callable[[Any], Any], Draft7Validator]] = {}  # by the identity of the schema

    def check(self, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        place = f"{method} {path} -> {status}"
        operation = self.document["paths"].get(self._template(path), {}).get(method.lower())
        if method == "HEAD" or (operation is None and status < 400):
            return
        responses = _UNDESCRIBED if operation is None else operation["responses"]
        code = _code(responses, status)
        assert code is not None, f"{place}: the document has no such status, only {', '.join(responses)}"
        content = self._resolve(responses[code])["content"]
        media_type = content_type.partition(";")[0].strip()
        assert media_type in content, f"{place}: content type {media_type!r}, not {' or '.join(content)}"
        if media_type == "application/json":
            self._check_json(place, content[media_type]["schema"], body)

    def _template(self, path: str) -> str:
        path = re.sub("/{2,}", "/", path).rstrip("/") or "/"
        return next((template for pattern, template in self._templates if pattern.fullmatch(path)), "")

    def _resolve(self, response: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in response:
            return response
        resolved: dict[str, Any] = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        return resolved

    def _check_json(self, place: str, schema: dict[str, Any], body: bytes) -> None:
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise AssertionError(f"{place}: not JSON ({error}): {_excerpt(body.decode(errors='replace'))}") from error
        if id(schema) not in self._compiled:
            strict = _strict(schema) | self._components
            compiled = fastjsonschema.compile(strict, use_default=False, use_formats=False)
            self._compiled[id(schema)] = compiled, Draft7Validator(strict)
        validate, explainer = self._compiled[id(schema)]
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException as refusal:
            best = best_match(explainer.iter_errors(value))
            reason = str(refusal) if best is None else f"{best.json_path}: {_excerpt(best.message)}"
            raise AssertionError(f"{place}: {reason}\nin {_excerpt(body.decode())}") from refusal


_CHECKERS: Final[dict[int, _Checker]] = {}

_UNDESCRIBED: Final = {
    "401": {"$ref": "#/components/responses/Unauthorized"},
    "default": {"$ref": "#/components/responses/Error"},
}


def _code(responses: dict[str, Any], status: int) -> str | None:
    """The most exact of the document's codes for ``status``; ``default`` stands for failures only."""
    codes = [str(status), f"{status // 100}XX", *(["default"] if status >= 400 else [])]
    return next((code for code in codes if code in responses), None)


def _strict(schema: Any) -> Any:
    """A copy of ``schema`` in draft 7, in which objects have no fields but the named ones."""
    if not isinstance(schema, dict):  # True and False are schemas too
        return schema
    copy = dict(schema)
    for keyword in {"items", "additionalProperties", "propertyNames"} & schema.keys():
        copy[keyword] = _strict(schema[keyword])
    for keyword in {"anyOf", "oneOf", "allOf", "prefixItems"} & schema.keys():
        copy[keyword] = [_strict(member) for member in schema[keyword]]
    if "properties" in schema:
        copy["properties"] = {name: _strict(member) for name, member in schema["properties"].items()}
        copy.setdefault("additionalProperties", False)
    if "prefixItems" in copy:
        copy |= {"items": copy.pop("prefixItems"), "additionalItems": copy.get("items", True)}
    return copy


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARACTERS else text[:_EXCERPT_CHARACTERS] + "…"
