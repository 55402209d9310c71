"""One transaction for all operations that wait: append to the log, apply to the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vdb.collection.apply import Draft, NamedVectors
from vdb.collection.state import State
from vdb.errors import BadRequest, NotFound
from vdb.model.collection_config import CollectionConfig
from vdb.model.field_index import encode_schema
from vdb.model.operations import CreateIndex, DeleteIndex, PointOperation
from vdb.model.sparse import Space, SparseSpace
from vdb.model.vectors import VectorSpace
from vdb.segment.fields.index import FieldIndex
from vdb.storage import field_indexes, log, points
from vdb.storage.log import LogEntry
from vdb.storage.sqlite import transaction
from vdb.storage.vector_names import drop_vectors, ensure_vector_ids, read_vector_ids


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
    draft = Draft(connection, names, state.holds, state.next_num)
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
        with transaction(connection):
            log.append(connection, entries, utc_now())
            points.write(connection, changes)
        state.next_num = draft.next_num
        state.apply(changes, seq)
    return Committed(outcomes, bool(entries))


def reconfigure(connection: sqlite3.Connection, config: CollectionConfig, state: State) -> None:
    """Brings tables and ``state`` to a new configuration: vectors may have come and gone."""
    spaces, sparse_spaces = spaces_of(config)
    with transaction(connection):
        vector_ids = keep_vectors(connection, [*spaces.values(), *sparse_spaces.values()])
    state.reconfigure(config, spaces, sparse_spaces, vector_ids)


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


def create_index(connection: sqlite3.Connection, operation: CreateIndex, state: State) -> None:
    """Makes the wish for an index durable; building it comes later."""
    with transaction(connection):
        log.append(connection, [LogEntry(state.seq + 1, operation)], utc_now())
        field_indexes.put_field_index(connection, operation.field, encode_schema(operation.schema), utc_now())
    state.seq += 1
    state.fields.begin(operation.field, operation.schema)


def delete_index(connection: sqlite3.Connection, operation: DeleteIndex, state: State) -> None:
    with transaction(connection):
        log.append(connection, [LogEntry(state.seq + 1, operation)], utc_now())
        field_indexes.remove_field_index(connection, operation.field)
    state.seq += 1
    state.fields.drop(operation.field)


def adopt_index(connection: sqlite3.Connection, index: FieldIndex, path: str, state: State) -> None:
    """Publishes a built index, after reading again what changed while it was built."""
    changed = list(state.fields.changed_since_begin(path))
    stored = points.read_payloads(connection, changed)
    state.fields.adopt(index, path, {num: stored.get(num) for num in changed})
