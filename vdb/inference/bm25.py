"""``Qdrant/bm25``: texts as sparse vectors of term frequencies, computed without a model file.

::

    text ─ tokenizer ─ lowercase ─ ASCII folding ─ stopwords ─ stemmer ─ length bounds ─ tokens

    dimension of a token         |murmur3_32(token as UTF-8, seed 0)|, the hash read as a signed number
    weight in a document         tf · (k + 1) / (tf + k · (1 − b + b · tokens of the document / avg_len))
    weight in a query            1 for each different token

This is what Qdrant's server and FastEmbed publish for the model of this name, so that vectors of all three can stand in
one collection. Like the server, and unlike FastEmbed, it parts words at ``_`` and keeps long ones.

A document's tokens are counted after stopwords are dropped; with the tokenizer ``prefix`` every prefix
counts. Rare words weigh more only where the vector has ``modifier: idf``: searching multiplies by the idf then.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final, cast, get_args

import mmh3
import numpy as np
from msgspec.structs import replace

from vdb.errors import BadRequest
from vdb.inference.embedder import Embedding, Purpose
from vdb.model.field_index import (
    DisabledStemmerParams,
    Language,
    SnowballLanguage,
    SnowballParams,
    StopwordsSet,
    TextIndexParams,
)
from vdb.model.inference import Bm25Config, Options, read_options
from vdb.model.sparse import SparseVector
from vdb.model.vectors import Floats
from vdb.segment.fields.text_analysis import TextAnalyzer

NAME: Final = "Qdrant/bm25"

# Characters of a text that are cut into words at once: cutting holds the interpreter lock, this many for 2 ms.
SLICE_CHARS: Final = 64 * 1024
# Characters of one word. Stemming holds the interpreter lock as well; no word that anybody searches for is near it.
WORD_CHARS_MAX: Final = 64 * 1024
# Characters of the longest prefix of a word: all prefixes together are as long as the square of that.
PREFIX_CHARS_MAX: Final = 1_024
# Analyzers in use at a time. Each keeps the stems it has met, and options come from requests: few, so that odd options
# do not fill the memory.
_ANALYZERS_CACHED_MAX: Final = 16

DEFAULT_LANGUAGE: Final = "english"
# The legacy way of saying that no language is meant.
_NO_LANGUAGE: Final = "none"
_LANGUAGES: Final[tuple[str, ...]] = get_args(Language)
_STEMMED: Final[tuple[str, ...]] = get_args(SnowballLanguage)
# Where no tokenizer finds a word, except the one that cuts at spaces only.
_NO_LETTER: Final = re.compile(r"[\W_]")
_SPACE: Final = re.compile(r"\s")

# Halves of contractions that Qdrant's English stopwords hold beside the words that text indexes leave out here: cut at
# its apostrophe, "aren't" is "aren" and "t". And contractions whole, for the tokenizer that cuts at spaces only.
_CONTRACTED: Final = (
    *("ain", "aren", "couldn", "d", "didn", "doesn", "hadn", "hasn", "haven", "isn", "m", "ma", "mightn", "mustn"),
    *("needn", "o", "shan", "shouldn", "wasn", "weren", "won", "wouldn", "y"),
    *("aren't", "couldn't", "didn't", "doesn't", "don't", "hadn't", "hasn't", "haven't", "isn't", "it's", "mightn't"),
    *("mustn't", "needn't", "shan't", "she's", "should've", "shouldn't", "that'll", "wasn't", "weren't", "won't"),
    *("wouldn't", "you'd", "you'll", "you're", "you've"),
)


class Bm25Embedder:
    """The model that is always there."""

    name: Final = NAME
    dim: Final = None

    def embed(self, texts: Sequence[str], purpose: Purpose, options: Options | None) -> Sequence[Embedding]:
        """Sparse vectors; raises BadRequest for wrong options, for weights that are not finite, and endless words."""
        config = read_options(options, Bm25Config, NAME)
        vector = query_vector if purpose == "query" else document_vector
        return [vector(config, text) for text in texts]


def document_vector(config: Bm25Config, text: str) -> SparseVector:
    """The vector of a text that is stored; raises BadRequest."""
    frequencies = Counter(map(dimension, _terms(config, text)))
    tf = np.fromiter(frequencies.values(), dtype=np.float64, count=len(frequencies))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        relative_length = tf.sum() / config.avg_len
        weights = tf * (config.k + 1.0) / (tf + config.k * (1.0 - config.b + config.b * relative_length))
        values = weights.astype(np.float32)
    if not np.isfinite(values).all():
        raise BadRequest(f"Options of model `{NAME}`: `k`, `b` and `avg_len` make weights that are not finite")
    return _sorted(frequencies, values)


def query_vector(config: Bm25Config, text: str) -> SparseVector:
    """The vector of a text that is searched for; raises BadRequest.

    A stopword may be the beginning of a word that is looked for: prefixes keep theirs.
    """
    if config.tokenizer == "prefix":
        config = replace(config, stopwords=StopwordsSet())
    analyzer = _analyzer(_text_params(config))
    dimensions = {dimension(word) for piece in _slices(config, text) for word in analyzer.query(piece)}
    return _sorted(dimensions, np.ones(len(dimensions), dtype=np.float32))


def dimension(token: str) -> int:
    """The dimension of a token: at most 2^31, because the hash counts as signed and its sign is dropped."""
    return abs(mmh3.hash(token))


def _sorted(dimensions: Collection[int], values: Floats) -> SparseVector:
    indices = np.fromiter(dimensions, dtype=np.uint32, count=len(dimensions))
    order = np.argsort(indices)
    return SparseVector(indices[order], values[order])


@lru_cache(maxsize=_ANALYZERS_CACHED_MAX)
def _analyzer(params: TextIndexParams) -> TextAnalyzer:
    return TextAnalyzer(params)


def _text_params(config: Bm25Config) -> TextIndexParams:
    """How a text index would be told to cut texts in the same way; raises BadRequest for an unknown language."""
    language = config.language or DEFAULT_LANGUAGE
    stopwords: StopwordsSet | Language | None = config.stopwords
    stemmer: SnowballParams | DisabledStemmerParams | None = config.stemmer
    if language != _NO_LANGUAGE:
        if language not in _LANGUAGES:
            raise BadRequest(f"Options of model `{NAME}`: unsupported language `{language}`")
        if stopwords is None:
            custom = _CONTRACTED if language == "english" else ()
            stopwords = StopwordsSet(languages=(cast(Language, language),), custom=custom)
        if stemmer is None and language in _STEMMED:
            stemmer = SnowballParams(language=cast(SnowballLanguage, language))
    return TextIndexParams(
        tokenizer=config.tokenizer,
        min_token_len=config.min_token_len,
        max_token_len=config.max_token_len,
        lowercase=config.lowercase,
        ascii_folding=config.ascii_folding,
        stopwords=stopwords,
        stemmer=stemmer,
    )


def _terms(config: Bm25Config, text: str) -> Iterator[str]:
    """The tokens of a document; raises BadRequest for a word that is too long."""
    analyzer = _analyzer(_text_params(config))
    unbounded = analyzer.prefixes and (config.max_token_len is None or config.max_token_len >= PREFIX_CHARS_MAX)
    for piece in _slices(config, text):
        for word in analyzer.words(piece):
            if unbounded and len(word) > PREFIX_CHARS_MAX:
                raise BadRequest(
                    f"A text for model `{NAME}` holds a word of {len(word)} characters: with the tokenizer `prefix` "
                    f"that needs a `max_token_len` below {PREFIX_CHARS_MAX}"
                )
            yield from analyzer.terms(word)


def _slices(config: Bm25Config, text: str) -> Iterator[str]:
    """The text in pieces of about ``SLICE_CHARS``, cut between words; raises BadRequest for a word that is too long."""
    boundary = _SPACE if config.tokenizer == "whitespace" else _NO_LETTER
    start = 0
    while len(text) - start > SLICE_CHARS:
        cut = start + SLICE_CHARS
        between = boundary.search(text, cut, cut + WORD_CHARS_MAX)
        if between is not None:
            yield text[start : between.start()]
            start = between.end()
        elif len(text) > cut + WORD_CHARS_MAX:
            raise BadRequest(f"A text for model `{NAME}` holds a word of more than {WORD_CHARS_MAX} characters")
        else:
            break
    yield text[start:]
