"""What the actor of a collection is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vdb.collection.mailbox import Reply
from vdb.collection.state import SlotView
from vdb.model.collection_config import CollectionConfig
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.query.targets import Resolve
from vdb.segment.fields.index import Compaction, FieldIndex
from vdb.segment.sealed import SealedSegment
from vdb.segment.sparse import SparseCompaction
from vdb.storage.sqlite import Readers

AnyCompaction = Compaction | SparseCompaction


@dataclass(slots=True)
class Write:
    operation: PointOperation
    reply: Reply[int] = field(default_factory=Reply)


@dataclass(slots=True)
class WriteInOrder:
    """Writes one after another with nothing in between. The reply has their seqs; the first that is refused ends it.

    A ``Resolve`` among them makes its operation when its turn has come, from what is there then.
    """

    planned: Sequence[PointOperation | Resolve]
    reply: Reply[list[int]] = field(default_factory=Reply)


@dataclass(slots=True)
class ChangeIndexes:
    operation: CreateIndex | DeleteIndex
    reply: Reply[int] = field(default_factory=Reply)


@dataclass(slots=True)
class AdoptIndex:
    """A field index that was built from payloads, beginning with those of ``built_from_seq``; the reply tells whether
    it was still wanted."""

    path: str
    index: FieldIndex
    built_from_seq: int
    reply: Reply[bool] = field(default_factory=Reply)


@dataclass(slots=True)
class AdoptCompaction:
    """A finished compaction of the field index at a path, or of the sparse index of a vector_id."""

    index: str | int
    job: AnyCompaction
    reply: Reply[None] = field(default_factory=Reply)


@dataclass(slots=True)
class Reconfigure:
    """A new configuration, already durable in the catalog."""

    config: CollectionConfig
    reply: Reply[None] = field(default_factory=Reply)


@dataclass(slots=True)
class Freeze:
    """Closes the segment that takes new rows, so that it can be built from; the reply is the slots as they are then."""

    reply: Reply[tuple[SlotView, ...]] = field(default_factory=Reply)


@dataclass(slots=True)
class Flush:
    """Moves what was written into the database file; with ``readers`` SQLite's log is emptied."""

    readers: Readers | None
    reply: Reply[bool] = field(default_factory=Reply)


@dataclass(slots=True)
class Swap:
    """``output`` holds the living rows that ``inputs`` had at ``built_from_seq``; None where none was left."""

    inputs: tuple[int, ...]
    output: SealedSegment | None
    built_from_seq: int
    reply: Reply[None] = field(default_factory=Reply)


Message = Write | WriteInOrder | ChangeIndexes | AdoptIndex | AdoptCompaction | Reconfigure | Flush | Freeze | Swap
