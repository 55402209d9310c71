"""``Qdrant/bm25``: tokens, dimensions and weights, against values worked out here by the published formulas."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from vdb.errors import BadRequest
from vdb.inference.bm25 import SLICE_CHARS, WORD_CHARS_MAX, Bm25Embedder, dimension
from vdb.inference.embedder import Purpose
from vdb.model.sparse import SparseVector


def murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, written down from its public description."""

    def rotated(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & 0xFFFFFFFF

    hashed = 0
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little")
        block = rotated(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
        hashed = (rotated(hashed ^ block, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail := data[whole:]:
        block = int.from_bytes(tail, "little")
        hashed ^= rotated(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
    hashed ^= len(data)
    hashed = (hashed ^ (hashed >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    hashed = (hashed ^ (hashed >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return hashed ^ (hashed >> 16)


def by_formula(*tokens: str, k: float = 1.2, b: float = 0.75, avg_len: float = 256) -> dict[int, float]:
    """What a document of these tokens must become."""
    weights = {}
    for token, tf in Counter(tokens).items():
        hashed = murmur3_32(token.encode())
        signed = hashed - 2**32 if hashed >= 2**31 else hashed
        weights[abs(signed)] = tf * (k + 1) / (tf + k * (1 - b + b * len(tokens) / avg_len))
    return weights


def embedded(text: str, purpose: Purpose = "document", **options: Any) -> dict[int, float]:
    (vector,) = Bm25Embedder().embed([text], purpose, options)
    assert isinstance(vector, SparseVector)
    assert vector.indices.dtype == np.uint32
    assert vector.values.dtype == np.float32
    assert (np.diff(vector.indices.astype(np.int64)) > 0).all()
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def test_the_hash_in_these_tests_is_the_published_one() -> None:
    # Test vectors that implementations of MurmurHash3_x86_32 publish, for seed 0.
    assert murmur3_32(b"") == 0
    assert murmur3_32(b"test") == 0xBA6BD213
    assert murmur3_32(b"hello world") == 0x5E928F0F
    assert murmur3_32(b"The quick brown fox jumps over the lazy dog") == 0x2E4FF723


def test_a_dimension_is_the_signed_hash_without_its_sign() -> None:
    # "fox" hashes to 2673099881, which is −1621867415 as a signed number; "quick" stays below 2^31.
    assert murmur3_32(b"fox") == 2673099881
    assert dimension("fox") == 1621867415
    assert murmur3_32(b"quick") == dimension("quick") == 771291085
    assert dimension("größe") in by_formula("größe")


def test_a_text_is_lowered_cut_cleared_of_stopwords_and_stemmed() -> None:
    # the, over: stopwords; aren't: cut into aren and t, both stopwords. Seven tokens are left.
    text = "The quick brown FOXES aren't jumping over the lazy dog's back"
    expected = by_formula("quick", "brown", "fox", "jump", "lazi", "dog", "back")
    assert embedded(text) == pytest.approx(expected, rel=1e-6)
    # 1 · 2.2 / (1 + 1.2 · (0.25 + 0.75 · 7 / 256))
    assert list(embedded(text).values()) == pytest.approx([1.6608670] * 7, rel=1e-6)


def test_repeated_words_weigh_more_but_less_and_less() -> None:
    assert embedded("cat cats cat dog") == pytest.approx(by_formula("cat", "cat", "cat", "dog"), rel=1e-6)
    # 1,000 · 2.2 / (1,000 + 1.2 · (0.25 + 0.75 · 1,000 / 256)): never above k + 1 by more frequency.
    assert embedded("cat " * 1000) == {dimension("cat"): pytest.approx(2.191638, rel=1e-6)}


def test_a_query_weighs_each_word_once() -> None:
    assert embedded("dogs and the dog, running runs", "query") == {dimension("dog"): 1.0, dimension("run"): 1.0}


def test_the_same_word_is_found_whatever_its_form() -> None:
    assert embedded("Sleeping", "query").keys() == embedded("sleeps").keys() == embedded("SLEEP!").keys()


@pytest.mark.parametrize("text", ["", "   ", "the of and", "... !?"])
@pytest.mark.parametrize("purpose", ["document", "query"])
def test_a_text_without_words_is_an_empty_vector(text: str, purpose: Purpose) -> None:
    assert embedded(text, purpose) == {}


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"lowercase": False}, ["The", "Naïv", "O", "Neil", "run", "run"]),
        ({"ascii_folding": True}, ["naiv", "neil", "run", "run"]),
        ({"stemmer": {"type": "none"}}, ["naïve", "neil", "run", "running"]),
        ({"stopwords": {"custom": ["Neil"]}}, ["the", "naïv", "o", "run", "run"]),
        ({"stopwords": {"languages": [], "custom": []}}, ["the", "naïv", "o", "neil", "run", "run"]),
        ({"min_token_len": 4}, ["naïv", "neil"]),
        ({"max_token_len": 3}, ["run", "run"]),
        ({"tokenizer": "whitespace"}, ["naïv", "o'neil", "run_run"]),
        ({"language": "none"}, ["the", "naïve", "o", "neil", "run", "running"]),
        ({"language": "german"}, ["the", "naïv", "o", "neil", "run", "running"]),
        ({"k": 2.0, "b": 0.5, "avg_len": 3.0}, ["naïv", "neil", "run", "run"]),
        ({"k": 0.0}, ["naïv", "neil", "run", "run"]),
    ],
)
def test_options_change_tokens_and_weights(options: dict[str, Any], tokens: list[str]) -> None:
    text = "The Naïve O'Neil run_run" if options.get("tokenizer") == "whitespace" else "The Naïve O'Neil run_running"
    numbers = {name: value for name, value in options.items() if name in ("k", "b", "avg_len")}
    assert embedded(text, **options) == pytest.approx(by_formula(*tokens, **numbers), rel=1e-6)


def test_prefixes_of_words_are_found_by_the_beginning_of_a_word() -> None:
    # Stemmed first: foxes has the prefixes of fox. Every prefix counts for the length of the document.
    prefixes = ["f", "fo", "fox"]
    assert embedded("the foxes", tokenizer="prefix") == pytest.approx(by_formula(*prefixes), rel=1e-6)
    # "the" may be the beginning of "theory": in a query it stays.
    assert embedded("the", "query", tokenizer="prefix") == {dimension("the"): 1.0}
    assert embedded("theory", tokenizer="prefix", min_token_len=2, max_token_len=3).keys() == {
        dimension("th"),
        dimension("the"),
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"k": -1}, "`k`"),
        ({"b": 1.5}, "`b`"),
        ({"avg_len": 0}, "`avg_len`"),
        ({"k": "1.2"}, "`k`"),
        ({"avg_length": 100}, "`avg_length`"),
        ({"tokenizer": "letters"}, "`tokenizer`"),
        ({"stemmer": {"type": "snowball", "language": "klingon"}}, "`stemmer.language`"),
        ({"language": "klingon"}, "`klingon`"),
        ({"language": "basque"}, "`basque`"),  # known, and no list of stopwords for it
        ({"k": 1e308}, "not finite"),
        ({"b": 1.0, "avg_len": 1e-320, "k": 0.0}, "not finite"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        embedded("cat cat", **options)


def test_a_language_without_a_list_of_stopwords_takes_a_list() -> None:
    found = embedded("katua eta txakurra", language="basque", stopwords={"custom": ["eta"]})
    assert found == pytest.approx(by_formula("katua", "txakurra"), rel=1e-6)


def test_a_long_text_is_cut_between_words() -> None:
    # Words of changing length, so that a cut at a fixed place would go through some of them.
    words = [str(number * 7919) for number in range(SLICE_CHARS // 2)]
    assert embedded(" ".join(words)) == pytest.approx(by_formula(*words), rel=1e-6)
    assert embedded("-".join(words), "query").keys() == {dimension(word) for word in words}


def test_a_word_of_too_many_prefixes_is_refused() -> None:
    with pytest.raises(BadRequest, match="`max_token_len` below 1024"):
        embedded("x" * 1025, tokenizer="prefix")
    assert len(embedded("x" * 60_000, tokenizer="prefix", max_token_len=20)) == 20
    assert len(embedded("x" * 1024, tokenizer="prefix")) == 1024


def test_a_word_without_end_is_refused() -> None:
    endless = "x" * (SLICE_CHARS + WORD_CHARS_MAX + 1)
    for text in (endless, "fox " * SLICE_CHARS + endless):
        with pytest.raises(BadRequest, match="word of more than"):
            embedded(text)
