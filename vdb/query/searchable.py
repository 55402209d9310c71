"""What a query compares: all vectors of one name, whatever kind of vector they are.

=======  =========================  ===================================================================================
kind     an example                 nearest points
=======  =========================  ===================================================================================
dense    ``(dim,)`` float32         by the vector's distance
sparse   ``SparseVector``           by the dot product, of those that share a dimension
multi    ``(tokens, dim)`` float32  by MaxSim: Σ over the example's tokens of the best similarity of a point's tokens
=======  =========================  ===================================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from vdb.errors import BadRequest
from vdb.model.queries import SearchParams
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Distance, Floats
from vdb.query.examples import Lookup
from vdb.query.nearest import Scored

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)

Combine = Callable[[Floats], Floats]


class Gathered(Protocol[E_contra]):
    """The vectors of some points, to be compared with each other. All values are finite.

    ``positions`` is ``(n,)`` int64, ascending: which of the points have such a vector.
    """

    @property
    def positions(self) -> NDArray[np.int64]: ...

    def similarities(self, example: E_contra) -> Floats:
        """How alike each is to an example, larger is more alike: ``(n,)`` float32."""

    def likeness(self, member: int) -> Floats:
        """How alike each, taken as an example, is to the member-th: ``(n,)`` float32."""

    def neighbours(self, member: int) -> Floats:
        """The goodness of each in a search for the member-th, −∞ where it would not be found: ``(n,)`` float32."""


class Searchable(ABC, Generic[E]):
    """All vectors of one name in one View."""

    @property
    @abstractmethod
    def distance(self) -> Distance: ...

    @abstractmethod
    def read(self, inputs: Sequence[VectorInput], lookup: Lookup) -> Sequence[E]:
        """Vectors of a request, and those of points that it names by id, prepared for comparison.

        Raises PointNotFound, WrongDimension, and BadRequest for another kind of vector.
        """

    @abstractmethod
    def average(self, positive: Sequence[VectorInput], negative: Sequence[VectorInput], lookup: Lookup) -> E:
        """avg(positive) + avg(positive) − avg(negative); avg(positive) without negative ones. Raises what read does."""

    @abstractmethod
    def nearest(self, query: E, count: int, params: SearchParams | None, allowed: BitMap | None) -> Scored:
        """The ``count`` nearest points, of ``allowed`` where it is given. Raises DeadlineExceeded."""

    def nearest_to_each(
        self, queries: Sequence[E], count: int, params: SearchParams | None, allowed: BitMap | None, threads: int
    ) -> list[Scored]:
        """``nearest`` for each of several queries, on up to ``threads`` threads where that is faster."""
        return [self.nearest(query, count, params, allowed) for query in queries]

    @abstractmethod
    def best(self, examples: Sequence[E], combine: Combine, count: int, exact: bool, allowed: BitMap | None) -> Scored:
        """The points with the largest ``combine(similarities)``: ``(k, n)`` → ``(n,)`` float32, for k examples.

        Of ``allowed`` where it is given. Raises DeadlineExceeded.
        """

    @abstractmethod
    def gather(self, nums: NDArray[np.uint32]) -> Gathered[E]:
        """The vectors of those of ``nums`` that have one."""


def wrong_kind(name: str, expected: str, given: str) -> BadRequest:
    """The error for a vector of one kind (``dense``, ``sparse``, ``multi``) where another one is compared."""
    kinds = {"dense": "a dense vector", "sparse": "a sparse vector", "multi": "a multivector"}
    between = "sparse" if "sparse" in (expected, given) else "multi"
    return BadRequest(
        f"Conversion between {between} and regular vectors failed: vector `{name}` is {kinds[expected]},"
        f" the query is {kinds[given]}"
    )
