"""What stands for a vector and has to be turned into one by a model: a text, an image, or another object.

They are read from plain JSON objects; an object counts as one of them when it names a ``model`` by a string.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from vdb.errors import BadRequest, OutOfBounds
from vdb.model.decode import convert_part
from vdb.model.field_index import DisabledStemmerParams, Language, SnowballParams, StopwordsSet, TokenizerType

# Checked here and not by msgspec, which cannot tell its place behind a custom type.
_ModelName = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1})]


class Bm25Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the model ``Qdrant/bm25``: how texts are cut into tokens, and how tokens are weighed.

    Without ``language`` it is English. ``stopwords`` and ``stemmer`` are the language's unless they are given.
    """

    k: Annotated[float, msgspec.Meta(ge=0)] = 1.2
    b: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.75
    avg_len: Annotated[float, msgspec.Meta(gt=0)] = 256.0
    tokenizer: TokenizerType = "word"
    language: str | None = None
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    stopwords: Language | StopwordsSet | None = None
    stemmer: SnowballParams | DisabledStemmerParams | None = None
    min_token_len: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_token_len: Annotated[int, msgspec.Meta(ge=0)] | None = None


Options = dict[str, Any]
# Which options there are depends on the model: they are read where the model is known.
_DocumentOptions = Annotated[
    Options,
    msgspec.Meta(
        extra_json_schema={
            "type": "object",
            "additionalProperties": True,
            "description": "Options of the model, for `Qdrant/bm25` those of `Bm25Config`.",
        }
    ),
]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text that a model turns into a vector."""

    text: str
    model: _ModelName
    options: _DocumentOptions | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a model turns into a vector: base64, or a URL."""

    image: Any
    model: _ModelName
    options: Options | None = None


class InferenceObject(msgspec.Struct, frozen=True, kw_only=True):
    """Any value that a model turns into a vector."""

    object: Any
    model: _ModelName
    options: Options | None = None


InferenceInput = Document | Image | InferenceObject

_KINDS: Final[dict[str, type[Document] | type[Image] | type[InferenceObject]]] = {
    "text": Document,
    "image": Image,
    "object": InferenceObject,
}


def is_inference_input(value: Any) -> bool:
    """Whether a plain JSON value asks for a model; a map of named vectors may call one of them ``model``."""
    return isinstance(value, dict) and isinstance(value.get("model"), str)


def read_inference_input(value: dict[str, Any]) -> InferenceInput:
    """The input that an object is, told by its key; raises ValueError, and OutOfBounds for a model without a name."""
    if value["model"] == "":
        raise OutOfBounds("model", 'value "" invalid, must not be empty')
    for key, kind in _KINDS.items():
        if key in value:
            return convert_part(value, kind)
    raise ValueError("Expected an object with `model` and one of " + ", ".join(f"`{key}`" for key in _KINDS))


def read_options(given: Options | None, kind: type[Bm25Config], model: str) -> Bm25Config:
    """The options of a request as the model's own; raises BadRequest that names the option."""
    try:
        return convert_part(given or {}, kind)
    except ValueError as error:
        raise BadRequest(f"Options of model `{model}`: {error}") from error
