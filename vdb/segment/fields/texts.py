"""The index of texts: for each word, or prefix of one, the points that have it in a text.

A text condition speaks of one text, and a point may have several: the few points that do are looked at text by text.
Phrases need the order of words, which is kept where ``phrase_matching`` asks for it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Self

from pyroaring import BitMap

from vdb.model.conditions import Match, MatchPhrase, MatchText, MatchTextAny
from vdb.model.field_index import PayloadFieldSchema, TextIndexParams, schema_params
from vdb.segment.fields.base_vocabulary import VocabularyIndex, VocabularySnapshot
from vdb.segment.fields.blocks import Block, Blocks, of_array, to_nums
from vdb.segment.fields.presence import Batch
from vdb.segment.fields.text_analysis import analyzer

# The words of each of a point's texts, as codes: in order where phrases are matched, else each once.
Entry = tuple["array[int]", ...]


class TextSnapshot(VocabularySnapshot[Entry]):
    def __init__(self, index: TextIndex) -> None:
        super().__init__(index)
        self._cut = index._cut

    def _dump_forward(self) -> tuple[dict[str, Block], array[int]]:
        """``lengths`` counts the words of each text, ``holders`` names its point."""
        holders, lengths, held = array("I"), array("I"), array("I")
        for num, texts in self._forward.items():
            for text in texts:
                holders.append(num)
                lengths.append(len(text))
                held.extend(text)
        return {"holders": of_array(holders), "lengths": of_array(lengths)}, held

    def _match(self, match: Match) -> BitMap | None:
        match match:
            case MatchText(text=text):
                return self._all(self._cut.query(text))
            case MatchTextAny(text_any=text):
                codes = self._vocabulary.codes
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
        code = self._vocabulary.codes.get(term)
        return BitMap() if code is None else self._postings.points(code)

    def _any_text(self, num: int, query: list[str], contains: Any) -> bool:
        words = self._vocabulary.terms
        return any(contains([words[code] for code in text], query) for text in self._forward.get(num) or ())


class TextIndex(VocabularyIndex[Entry]):
    """Owned by the collection's actor."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        super().__init__(path, schema)
        params = schema_params(schema)
        assert isinstance(params, TextIndexParams)
        self._cut = analyzer(params)
        self._prefixes_of: dict[int, tuple[int, ...]] = {}

    def snapshot(self) -> TextSnapshot:
        return TextSnapshot(self)

    def _take(self, renewed: Self) -> None:
        super()._take(renewed)
        self._prefixes_of = renewed._prefixes_of

    def _restore_forward(self, blocks: Blocks) -> None:
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
        # Cut as a query is: of a word that is longer than any prefix nothing else is ever asked for.
        words: Sequence[str] = self._cut.query(text)
        if not self._cut.positions:
            words = list(dict.fromkeys(words))
        codes = self._vocabulary.codes
        return array("I", [codes[word] if word in codes else self._vocabulary.code(word) for word in words])

    def _codes(self, entry: Entry | None) -> AbstractSet[int]:
        if not entry:
            return frozenset()
        words = set(entry[0]).union(*entry[1:])
        if not self._cut.prefixes:
            return words
        return {code for word in words for code in self._prefix_codes(word)}

    def _prefix_codes(self, word: int) -> tuple[int, ...]:
        """The word's own among them: it is the longest."""
        codes = self._prefixes_of.get(word)
        if codes is None:
            terms = self._cut.terms(self._vocabulary.terms[word])
            codes = self._prefixes_of[word] = tuple(self._vocabulary.code(term) for term in terms) or (word,)
        return codes

    def _replace(
        self, nums: list[int], entries: list[Entry | None]
    ) -> tuple[Mapping[int, list[int]], Mapping[int, list[int]]]:
        removed: dict[int, list[int]] = defaultdict(list)
        added: dict[int, list[int]] = defaultdict(list)
        for num, entry in zip(nums, entries, strict=True):
            before, after = self._codes(self._forward.get(num)), self._codes(entry)
            for code in before - after:
                removed[code].append(num)
            for code in after - before:
                added[code].append(num)
            self._forward.set(num, entry)
        return removed, added

    def _translated(self, entry: Entry, terms: list[Any]) -> Entry:
        code = self._vocabulary.code
        return tuple(array("I", [code(terms[word]) for word in text]) for text in entry)
