"""The index of texts: for each word, or prefix of one, the points that have it in a text.

A text condition speaks of one text, and a point may have several: the few points that do are looked at text by text.
Phrases need the order of words, which is kept where ``phrase_matching`` asks for it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pyroaring import BitMap

from vdb.model.conditions import Match, MatchPhrase, MatchText, MatchTextAny
from vdb.model.field_index import PayloadFieldSchema, TextIndexParams, schema_params
from vdb.segment.fields.blocks import Block, Blocks, of_array, of_values, to_nums, to_values
from vdb.segment.fields.chunks import Chunks, FrozenChunks
from vdb.segment.fields.index import FieldIndex, FieldSnapshot
from vdb.segment.fields.postings import FrozenPostings, Postings, pairs
from vdb.segment.fields.presence import Batch, Presence
from vdb.segment.fields.terms import Vocabulary
from vdb.segment.fields.text_analysis import TextAnalyzer, analyzer

# The words of each of a point's texts, as codes: in order where phrases are matched, else each once.
Entry = tuple["array[int]", ...]


class TextSnapshot(FieldSnapshot):
    def __init__(
        self,
        schema: PayloadFieldSchema,
        presence: Presence,
        cut: TextAnalyzer,
        words: Vocabulary,
        terms: Vocabulary,
        postings: FrozenPostings,
        forward: FrozenChunks[Entry],
        several: BitMap,
    ) -> None:
        super().__init__(schema, presence)
        self._cut = cut
        self._words = words
        self._terms = terms
        self._postings = postings
        self._forward = forward
        self._several = several

    def _dump(self) -> dict[str, Block]:
        """``lengths`` counts the words of each text, ``holders`` names its point, ``held`` has the words' codes."""
        holders, lengths, held = array("I"), array("I"), array("I")
        for num, texts in self._forward.items():
            for text in texts:
                holders.append(num)
                lengths.append(len(text))
                held.extend(text)
        return {
            "words": of_values(self._words.terms.copy()),
            "terms": b"" if self._terms is self._words else of_values(self._terms.terms.copy()),
            "holders": of_array(holders),
            "lengths": of_array(lengths),
            "held": of_array(held),
            **self._postings.dump(),
        }

    def _match(self, match: Match) -> BitMap | None:
        match match:
            case MatchText(text=text):
                return self._all(self._cut.query(text))
            case MatchTextAny(text_any=text):
                codes = self._terms.codes
                return self._postings.union({codes[term] for term in self._cut.query(text) if term in codes})
            case MatchPhrase(phrase=text):
                return self._phrase(self._cut.query(text))
            case _:
                return None

    def _match_or_more(self, match: Match) -> BitMap | None:
        """A phrase has at least its words, in whatever order."""
        if isinstance(match, MatchPhrase):
            return self._having(set(self._cut.query(match.phrase)))
        return self._match(match)

    def _all(self, query: list[str]) -> BitMap:
        having = self._having(set(query))
        if len(set(query)) < 2:
            return having
        apart = [num for num in having & self._several if not self._any_text(num, query, self._cut.contains_all)]
        return having - BitMap(apart) if apart else having

    def _phrase(self, query: list[str]) -> BitMap | None:
        having = self._having(set(query))
        if len(query) < 2:
            return having
        if not self._cut.positions:
            return None if having else having
        return BitMap([num for num in having if self._any_text(num, query, self._cut.contains_phrase)])

    def _having(self, terms: set[str]) -> BitMap:
        """The points that have all of ``terms``, in one text or another; none where nothing is asked for."""
        found = sorted((self._points(term) for term in terms), key=len)
        return BitMap.intersection(*found) if len(found) > 1 else found[0] if found else BitMap()

    def _points(self, term: str) -> BitMap:
        code = self._terms.codes.get(term)
        return BitMap() if code is None else self._postings.points(code)

    def _any_text(self, num: int, query: list[str], contains: Any) -> bool:
        words = self._words.terms
        return any(contains([words[code] for code in text], query) for text in self._forward.get(num) or ())


class TextIndex(FieldIndex):
    """Owned by the collection's actor."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        super().__init__(path, schema)
        params = schema_params(schema)
        assert isinstance(params, TextIndexParams)
        self._cut = analyzer(params)
        self._words = Vocabulary()
        # Without prefixes a word's one term is the word itself.
        self._terms = Vocabulary() if self._cut.prefixes else self._words
        self._terms_of: dict[int, tuple[int, ...]] = {}
        self._postings = Postings()
        self._forward: Chunks[Entry] = Chunks()
        self._several = BitMap()

    def snapshot(self) -> TextSnapshot:
        return TextSnapshot(
            self.schema,
            self._presence,
            self._cut,
            self._words,
            self._terms,
            self._postings.freeze(),
            self._forward.freeze(),
            self._several,
        )

    def _restore(self, blocks: Blocks) -> None:
        self._words = Vocabulary.of(to_values(blocks["words"]))
        self._terms = Vocabulary.of(to_values(blocks["terms"])) if self._cut.prefixes else self._words
        self._postings.restore(blocks)
        held = memoryview(blocks["held"])
        before, start = -1, 0
        for num, length in zip(to_nums(blocks["holders"]).tolist(), to_nums(blocks["lengths"]).tolist(), strict=True):
            text = array("I")
            end = start + length * text.itemsize
            text.frombytes(held[start:end])
            start = end
            if num == before:
                self._forward.set(num, (*(self._forward.get(num) or ()), text))
                self._several.add(num)
            else:
                self._forward.set(num, (text,))
            before = num

    def _entry(self, num: int, elements: list[Any], batch: Batch) -> Entry | None:
        texts = [element for element in elements if element.__class__ is str]
        if len(texts) < len(elements):
            batch.foreign.append(num)
        if not texts:
            return None
        batch.indexed.append(num)
        batch.counted.append(num)
        return tuple(self._coded(text) for text in texts)

    def _coded(self, text: str) -> array[int]:
        words: Sequence[str] = self._cut.words(text)
        if not self._cut.positions:
            words = list(dict.fromkeys(words))
        codes = self._words.codes
        return array("I", [codes[word] if word in codes else self._words.code(word) for word in words])

    def _term_codes(self, entry: Entry | None) -> Iterable[int]:
        """What a point is found by, each once."""
        if not entry:
            return ()
        words = set(entry[0]).union(*entry[1:])
        if not self._cut.prefixes:
            return words
        return {term for word in words for term in self._prefix_codes(word)}

    def _prefix_codes(self, word: int) -> tuple[int, ...]:
        codes = self._terms_of.get(word)
        if codes is None:
            codes = tuple(self._terms.code(term) for term in self._cut.terms(self._words.terms[word]))
            self._terms_of[word] = codes
        return codes

    def _store(self, changed: BitMap, nums: list[int], entries: list[Entry | None]) -> None:
        several = BitMap([num for num, entry in zip(nums, entries, strict=True) if entry and len(entry) > 1])
        self._several = self._several - changed | several
        if not self._postings.filled:
            self._postings.fill(
                *pairs((num, self._term_codes(entry)) for num, entry in zip(nums, entries, strict=True))
            )
            for num, entry in zip(nums, entries, strict=True):
                self._forward.set(num, entry)
            return
        removed: dict[int, list[int]] = defaultdict(list)
        added: dict[int, list[int]] = defaultdict(list)
        for num, entry in zip(nums, entries, strict=True):
            before, after = set(self._term_codes(self._forward.get(num))), set(self._term_codes(entry))
            for code in before - after:
                removed[code].append(num)
            for code in after - before:
                added[code].append(num)
            self._forward.set(num, entry)
        self._postings.edit(removed, added)
