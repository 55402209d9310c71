"""Indexes of terms: a vocabulary that gives each term a code, the points of each code, and the codes of each point.

::

    vocabulary  code by term, and term by code
    postings    points by code; a term that none has is dead
    forward     entry by num, made of codes: the truth

Terms may come and go with their points: session ids, UUIDs, rare words. Once most of the vocabulary is dead, a
compaction makes the index anew from a snapshot, without the dead terms. What changed meanwhile is put there from the
forward entries: the last few points by ``adopt`` on the owner's thread, more than that by another compaction first.

A dump has no dead terms either: its codes are numbered anew.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Final, Generic, Self, TypeVar

import numpy as np
from pyroaring import BitMap

from vdb.model.field_index import PayloadFieldSchema
from vdb.segment.fields.blocks import Block, Blocks, of_array, of_values, to_nums, to_values
from vdb.segment.fields.chunks import Chunks, FrozenChunks
from vdb.segment.fields.index import Compaction, FieldIndex, FieldSnapshot
from vdb.segment.fields.postings import Postings, pairs

Entry = TypeVar("Entry")

# Dead terms worth a compaction: a few hundred KiB, and a tenth of a millisecond of an unfiltered facet.
_DEAD_MIN: Final = 2_048
# And at least one to so many points: a compaction looks at every point, however few terms there are.
_POINTS_PER_DEAD: Final = 16
# Points that ``adopt`` may put right: texts of 20 words take some 10 ms.
_ADOPTED_MAX: Final = 256


class Vocabulary:
    """Codes of terms. Terms are only ever added, so that snapshots share it: they do not see codes beyond their own."""

    def __init__(self) -> None:
        self.codes: dict[Any, int] = {}
        self.terms: list[Any] = []
        self._in_order: tuple[list[str], list[int]] = [], []

    @classmethod
    def of(cls, terms: list[Any]) -> Vocabulary:
        """The codes are the positions."""
        vocabulary = cls()
        vocabulary.terms = terms
        vocabulary.codes = {term: code for code, term in enumerate(terms)}
        return vocabulary

    def code(self, term: Any) -> int:
        code = self.codes.get(term)
        if code is None:
            code = len(self.terms)
            # In this order: a reader that finds the code finds the term too.
            self.terms.append(term)
            self.codes[term] = code
        return code

    def in_order(self) -> tuple[list[str], list[int]]:
        """All terms ascending, and their codes; sorted again only after there were new ones."""
        known = self._in_order
        if len(known[0]) != len(self.terms):
            pairs = sorted((term, code) for code, term in enumerate(self.terms.copy()))
            known = self._in_order = [term for term, _ in pairs], [code for _, code in pairs]
        return known


class VocabularySnapshot(FieldSnapshot, Generic[Entry]):
    def __init__(self, index: VocabularyIndex[Entry]) -> None:
        super().__init__(index.schema, index._presence)
        self._vocabulary = index._vocabulary
        self._postings = index._postings.freeze()
        self._forward = index._forward.freeze()
        self._several = index._several

    def _dump(self) -> dict[str, Block]:
        """``vocabulary`` has the living terms, their codes are their positions; ``held`` has those of ``forward``."""
        forward, held = self._dump_forward()
        postings = self._postings.dump()
        living = to_nums(postings["codes"])
        positions = np.arange(len(living), dtype=np.uint32)
        position_of = np.zeros(int(living[-1]) + 1 if len(living) else 0, dtype=np.uint32)
        position_of[living] = positions
        terms = self._vocabulary.terms
        return {
            "vocabulary": of_values([terms[code] for code in living.tolist()]),
            "held": of_array(position_of[np.frombuffer(held, dtype=np.uint32)]),
            **forward,
            **postings,
            "codes": of_array(positions),
        }

    @abstractmethod
    def _dump_forward(self) -> tuple[dict[str, Block], array[int]]:
        """Blocks that say how the entries are made, and all their codes."""


class VocabularyIndex(FieldIndex, Generic[Entry]):
    """Owned by the collection's actor.

    Each code in an entry of ``forward`` has the entry's point among its postings. A point whose value has several parts
    has a tuple of more than one as its entry.
    """

    def __init__(self, path: str, schema: PayloadFieldSchema) -> None:
        super().__init__(path, schema)
        self._source = path
        self._vocabulary = Vocabulary()
        self._postings = Postings()
        self._forward: Chunks[Entry] = Chunks()
        self._several = BitMap()
        self._compaction: Compaction | None = None  # the one that is out
        self._renewed: Self | None = None  # made by a compaction, too far behind to be adopted
        self._since = BitMap()  # nums that changed since the compaction that is out, or was last, was made
        self._rest = inf  # how many nums the compaction that is out puts right

    def compaction(self, force: bool = False) -> Compaction | None:
        renewed, self._renewed = self._renewed, None
        self._compaction = None
        if renewed is not None and not force:
            nums, forward, terms = self._since, self._forward.freeze(), self._vocabulary.terms
            self._compaction = Compaction(lambda: renewed._follow(nums, forward, terms))
            self._rest = len(nums)
        elif self._enough_dead(force):
            snapshot = self.snapshot()
            self._compaction = Compaction(lambda: self._made_anew(snapshot))
            self._rest = inf
        self._since = BitMap()
        return self._compaction

    def adopt(self, compaction: Compaction) -> None:
        if compaction is not self._compaction:
            return
        self._compaction = None
        renewed: Any = compaction.result
        assert renewed is not None, "run() comes first"
        # A round that leaves more than half of what it began with would go on for ever: writes are as fast as it is.
        if _ADOPTED_MAX < len(self._since) <= self._rest / 2:
            self._renewed = renewed
            return
        self._take(renewed._follow(self._since, self._forward, self._vocabulary.terms))
        self._since = BitMap()

    def _enough_dead(self, force: bool) -> bool:
        living = self._postings.living
        dead = len(self._vocabulary.terms) - living
        if force:
            return dead > 0
        return dead > max(_DEAD_MIN, living) and dead > len(self._presence.present) // _POINTS_PER_DEAD

    def _made_anew(self, snapshot: FieldSnapshot) -> Self:
        """An index of the living terms of a snapshot; in any thread."""
        renewed = type(self)(self._source, self.schema)
        renewed.restore(snapshot.dump())
        return renewed

    def _follow(self, nums: BitMap, forward: Chunks[Entry] | FrozenChunks[Entry], terms: list[Any]) -> Self:
        """Takes over the entries of ``nums``, whose codes are positions in ``terms``."""
        entries = [None if (entry := forward.get(num)) is None else self._translated(entry, terms) for num in nums]
        self._store(nums, list(nums), entries)
        return self

    def _take(self, renewed: Self) -> None:
        """The content of another index, which nobody uses after that."""
        self._vocabulary = renewed._vocabulary
        self._postings = renewed._postings
        self._forward = renewed._forward
        self._several = renewed._several

    def _restore(self, blocks: Blocks) -> None:
        self._vocabulary = Vocabulary.of(to_values(blocks["vocabulary"]))
        self._postings.restore(blocks)
        self._restore_forward(blocks)

    def _store(self, changed: BitMap, nums: list[int], entries: list[Entry | None]) -> None:
        if self._compaction is not None or self._renewed is not None:
            self._since |= changed
        several = BitMap(
            [num for num, entry in zip(nums, entries, strict=True) if isinstance(entry, tuple) and len(entry) > 1]
        )
        self._several = self._several - changed | several
        if self._postings.filled:
            self._postings.edit(*self._replace(nums, entries))
            return
        self._postings.fill(*pairs((num, self._codes(entry)) for num, entry in zip(nums, entries, strict=True)))
        for num, entry in zip(nums, entries, strict=True):
            self._forward.set(num, entry)

    @abstractmethod
    def _restore_forward(self, blocks: Blocks) -> None: ...

    @abstractmethod
    def _codes(self, entry: Entry | None) -> Iterable[int]:
        """What a point is found by, each once."""

    @abstractmethod
    def _replace(
        self, nums: list[int], entries: list[Entry | None]
    ) -> tuple[Mapping[int, list[int]], Mapping[int, list[int]]]:
        """Sets the entries; returns by code the nums that no longer have it, and those that have it now."""

    @abstractmethod
    def _translated(self, entry: Entry, terms: list[Any]) -> Entry:
        """The entry in this index's codes, where its own are positions in ``terms``."""
