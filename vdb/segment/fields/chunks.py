"""A list of which cheap immutable copies are taken: what an index knows of each point.

Guarantees: a frozen copy never changes; taking one costs a pointer for every 1,024 entries.
Assumes: one owner writes. A chunk that a frozen copy holds is copied before its first write after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_CHUNK: Final = 1024  # entries; copying one takes about 2 µs, and a million entries are about 1,000 of them


class FrozenChunks(Generic[T]):
    """Entries by position; those that were never set are None."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: tuple[list[T | None], ...] = ()) -> None:
        self._chunks = chunks

    def get(self, position: int) -> T | None:
        chunk = position // _CHUNK
        return self._chunks[chunk][position % _CHUNK] if chunk < len(self._chunks) else None

    def items(self) -> Iterator[tuple[int, T]]:
        """The entries that are set, with their positions, ascending."""
        for number, chunk in enumerate(self._chunks):
            for position, entry in enumerate(chunk, number * _CHUNK):
                if entry is not None:
                    yield position, entry


class Chunks(Generic[T]):
    """The writable list, of one owner."""

    __slots__ = ("_chunks", "_own")

    def __init__(self) -> None:
        self._chunks: list[list[T | None]] = []
        self._own: set[int] = set()

    def get(self, position: int) -> T | None:
        chunk = position // _CHUNK
        return self._chunks[chunk][position % _CHUNK] if chunk < len(self._chunks) else None

    def set(self, position: int, entry: T | None) -> None:
        chunk = position // _CHUNK
        if chunk not in self._own:
            while chunk >= len(self._chunks):
                self._own.add(len(self._chunks))
                self._chunks.append([None] * _CHUNK)
            if chunk not in self._own:
                self._chunks[chunk] = self._chunks[chunk].copy()
                self._own.add(chunk)
        self._chunks[chunk][position % _CHUNK] = entry

    def freeze(self) -> FrozenChunks[T]:
        self._own.clear()
        return FrozenChunks(tuple(self._chunks))
