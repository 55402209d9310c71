"""Transactions of the actor: append to the log, apply to the tables, then bring memory up to them.

Guarantees
    Memory changes after the COMMIT, or not at all.
    A transaction that the disk did not confirm is neither forgotten nor believed: ``Unconfirmed`` says how to find out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vdb.collection.apply import Draft, NamedVectors
from vdb.collection.state import State
from vdb.errors import BadRequest, NotFound
from vdb.fail_points import fail_point
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import encode_schema
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.model.sparse import Space, SparseSpace
from vdb.model.vectors import VectorSpace
from vdb.segment.fields.index import FieldIndex
from vdb.storage import field_indexes, log, points, segments
from vdb.storage.log import LogEntry
from vdb.storage.points import Nums
from vdb.storage.segments import SegmentRow
from vdb.storage.sqlite import is_refusal, transaction
from vdb.storage.vector_names import drop_vectors, ensure_vector_ids, read_vector_ids


class Unconfirmed(Exception):
    """The disk failed in a transaction: it is there, or it is not, and only the database knows.

    ``is_applied`` asks a fresh connection; ``adopt`` brings memory up to it, where it is there; ``cause`` is what
    SQLite said.
    """

    def __init__(
        self, cause: sqlite3.Error, is_applied: Callable[[sqlite3.Connection], bool], adopt: Callable[[], object]
    ) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.is_applied = is_applied
        self.adopt = adopt


def _durably(
    connection: sqlite3.Connection,
    write: Callable[[], object],
    is_applied: Callable[[sqlite3.Connection], bool],
    adopt: Callable[[], object],
) -> None:
    """``write`` in one transaction, then ``adopt``; raises Unconfirmed."""
    try:
        with transaction(connection):
            write()
    except sqlite3.Error as error:
        if is_refusal(error):
            raise Unconfirmed(error, is_applied, adopt) from error
        raise
    adopt()


@dataclass(frozen=True, slots=True)
class Committed:
    """``outcomes`` has an entry an operation: its seq, or why it was refused and changed nothing."""

    outcomes: Sequence[int | BadRequest | NotFound]
    changed: bool


def utc_now() -> str:
    """The time as people read it in the database: 2026-01-31T12:00:00.000Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def commit(connection: sqlite3.Connection, operations: Sequence[PointOperation], state: State) -> Committed:
    """Makes the operations durable, then brings ``state`` up to them.

    Runs on the writer's thread while the actor waits, which is why it may touch the actor's state: so the event loop
    does neither the parsing of payloads nor the copying of vectors.
    """
    spaces: dict[str, Space] = {**state.spaces, **state.sparse_spaces}
    names = {name: NamedVectors(state.vector_ids[name], space) for name, space in spaces.items()}
    draft = Draft(connection, names, state.holds, state.numbers.unused())
    draft.look_up(point_id for operation in operations for point_id in operation.ids)
    outcomes: list[int | BadRequest | NotFound] = []
    entries: list[LogEntry] = []
    seq = state.seq
    for operation in operations:
        try:
            draft.apply(seq + 1, operation)
        except (BadRequest, NotFound) as error:
            outcomes.append(error)
        else:
            seq += 1
            outcomes.append(seq)
            entries.append(LogEntry(seq, operation))
    if entries:
        changes = draft.finish()
        changes.tombstones = state.tombstones_of(changes)

        def write() -> None:
            log.append(connection, entries, utc_now())
            fail_point("after-log-append")
            points.write(connection, changes)
            fail_point("before-commit")

        def adopt() -> None:
            fail_point("after-commit")
            state.apply(changes, seq)

        _durably(connection, write, lambda fresh: log.head(fresh) >= seq, adopt)
    return Committed(outcomes, bool(entries))


def reconfigure(connection: sqlite3.Connection, config: CollectionConfig, state: State) -> None:
    """Brings tables and ``state`` to a new configuration: vectors may have come and gone."""
    spaces, sparse_spaces = spaces_of(config)
    vector_ids: dict[str, int] = {}

    def is_applied(fresh: sqlite3.Connection) -> bool:
        vector_ids.clear()
        vector_ids.update(read_vector_ids(fresh))
        return vector_ids.keys() == spaces.keys() | sparse_spaces.keys()

    _durably(
        connection,
        lambda: vector_ids.update(keep_vectors(connection, [*spaces.values(), *sparse_spaces.values()])),
        is_applied,
        lambda: state.reconfigure(config, spaces, sparse_spaces, vector_ids),
    )


def keep_vectors(connection: sqlite3.Connection, spaces: Sequence[Space]) -> dict[str, int]:
    """The numbers of ``spaces``, new ones among them; vectors of all other names are deleted."""
    names = {space.name for space in spaces}
    for name, vector_id in read_vector_ids(connection).items():
        if name not in names:
            drop_vectors(connection, vector_id)
    return ensure_vector_ids(connection, spaces)


def spaces_of(config: CollectionConfig) -> tuple[dict[str, VectorSpace], dict[str, SparseSpace]]:
    """Dense and sparse spaces by name."""
    dense = {name: params.space(name) for name, params in config.vectors().items()}
    return dense, {name: SparseSpace(name, params.idf) for name, params in config.sparse_vectors().items()}


def change_indexes(connection: sqlite3.Connection, operation: CreateIndex | DeleteIndex, state: State) -> None:
    """Makes the wish for an index durable, or forgets one; building it comes later."""
    seq = state.seq + 1

    def write() -> None:
        log.append(connection, [LogEntry(seq, operation)], utc_now())
        match operation:
            case CreateIndex(field, schema):
                field_indexes.put_field_index(connection, field, encode_schema(schema), utc_now())
            case DeleteIndex(field):
                field_indexes.remove_field_index(connection, field)

    def adopt() -> None:
        state.seq = seq
        match operation:
            case CreateIndex(field, schema):
                state.fields.begin(field, schema, seq)
            case DeleteIndex(field):
                state.fields.drop(field)

    _durably(connection, write, lambda fresh: log.head(fresh) >= seq, adopt)


def swap_segments(
    connection: sqlite3.Connection,
    inputs: Sequence[int],
    output: SegmentRow | None,
    sealed: Mapping[int, Nums],
    adopt: Callable[[], object],
) -> None:
    """Replaces segments in the manifest, then in memory (``adopt``)."""

    def is_applied(fresh: sqlite3.Connection) -> bool:
        there = {row.segment_id for row in segments.read_segments(fresh)}
        return there.isdisjoint(inputs) if output is None else output.segment_id in there

    _durably(connection, lambda: segments.swap(connection, inputs, output, utc_now(), sealed), is_applied, adopt)


def adopt_index(connection: sqlite3.Connection, index: FieldIndex, path: str, state: State) -> None:
    """Publishes a built index, after reading again what changed while it was built."""
    changed = list(state.fields.changed_since_begin(path))
    stored = points.read_payloads(connection, changed)
    state.fields.adopt(index, path, {num: stored.get(num) for num in changed})
