"""Texts: how they are cut, and that a field's text index decides how its texts are matched."""

from __future__ import annotations

from typing import Any

import pytest

from vdb.errors import BadRequest
from vdb.model.conditions import Filter
from vdb.model.decode import convert
from vdb.model.field_index import CreateFieldIndex, TextIndexParams, schema_params
from vdb.model.json_path import parse_path
from vdb.query.filter import PointFacts, compile_filter
from vdb.segment.fields.text_analysis import TextAnalyzer


def params(**given: Any) -> TextIndexParams:
    schema = convert({"field_name": "t", "field_schema": {"type": "text", **given}}, CreateFieldIndex).field_schema
    assert schema is not None
    found = schema_params(schema)
    assert isinstance(found, TextIndexParams)
    return found


@pytest.mark.parametrize(
    ("given", "text", "words"),
    [
        ({}, "Hello, good_day: x-ray!", ["hello", "good", "day", "x", "ray"]),
        ({"lowercase": False}, "Hello World", ["Hello", "World"]),
        ({"tokenizer": "whitespace"}, "Hello, good_day", ["hello,", "good_day"]),
        ({"tokenizer": "prefix"}, "Hello World", ["hello", "world"]),
        ({"tokenizer": "multilingual"}, "你好 world, ไทย", ["你", "好", "world", "ไ", "ท", "ย"]),
        ({"min_token_len": 2, "max_token_len": 4}, "a be see four fives", ["be", "see", "four"]),
        ({"ascii_folding": True}, "Ação Straße Łódź", ["acao", "strasse", "lodz"]),
        ({"stopwords": "english"}, "The world and the system", ["world", "system"]),
        ({"stopwords": {"languages": ["german"], "custom": ["Haus"]}}, "Das große Haus und", ["große"]),
        ({"stemmer": {"type": "snowball", "language": "english"}}, "running houses", ["run", "hous"]),
        ({"stemmer": {"type": "snowball", "language": "armenian"}}, "տներ", ["տներ"]),
        ({"stemmer": {"type": "none"}}, "running", ["running"]),
    ],
)
def test_parameters_decide_how_a_text_is_cut(given: dict[str, Any], text: str, words: list[str]) -> None:
    assert TextAnalyzer(params(**given)).words(text) == words


def test_a_language_without_stopwords_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="tajik"):
        TextAnalyzer(params(stopwords="tajik"))


@pytest.mark.parametrize(
    ("given", "match", "expected"),
    [
        ({}, {"text": "brown QUICK"}, True),
        ({}, {"text": "brow"}, False),
        ({}, {"text_any": "cat fox"}, True),
        ({}, {"phrase": "quick brown"}, True),
        ({}, {"phrase": "brown quick"}, False),
        ({}, {"text": "?!"}, False),
        ({"tokenizer": "prefix"}, {"text": "bro fo"}, True),
        ({"tokenizer": "prefix"}, {"text": "rown"}, False),
        ({"tokenizer": "prefix"}, {"phrase": "qui bro"}, True),
        ({"tokenizer": "prefix", "max_token_len": 3}, {"text": "brother"}, True),
        ({"tokenizer": "prefix", "min_token_len": 3}, {"text": "br"}, False),
        ({"lowercase": False}, {"text": "quick"}, False),
        ({"stopwords": "english"}, {"text": "the fox"}, True),
        ({"stopwords": "english"}, {"text": "the"}, False),
        ({"stemmer": {"type": "snowball", "language": "english"}}, {"text": "foxes"}, True),
    ],
)
def test_a_scan_matches_texts_as_their_index_would(
    given: dict[str, Any], match: dict[str, Any], expected: bool
) -> None:
    texts = {parse_path("n[].t"): params(**given)}
    text = "The Quick brown fox"
    nested = {"nested": {"key": "n", "filter": {"must": [{"key": "t", "match": match}]}}}
    for condition in ({"key": "n[].t", "match": match}, nested):
        matcher = compile_filter(convert({"must": [condition]}, Filter), texts)
        assert matcher.matches(PointFacts(1, {"n": [{"t": ["other", text]}]})) is expected
        assert not matcher.matches(PointFacts(1, {"n": [{"t": 5}, {"t": [[text]]}]}))
