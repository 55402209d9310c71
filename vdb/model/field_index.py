"""Which payload fields are indexed, and how: the request that makes an index and what is reported of it.

An index is asked for by a type's name or by an object with parameters. The object is kept and echoed as it was given;
what it leaves open has the documented default where it is read, not in the object.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from vdb.config import Memory
from vdb.errors import BadRequest, OutOfBounds
from vdb.model.bounds import Count
from vdb.model.decode import AnotherNameOf
from vdb.model.json_path import parse_path

PayloadSchemaType = Literal["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"]
TokenizerType = Literal["prefix", "whitespace", "word", "multilingual"]
Language = Literal[
    "arabic", "azerbaijani", "basque", "bengali", "catalan", "chinese", "danish", "dutch", "english", "finnish",
    "french", "german", "greek", "hebrew", "hinglish", "hungarian", "indonesian", "italian", "japanese", "kazakh",
    "nepali", "norwegian", "portuguese", "romanian", "russian", "slovene", "spanish", "swedish", "tajik", "turkish",
]  # fmt: skip
SnowballLanguage = Literal[
    "arabic", "armenian", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian",
    "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish",
]  # fmt: skip

TokenLength = Count


class _Placement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every index takes and echoes. Indexes are in memory wherever they are asked to be."""

    on_disk: bool | None = None
    memory: Memory | None = None
    enable_hnsw: bool | None = None


class KeywordIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="keyword"):
    is_tenant: bool | None = None
    prefix: bool | None = None


class IntegerIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="integer"):
    lookup: bool | None = None
    range: bool | None = None
    is_principal: bool | None = None


class FloatIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="float"):
    is_principal: bool | None = None


class GeoIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="geo"):
    pass


class BoolIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="bool"):
    pass


class DatetimeIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="datetime"):
    is_principal: bool | None = None


class UuidIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="uuid"):
    is_tenant: bool | None = None


class StopwordsSet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    languages: tuple[Language, ...] | None = None
    custom: tuple[str, ...] | None = None


class SnowballParams(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="snowball"):
    language: SnowballLanguage


class DisabledStemmerParams(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="none"):
    pass


class TextIndexParams(_Placement, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="text"):
    """How texts are cut into tokens; lengths are in characters."""

    # A default from a factory is always echoed, as Qdrant does for the tokenizer alone.
    tokenizer: TokenizerType = msgspec.field(default_factory=lambda: "word")
    min_token_len: TokenLength | None = None
    max_token_len: TokenLength | None = None
    lowercase: bool | None = None
    ascii_folding: bool | None = None
    phrase_matching: bool | None = None
    stopwords: Language | StopwordsSet | None = None
    stemmer: SnowballParams | DisabledStemmerParams | None = None


PayloadSchemaParams = (
    KeywordIndexParams
    | IntegerIndexParams
    | FloatIndexParams
    | GeoIndexParams
    | TextIndexParams
    | BoolIndexParams
    | DatetimeIndexParams
    | UuidIndexParams
)
PayloadFieldSchema = PayloadSchemaType | PayloadSchemaParams

_PARAMS: Final[dict[str, type[PayloadSchemaParams]]] = {
    kind.__struct_config__.tag: kind for kind in get_args(PayloadSchemaParams)
}


class CreateFieldIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The body of PUT /collections/{collection_name}/index."""

    field_name: str
    field_schema: PayloadFieldSchema | None = None
    field_type: Annotated[UnsetType, AnotherNameOf("field_schema")] = UNSET

    def __post_init__(self) -> None:
        parse_path(self.field_name)
        if self.field_schema is None:
            raise BadRequest("Can't auto-detect field type, please specify `field_schema` in the request")
        match self.field_schema:
            case IntegerIndexParams(lookup=False, range=False):
                raise OutOfBounds("field_schema.lookup", "the index must support `lookup` or `range`")


class PayloadIndexInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of ``payload_schema``; ``points`` have a value of the type."""

    data_type: PayloadSchemaType
    params: PayloadSchemaParams | None = None
    points: int


def schema_type(schema: PayloadFieldSchema) -> PayloadSchemaType:
    """The type's name, however the index was asked for."""
    if isinstance(schema, str):
        return schema
    tag: PayloadSchemaType = schema.__struct_config__.tag  # type: ignore[assignment]
    return tag


def schema_params(schema: PayloadFieldSchema) -> PayloadSchemaParams:
    """The parameters, with nothing set where only a name was given."""
    return _PARAMS[schema]() if isinstance(schema, str) else schema


def index_info(schema: PayloadFieldSchema, points: int) -> PayloadIndexInfo:
    """What is reported of an index: parameters only where they were given as an object."""
    params = None if isinstance(schema, str) else schema
    return PayloadIndexInfo(data_type=schema_type(schema), params=params, points=points)


def encode_schema(schema: PayloadFieldSchema) -> str:
    """The schema as JSON text, as it was given."""
    return msgspec.json.encode(schema).decode()


def decode_schema(text: str) -> PayloadFieldSchema:
    """The inverse of ``encode_schema``; raises msgspec.DecodeError."""
    return _DECODER.decode(text)


_DECODER: Final[msgspec.json.Decoder[PayloadFieldSchema]] = msgspec.json.Decoder(PayloadFieldSchema)
