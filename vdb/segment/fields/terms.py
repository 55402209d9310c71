"""The index of keywords, UUIDs and booleans: for each value the points that have it.

A UUID is matched as the text that it is, as it would be without an index; only valid ones are counted, and facets tell
the spellings of one UUID by its canonical one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from pyroaring import BitMap

from vdb.model.conditions import Match, MatchAny, MatchExcept, MatchPrefix, MatchValue
from vdb.model.field_index import PayloadFieldSchema, schema_type
from vdb.segment.fields.base_vocabulary import VocabularyIndex, VocabularySnapshot
from vdb.segment.fields.blocks import Block, Blocks, flattened, gathered, of_array, to_nums
from vdb.segment.fields.index import FacetValue
from vdb.segment.fields.presence import Batch

Term = str | bool
# Codes of a point's terms: one stands bare.
Entry = int | tuple[int, ...]

_UUID_LENGTHS: Final = (32, 36, 45)  # plain hexadecimal, hyphenated, as a URN


class TermSnapshot(VocabularySnapshot[Entry]):
    def __init__(self, index: TermIndex) -> None:
        super().__init__(index)
        self._kind = index._kind
        self._is_uuid = index._is_uuid
        self._terms = len(self._vocabulary.terms)

    def group_values(self, num: int) -> tuple[str | int, ...] | None:
        if self._kind is bool or self._is_uuid or num in self.presence.foreign:
            return None
        entry = self._forward.get(num)
        if entry is None:
            return ()
        return (str(self._vocabulary.terms[entry]),) if isinstance(entry, int) else None

    def _dump_forward(self) -> tuple[dict[str, Block], array[int]]:
        holders, codes = flattened((num, _codes(entry)) for num, entry in self._forward.items())
        return {"holders": of_array(holders)}, array("I", codes)

    def facet(self, mask: BitMap | None) -> Counter[FacetValue] | None:
        counts: Counter[FacetValue] = Counter()
        for term, count in self._counts(mask):
            if self._is_uuid:
                canonical = _canonical_uuid(term)
                if canonical is not None:
                    counts[canonical] += count
            else:
                counts[term] = count
        return counts

    def _counts(self, mask: BitMap | None) -> Iterator[tuple[Any, int]]:
        terms = self._vocabulary.terms
        if mask is not None and len(mask) < self._terms:
            codes = Counter(code for num in mask for code in _codes(self._forward.get(num)))
            yield from ((terms[code], count) for code, count in codes.items())
            return
        for code in range(self._terms):
            count = self._postings.count(code, mask)
            if count:
                yield terms[code], count

    def _match(self, match: Match) -> BitMap | None:
        match match:
            case MatchValue(value=value):
                return self._any([value]) if value.__class__ is self._kind else self._nothing()
            case MatchAny(any=terms):
                return self._any(terms) if not terms or terms[0].__class__ is self._kind else self._nothing()
            case MatchExcept(except_=terms):
                return self._except(terms) if not terms or terms[0].__class__ is self._kind else self._everything()
            case MatchPrefix(prefix=prefix):
                return self._prefix(prefix) if self._kind is str else self._nothing()
            case _:
                return None if self._kind is str else self._nothing()

    def _any(self, terms: Iterable[object]) -> BitMap:
        codes = self._vocabulary.codes
        return self._postings.union({codes[term] for term in terms if term in codes})

    def _except(self, terms: Sequence[object]) -> BitMap:
        codes = self._vocabulary.codes
        excluded = {codes[term] for term in terms if term in codes}
        holders = self._postings.union(excluded)
        # A point with several terms is left out only if all of them are excluded.
        others = [num for num in holders & self._several if not excluded.issuperset(_codes(self._forward.get(num)))]
        return self.presence.foreign | (self.presence.indexed - holders) | BitMap(others)

    def _prefix(self, prefix: str) -> BitMap:
        terms, codes = self._vocabulary.in_order()
        start = bisect_left(terms, prefix)
        end = bisect_right(terms, prefix, lo=start, key=lambda term: term[: len(prefix)])
        return self._postings.union(codes[start:end])


class TermIndex(VocabularyIndex[Entry]):
    """Owned by the collection's actor."""

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        super().__init__(path, schema)
        self._kind: type[Term] = bool if schema_type(schema) == "bool" else str
        self._is_uuid = schema_type(schema) == "uuid"

    def snapshot(self) -> TermSnapshot:
        return TermSnapshot(self)

    def _restore_forward(self, blocks: Blocks) -> None:
        for num, codes in gathered(to_nums(blocks["holders"]).tolist(), to_nums(blocks["held"]).tolist()):
            if len(codes) == 1:
                self._forward.set(num, codes[0])
            else:
                self._forward.set(num, tuple(codes))
                self._several.add(num)

    def _entry(self, num: int, elements: list[Any], batch: Batch) -> Entry | None:
        kind = self._kind
        terms = elements if all(element.__class__ is kind for element in elements) else _only(kind, elements)
        if len(terms) < len(elements):
            batch.foreign.append(num)
        if not terms:
            return None
        batch.indexed.append(num)
        if not self._is_uuid or any(_canonical_uuid(term) is not None for term in terms):
            batch.counted.append(num)
        if len(terms) == 1:
            return self._vocabulary.code(terms[0])
        codes = tuple(self._vocabulary.code(term) for term in dict.fromkeys(terms))
        return codes if len(codes) > 1 else codes[0]

    def _codes(self, entry: Entry | None) -> tuple[int, ...]:
        return _codes(entry)

    def _replace(
        self, nums: list[int], entries: list[Entry | None]
    ) -> tuple[Mapping[int, list[int]], Mapping[int, list[int]]]:
        removed: dict[int, list[int]] = defaultdict(list)
        added: dict[int, list[int]] = defaultdict(list)
        for num, entry in zip(nums, entries, strict=True):
            before = self._forward.get(num)
            if before == entry:
                continue
            for code in _codes(before):
                removed[code].append(num)
            for code in _codes(entry):
                added[code].append(num)
            self._forward.set(num, entry)
        return removed, added

    def _translated(self, entry: Entry, terms: list[Any]) -> Entry:
        code = self._vocabulary.code
        return code(terms[entry]) if isinstance(entry, int) else tuple(code(terms[held]) for held in entry)


def _codes(entry: Entry | None) -> tuple[int, ...]:
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, int) else entry


def _only(kind: type[Term], elements: list[Any]) -> list[Any]:
    return [element for element in elements if element.__class__ is kind]


def _canonical_uuid(text: str) -> str | None:
    if len(text) not in _UUID_LENGTHS:
        return None
    try:
        return str(UUID(text))
    except ValueError:
        return None
