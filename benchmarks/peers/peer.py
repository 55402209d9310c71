"""The one interface that everything compared implements, and filters in a form that each peer turns into its own.

Peers run in a process that has nothing but the standard library, numpy and the peer's own packages.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Payload = Mapping[str, Any]
Filter = Mapping[str, Any]  # Qdrant's, as far as `conditions` understands it
Kind = Literal["HTTP", "socket", "in process"]

K = 10  # points in an answer, of everything that is measured
GRAPH_WIDTHS = (10, 16, 32, 64, 128, 256, 512)  # ef, or what the peer calls it


class Unsupported(Exception):
    """The peer has no such call; the table shows a dash."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``key`` compared with ``value``; ``in`` has a list, the others one string or whole number."""

    key: str
    operator: Literal["==", "in", ">=", "<"]
    value: Any

    def holds(self, payload: Payload) -> bool:
        """Of one point. A payload without the key never matches."""
        if (found := payload.get(self.key)) is None:
            return False
        match self.operator:
            case "==":
                return bool(found == self.value)
            case "in":
                return found in self.value
            case ">=":
                return bool(found >= self.value)
            case "<":
                return bool(found < self.value)


def conditions(wanted: Filter) -> Iterator[Condition]:
    """All of which must hold; raises ValueError for what is not a `must` of matches and bounds."""
    if set(wanted) != {"must"}:
        raise ValueError(f"only `must` is compared, not {', '.join(wanted)}")
    for one in wanted["must"]:
        match one:
            case {"key": key, "match": {"value": value}}:
                yield Condition(key, "==", value)
            case {"key": key, "match": {"any": values}}:
                yield Condition(key, "in", list(values))
            case {"key": key, "range": bounds} if set(bounds) <= {"gte", "lt"}:
                for name, value in bounds.items():
                    yield Condition(key, ">=" if name == "gte" else "<", value)
            case _:
                raise ValueError(f"no peer is asked for {one}")


def sql(wanted: Filter, equals: str = "=") -> str:
    """The filter as most query languages write it: strings in single quotes, lists in brackets after `in`."""

    def literal(value: Any) -> str:
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)

    parts = []
    for one in conditions(wanted):
        if one.operator == "in":
            parts.append(f"{one.key} IN ({', '.join(map(literal, one.value))})")
        else:
            parts.append(f"{one.key} {equals if one.operator == '==' else one.operator} {literal(one.value)}")
    return " AND ".join(parts)


class Peer(abc.ABC):
    """One database over one folder. The distance is cosine; ids are row numbers.

    ``fields`` names the payload fields that filters ask for, ``keyword`` or ``integer``. They are indexed where the
    peer has indexes for them.
    """

    kind: ClassVar[Kind]
    widths: ClassVar[Sequence[int]] = ()  # of the search, cheapest first; none where every search is exact
    width_name: ClassVar[str] = ""
    ingest_clients: ClassVar[int] = 1  # threads that may call `write` at once

    def __init__(self, folder: Path, dim: int, fields: Mapping[str, str]) -> None:
        self.folder = folder
        self.dim = dim
        self.fields = fields

    @abc.abstractmethod
    def open(self, create: bool) -> None:
        """Starts it or opens it; ``create`` makes the collection in an empty folder."""

    @abc.abstractmethod
    def close(self) -> None:
        """Orderly: everything is in the folder afterwards."""

    @abc.abstractmethod
    def write(self, first: int, vectors: Floats, payloads: Sequence[Payload]) -> None:
        """Points ``first``, ``first + 1``, …; returns when the peer says that it has them, by its defaults."""

    def finish(self) -> None:  # noqa: B027  (most have nothing to wait for)
        """Builds or waits for every index."""

    @abc.abstractmethod
    def count(self) -> int:
        """Points that can be found."""

    @abc.abstractmethod
    def search(self, query: Floats, width: int | None = None, wanted: Filter | None = None) -> list[int]:
        """The K best ids, best first; called by several threads at once."""

    def search_batch(self, queries: Floats) -> list[list[int]]:
        """Of many queries, in one call; raises Unsupported."""
        raise Unsupported("no call for several queries")

    def server_pids(self) -> list[int]:
        """Processes that hold the database, children apart; none means that it is in this one."""
        return []
