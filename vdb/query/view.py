"""The View: the immutable read side of a collection at one seq.

A query takes ``collection.view`` once and never looks back. The arrays that a View names are never changed after it was
published, and the files of a sealed segment stay until the last View that names them is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyroaring import BitMap

from vdb.errors import UnknownVectorName, VectorNameRequired
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import PayloadFieldSchema
from vdb.model.json_path import JsonPath, parse_path
from vdb.model.sparse import Space, SparseSpace
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import VectorSpace
from vdb.query.identities import FrozenIdentities
from vdb.segment.fields.bitmaps import bitmap_of, union
from vdb.segment.fields.chunks import FrozenChunks
from vdb.segment.fields.index import FieldSnapshot
from vdb.segment.rows import RowsView
from vdb.segment.sparse import SparseSnapshot

_SELECTIONS_MAX: Final = 64  # filters remembered by a View, each a bitmap of at most some hundred kilobytes


@dataclass(frozen=True, slots=True)
class VectorView:
    """All vectors of one name, over all segments."""

    vector_id: int
    space: VectorSpace
    segments: tuple[RowsView, ...]


@dataclass(frozen=True, slots=True)
class SparseView:
    """All sparse vectors of one name."""

    vector_id: int
    space: SparseSpace
    index: SparseSnapshot


@dataclass(frozen=True, slots=True, weakref_slot=True)
class View:
    """``seq`` is the newest operation that it shows; ``vectors`` is by name, ``fields`` by JSON path.

    ``building`` names the indexes that do not answer yet. ``payloads`` are JSON texts by num, None where they are read
    from disk.
    """

    seq: int
    config: CollectionConfig
    vectors: Mapping[str, VectorView]
    all_points: BitMap
    identities: FrozenIdentities
    fields: Mapping[str, FieldSnapshot]
    building: Mapping[str, PayloadFieldSchema]
    payloads: FrozenChunks[bytes] | None = None
    sparse: Mapping[str, SparseView] = field(default_factory=dict)
    _selections: dict[bytes, BitMap] = field(default_factory=dict)
    _holders: dict[str, BitMap] = field(default_factory=dict)

    @property
    def points_count(self) -> int:
        return len(self.all_points)

    def nums_with_vector(self, name: str) -> BitMap:
        """The points that have a vector of this name; computed once a View."""
        if name in self.sparse:
            return self.sparse[name].index.points
        found = self._holders.get(name)
        if found is None:
            segments = self.vectors[name].segments if name in self.vectors else ()
            found = union(bitmap_of(segment.rows.nums[segment.alive_rows()]) for segment in segments)
            self._holders[name] = found
        return found

    def remembered(self, key: bytes, compute: Callable[[], BitMap]) -> BitMap:
        """The points of a filter, computed once a View as long as there is room: ``key`` is its JSON."""
        found = self._selections.get(key)
        if found is None:
            found = compute()
            if len(self._selections) < _SELECTIONS_MAX:
                self._selections[key] = found
        return found

    def being_built(self, path: JsonPath) -> str | None:
        """What to tell a client that needs the index of ``path``, where it is not there yet."""
        if any(parse_path(name) == path for name in self.building):
            return "It is being built: try again soon."
        return None

    def spaces(self) -> dict[str, Space]:
        """All vector names, dense and sparse."""
        dense = {name: vector.space for name, vector in self.vectors.items()}
        return {**dense, **{name: sparse.space for name, sparse in self.sparse.items()}}

    def vector(self, name: str) -> VectorView | SparseView:
        """What is compared under a name; raises UnknownVectorName, and VectorNameRequired for the unnamed one."""
        found = self.vectors.get(name) or self.sparse.get(name)
        if found is None:
            if name == UNNAMED and (self.vectors or self.sparse):
                raise VectorNameRequired([*sorted(self.vectors), *sorted(self.sparse)])
            raise UnknownVectorName(name)
        return found
