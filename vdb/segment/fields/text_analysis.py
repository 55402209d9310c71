"""Texts cut into words: what a text index stores and what a text condition looks for.

::

    text ─ tokenizer ─ lowercase ─ ASCII folding ─ stopwords ─ stemmer ─ length bounds ─ words

The same steps make the words of a field and of a query, so that they meet. Without an index a field is cut as an index
with default parameters would cut it: at everything that is neither a letter nor a digit, in lower case.

Guarantees: an analyzer is immutable and may be used from several threads.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import snowballstemmer  # type: ignore[import-untyped]
from py_rust_stemmers import SnowballStemmer  # type: ignore[import-untyped]

from vdb.model.conditions import MatchPhrase, MatchText, MatchTextAny
from vdb.model.field_index import SnowballParams, StopwordsSet, TextIndexParams
from vdb.segment.fields.stopwords import language_stopwords

_WORD: Final = re.compile(r"[^\W_]+")
# Scripts that are written without spaces: each of their characters is a word of the multilingual tokenizer.
_UNSPACED: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_MULTILINGUAL: Final = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")
# Letters that Unicode does not decompose, in lower and upper case.
_FOLDED: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i", "ħ": "h", "ŋ": "n"}
    | {"ẞ": "SS", "Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Ł": "L", "Þ": "TH", "Ħ": "H", "Ŋ": "N"}
)
# A word's stem is computed once while it is among this many of an index; a language has about as many in use.
_STEMS_CACHED_MAX: Final = 100_000
# The analyzers of indexes and queries in use; each is a few hundred bytes beside its stems.
_ANALYZERS_CACHED_MAX: Final = 256

Words = Sequence[str]


class TextAnalyzer:
    """Cuts texts as ``params`` say; raises BadRequest for a language without a list of stopwords."""

    def __init__(self, params: TextIndexParams) -> None:
        self._lowercase = params.lowercase is not False
        self._folding = bool(params.ascii_folding)
        self._split = _splitter(params)
        self._stopwords = frozenset(self._normalized(word) for word in _stopwords(params))
        self._stem = _stemmer(params.stemmer.language) if isinstance(params.stemmer, SnowballParams) else None
        self._min = params.min_token_len or 0
        self._max = params.max_token_len
        self.prefixes = params.tokenizer == "prefix"
        self.positions = bool(params.phrase_matching)

    def words(self, text: str) -> list[str]:
        """The words of a field's text, in order."""
        words = self._processed(text)
        if self.prefixes:
            return [word for word in words if len(word) >= self._min]
        return [word for word in words if self._fits(word)]

    def query(self, text: str) -> list[str]:
        """The words that a condition asks for, in order; a prefix longer than any that is kept is cut."""
        words = self._processed(text)
        if self.prefixes:
            return [word[: self._max] for word in words if len(word) >= self._min]
        return [word for word in words if self._fits(word)]

    def terms(self, word: str) -> Iterable[str]:
        """What a word of a field can be found by: itself, or its prefixes."""
        if not self.prefixes:
            return (word,)
        longest = len(word) if self._max is None else min(self._max, len(word))
        return [word[:length] for length in range(max(self._min, 1), longest + 1)]

    def plain(self, text: str) -> str | None:
        """A text that holds every word of ``text``, or None where only cutting tells: it spares most of the cutting."""
        if self._stem is not None or not text.isascii():
            return None
        return text.lower() if self._lowercase else text

    def contains_all(self, words: Words, query: Words) -> bool:
        if self.prefixes:
            return all(any(word.startswith(term) for word in words) for term in query)
        present = set(words)
        return all(term in present for term in query)

    def contains_any(self, words: Words, query: Words) -> bool:
        if self.prefixes:
            return any(word.startswith(term) for word in words for term in query)
        return not set(words).isdisjoint(query)

    def contains_phrase(self, words: Words, query: Words) -> bool:
        """``query`` stands in ``words`` without a gap; of prefixes each word must start with its own."""
        same: Callable[[str, str], bool] = str.startswith if self.prefixes else str.__eq__
        size = len(query)
        return any(all(map(same, words[start : start + size], query)) for start in range(len(words) - size + 1))

    def _processed(self, text: str) -> list[str]:
        words: Iterable[str] = self._split(text)
        if self._lowercase or self._folding:
            words = map(self._normalized, words)
        if self._stopwords:
            words = (word for word in words if word not in self._stopwords)
        if self._stem is not None:
            words = map(self._stem, words)
        return list(words)

    def _normalized(self, word: str) -> str:
        if self._lowercase:
            word = word.lower()
        if self._folding and not word.isascii():
            parts = unicodedata.normalize("NFKD", word.translate(_FOLDED))
            word = "".join(part for part in parts if not unicodedata.combining(part))
        return word

    def _fits(self, word: str) -> bool:
        return len(word) >= self._min and (self._max is None or len(word) <= self._max)


@lru_cache(maxsize=_ANALYZERS_CACHED_MAX)
def analyzer(params: TextIndexParams) -> TextAnalyzer:
    """The analyzer for ``params``, which equal parameters share."""
    return TextAnalyzer(params)


DEFAULT_TEXT: Final = TextIndexParams()

TextMatch = MatchText | MatchTextAny | MatchPhrase


def text_test(params: TextIndexParams, match: TextMatch) -> Callable[[str], bool]:
    """The test of one text against ``match``; a query without words matches nothing."""
    cut = analyzer(params)
    match match:
        case MatchText(text=text):
            contains = cut.contains_all
        case MatchTextAny(text_any=text):
            contains = cut.contains_any
        case MatchPhrase(phrase=text):
            contains = cut.contains_phrase
    query = cut.query(text)
    if not query:
        return lambda _: False
    needed = any if isinstance(match, MatchTextAny) else all

    def test(value: str) -> bool:
        plain = cut.plain(value)
        if plain is not None and not needed(word in plain for word in query):
            return False
        return contains(cut.words(value), query)

    return test


def _splitter(params: TextIndexParams) -> Callable[[str], list[str]]:
    match params.tokenizer:
        case "whitespace":
            return str.split
        case "multilingual":
            return _MULTILINGUAL.findall
        case _:
            return _WORD.findall


def _stopwords(params: TextIndexParams) -> list[str]:
    match params.stopwords:
        case None:
            return []
        case StopwordsSet(languages=languages, custom=custom):
            return [word for language in languages or () for word in language_stopwords(language)] + list(custom or ())
        case language:
            return language_stopwords(language)


def _stemmer(language: str) -> Callable[[str], str]:
    """Rust's Snowball is fast and what Qdrant stems with; it has no Armenian, there the slower original stands in."""
    if language != "armenian":
        return lru_cache(maxsize=_STEMS_CACHED_MAX)(SnowballStemmer(language).stem_word)
    stemmer, lock = snowballstemmer.stemmer(language), threading.Lock()

    def stem(word: str) -> str:
        with lock:  # It keeps the word that it works on in itself.
            return str(stemmer.stemWord(word))

    return lru_cache(maxsize=_STEMS_CACHED_MAX)(stem)
