"""How many requests there were and how long they took, by route, status and collection.

Everything on the path of a request is a dictionary's look-up and some additions on the loop's thread; sums are made
when somebody asks.

Guarantees
    The number of series is bounded: endpoints are routes and never paths, collections are those that exist, and beyond
    ``SERIES_MAX`` series requests are no longer told apart by collection.
Assumes
    One thread, the loop's.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Upper bounds in seconds, as Qdrant has them; durations beyond the last count in a bucket of their own.
BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)
SERIES_MAX: Final = 4_096  # of about 300 bytes
UNKNOWN_ENDPOINT: Final = "unknown"  # requests for routes that there are not
_METHODS: Final = frozenset(("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"))


class Durations:
    """Requests of one kind. ``counts`` are those of each bucket, not of all below it; ``last_at`` is a UNIX time."""

    __slots__ = ("counts", "last_at", "max_s", "min_s", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0
        self.min_s = float("inf")
        self.max_s = 0.0
        self.last_at = 0.0

    def add(self, duration_s: float) -> None:
        self.counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self.total_s += duration_s
        if duration_s < self.min_s:
            self.min_s = duration_s
        if duration_s > self.max_s:
            self.max_s = duration_s
        self.last_at = time.time()

    def add_all(self, other: Durations) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)
        self.last_at = max(self.last_at, other.last_at)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean_s(self) -> float:
        return self.total_s / max(1, self.count)


@dataclass(frozen=True, slots=True)
class Series:
    """What is told apart; ``collection`` is None for requests about none, or about one that is gone."""

    method: str
    endpoint: str
    status: int
    collection: str | None = None


class RouteStatistics:
    """The series of one route, made for the closure that serves it."""

    __slots__ = ("_made", "_owner", "endpoint", "method")

    def __init__(self, owner: RequestStatistics, method: str, endpoint: str) -> None:
        self._owner = owner
        self.method = method
        self.endpoint = endpoint
        self._made: dict[tuple[str | None, int], Durations] = {}

    def add(self, collection: str | None, status: int, duration_s: float) -> None:
        """``collection`` is the name in the path, which may be of a collection that does not exist."""
        found = self._made.get((collection, status))
        if found is None:
            found = self._make(collection, status)
        found.add(duration_s)

    def _make(self, collection: str | None, status: int) -> Durations:
        if collection is not None and not self._owner.tells_apart(collection):
            collection = None
        return self._made.setdefault((collection, status), Durations())

    def __len__(self) -> int:
        return len(self._made)

    def forget_collections(self, gone: Callable[[str], bool]) -> None:
        """Adds the series of collections that are gone to those without one."""
        for collection, status in [key for key in self._made if key[0] is not None and gone(key[0])]:
            durations = self._made.pop((collection, status))
            self._made.setdefault((None, status), Durations()).add_all(durations)

    def snapshot(self) -> RouteSnapshot:
        return RouteSnapshot(self.method, self.endpoint, list(self._made.items()))


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """The series that a route had, for another thread. Their numbers go on while they are read."""

    method: str
    endpoint: str
    made: Sequence[tuple[tuple[str | None, int], Durations]]


class RequestStatistics:
    """Owned by the application. ``exists`` tells whether a name is a collection's or an alias."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._exists = exists
        self._routes: list[RouteStatistics] = []
        self._unknown: dict[str, RouteStatistics] = {}

    def route(self, method: str, endpoint: str) -> RouteStatistics:
        self._routes.append(RouteStatistics(self, method, endpoint))
        return self._routes[-1]

    def add_unknown(self, method: str, status: int, duration_s: float) -> None:
        """A request that no route serves."""
        method = method if method in _METHODS else "OTHER"
        if method not in self._unknown:
            self._unknown[method] = self.route(method, UNKNOWN_ENDPOINT)
        self._unknown[method].add(None, status, duration_s)

    def tells_apart(self, collection: str) -> bool:
        return sum(map(len, self._routes)) < SERIES_MAX and self._exists(collection)

    def snapshot(self) -> list[RouteSnapshot]:
        """All series there are, in a time that hardly depends on their number."""
        for route in self._routes:
            route.forget_collections(lambda name: not self._exists(name))
        return [route.snapshot() for route in self._routes]


def series_of(snapshots: Iterable[RouteSnapshot]) -> Iterator[tuple[Series, Durations]]:
    """Copies of the numbers as they are now."""
    for route in snapshots:
        for (collection, status), durations in route.made:
            copy = Durations()
            copy.add_all(durations)
            yield Series(route.method, route.endpoint, status, collection), copy


def without_collections(series: Iterable[tuple[Series, Durations]]) -> Mapping[Series, Durations]:
    """The same numbers with collections summed up."""
    sums: dict[Series, Durations] = {}
    for key, durations in series:
        sums.setdefault(Series(key.method, key.endpoint, key.status), Durations()).add_all(durations)
    return sums
