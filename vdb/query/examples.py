"""The examples of a query as vectors: those that stand in it, and those of points that it names by id."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vdb.errors import BadRequest, PointNotFound, WrongDimension
from vdb.model.ids import PointId
from vdb.model.vectors import Floats, VectorSpace, prepare
from vdb.query.view import View
from vdb.storage import points
from vdb.storage.points import StoredPoint


@dataclass(frozen=True, slots=True)
class Source:
    """A collection to read points from: its View, and a read-only connection of its database."""

    view: View
    connection: sqlite3.Connection

    def read_points(self, nums: Sequence[int], with_payload: bool) -> dict[int, StoredPoint]:
        """Points of the View; with their payloads only those that are still there."""
        if with_payload:
            return points.read_points(self.connection, nums, with_payload=True)
        return {point.num: point for point in self.view.identities.describe(np.array(nums, dtype=np.uint32))}

    def read_payloads(self, nums: Sequence[int]) -> dict[int, bytes]:
        """The payload texts of those of ``nums`` that have one."""
        kept = self.view.payloads
        if kept is None:
            return points.read_payloads(self.connection, nums)
        return {num: text for num in nums if (text := kept.get(num)) is not None}


@dataclass(frozen=True, slots=True)
class ExampleReader:
    """Looks ids up in ``source`` under the vector's ``name`` there, for comparison in ``space``."""

    source: Source
    name: str
    space: VectorSpace

    def read(self, inputs: Sequence[list[float] | PointId], *, as_given: bool = False) -> Floats:
        """``(k, dim)`` float32, one for each input, prepared as ``space`` stores vectors.

        ``as_given`` leaves vectors of the request as they are, for averages that are prepared afterwards.
        Raises PointNotFound, WrongDimension, and BadRequest for a point without such a vector.
        """
        ids = [value for value in inputs if not isinstance(value, list)]
        if not ids and inputs and not as_given:
            return prepare(self.space, [value for value in inputs if isinstance(value, list)])
        found = self._stored(ids, as_given)
        rows = [self._given(value, as_given) if isinstance(value, list) else found[value] for value in inputs]
        return np.stack(rows) if rows else np.empty((0, self.space.dim), dtype=np.float32)

    def _given(self, value: list[float], as_given: bool) -> Floats:
        prepared = prepare(self.space, [value])[0]
        return np.asarray(value, dtype=np.float32) if as_given else prepared

    def _stored(self, ids: Sequence[PointId], as_given: bool) -> dict[PointId, Floats]:
        if not ids:
            return {}
        vector = self.source.view.vector(self.name)
        if vector.space.dim != self.space.dim:
            raise WrongDimension(self.space.dim, vector.space.dim)
        nums = points.find(self.source.connection, ids)
        for point_id in ids:
            if point_id not in nums:
                raise PointNotFound(point_id)
        stored = points.read_vectors(self.source.connection, vector.vector_id, vector.space, list(nums.values()))
        for point_id, num in nums.items():
            if num not in stored:
                raise BadRequest(f"Point {point_id} does not have the vector `{self.name}`")
        if vector.space == self.space or as_given:
            return {point_id: stored[num] for point_id, num in nums.items()}
        return {point_id: prepare(self.space, stored[num][None])[0] for point_id, num in nums.items()}
