"""The examples of a query as vectors: those that stand in it, and those of points that it names by id."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vdb.errors import BadRequest, PointNotFound
from vdb.model.ids import PointId
from vdb.model.sparse import Space, SparseVector
from vdb.model.vector_input import VectorInput
from vdb.model.vectors import Floats
from vdb.query.view import SparseView, View
from vdb.storage import points
from vdb.storage.points import StoredPoint

# A vector of a request as it was decoded, or a stored one: an array of one or two dimensions, or a sparse vector.
ExampleValue = list[float] | list[list[float]] | SparseVector | Floats


@dataclass(frozen=True, slots=True)
class Source:
    """A collection to read points from: its View, and a read-only connection of its database."""

    view: View
    connection: sqlite3.Connection

    def describe(self, nums: Sequence[int]) -> dict[int, StoredPoint]:
        """Points of the View, by num and without their payloads."""
        return {point.num: point for point in self.view.identities.describe(np.array(nums, dtype=np.uint32))}

    def read_payloads(self, nums: Sequence[int]) -> dict[int, bytes]:
        """The payload texts of those of ``nums`` that have one."""
        kept = self.view.payloads
        if kept is None:
            return points.read_payloads(self.connection, nums)
        return {num: text for num in nums if (text := kept.get(num)) is not None}


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the vectors of ids are looked up: under the vector's ``name`` in ``source``."""

    source: Source
    name: str

    @property
    def space(self) -> Space:
        """Of the vectors there; raises UnknownVectorName."""
        return self.source.view.vector(self.name).space

    def resolve(self, inputs: Sequence[VectorInput]) -> list[ExampleValue]:
        """The inputs with stored vectors in the place of ids.

        Raises UnknownVectorName, PointNotFound, and BadRequest for a point without such a vector.
        """
        ids = ids_of(inputs)
        if not ids:
            return [value for value in inputs if not isinstance(value, (int, str))]
        stored = self._stored(ids)
        return [stored[value] if isinstance(value, (int, str)) else value for value in inputs]

    def _stored(self, ids: Sequence[PointId]) -> dict[PointId, Floats | SparseVector]:
        vector, connection = self.source.view.vector(self.name), self.source.connection
        nums = points.find(connection, ids)
        for point_id in ids:
            if point_id not in nums:
                raise PointNotFound(point_id)
        found: dict[int, Floats | SparseVector] = {}
        if isinstance(vector, SparseView):
            found.update(points.read_sparse_vectors(connection, vector.vector_id, list(nums.values())))
        else:
            found.update(points.read_vectors(connection, vector.vector_id, vector.space, list(nums.values())))
        for point_id, num in nums.items():
            if num not in found:
                raise BadRequest(f"Point {point_id} does not have the vector `{self.name}`")
        return {point_id: found[num] for point_id, num in nums.items()}


def ids_of(inputs: Sequence[VectorInput]) -> list[PointId]:
    """The points that are named by id."""
    return [value for value in inputs if isinstance(value, (int, str))]
