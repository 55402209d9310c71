"""The manifest of sealed segments in SQLite: which folders count, and which of their rows are dead."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.storage.points import KEY_SHIFT, Nums, add_tombstones, vector_key


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """``tombstones`` maps a vector_id to the dead rows of its matrix, ``(n,)`` int64."""

    segment_id: int
    folder: str
    built_from_seq: int
    manifest: str
    tombstones: Mapping[int, NDArray[np.int64]]


def read_segments(connection: sqlite3.Connection) -> list[SegmentRow]:
    """All segments that the manifest names, oldest first."""
    dead: dict[int, dict[int, NDArray[np.int64]]] = {}
    for segment_id, vector_id, rows in connection.execute(
        "SELECT segment_id, vector_id, group_concat(row) FROM tombstones GROUP BY segment_id, vector_id"
    ).fetchall():
        dead.setdefault(segment_id, {})[vector_id] = np.array(str(rows).split(","), dtype=np.int64)
    return [
        SegmentRow(segment_id, folder, built_from_seq, manifest, dead.get(segment_id, {}))
        for segment_id, folder, built_from_seq, manifest in connection.execute(
            "SELECT segment_id, folder, built_from_seq, manifest FROM segments ORDER BY segment_id"
        ).fetchall()
    ]


def swap(
    connection: sqlite3.Connection,
    inputs: Sequence[int],
    output: SegmentRow | None,
    created_at: str,
    sealed: Mapping[int, Nums],
) -> None:
    """Replaces ``inputs`` by ``output`` within the caller's transaction.

    ``sealed`` names, by vector_id, the points whose newest vector the output holds: they leave ``unsealed``.
    """
    connection.execute("DELETE FROM segments WHERE segment_id IN (SELECT value FROM json_each(?))", (_json(inputs),))
    if output is None:
        return
    connection.execute(
        "INSERT INTO segments (segment_id, folder, built_from_seq, created_at, manifest) VALUES (?, ?, ?, ?, ?)",
        (output.segment_id, output.folder, output.built_from_seq, created_at, output.manifest),
    )
    for vector_id, rows in output.tombstones.items():
        add_tombstones(connection, [(output.segment_id, vector_id, int(row)) for row in rows])
    for vector_id, nums in sealed.items():
        keys = (nums.astype(np.int64) + (vector_id << KEY_SHIFT)).tolist()
        connection.execute("DELETE FROM unsealed WHERE key IN (SELECT value FROM json_each(?))", (_json(keys),))


def drop_segment(connection: sqlite3.Connection, segment_id: int, held: Mapping[int, Sequence[Nums]]) -> int:
    """Forgets a damaged segment: vectors that no segment of ``held`` (vector_id → nums) has become unsealed.

    Within the caller's transaction. Reads every key of the table, which only a repair may cost.
    Returns how many vectors it moved.
    """
    connection.execute("DELETE FROM segments WHERE segment_id = ?", (segment_id,))
    moved = 0
    dense = connection.execute("SELECT vector_id FROM vector_names WHERE dim IS NOT NULL").fetchall()
    for (vector_id,) in dense:
        start, end = vector_key(vector_id, 0), vector_key(vector_id + 1, 0)
        joined: str | None = connection.execute(
            "SELECT group_concat(key & 4294967295) FROM vectors"
            " WHERE key >= ? AND key < ? AND key NOT IN (SELECT key FROM unsealed)",
            (start, end),
        ).fetchone()[0]
        if not joined:
            continue
        stored = np.array(joined.split(","), dtype=np.uint32)
        elsewhere = held.get(vector_id, ())
        lost = np.setdiff1d(stored, np.concatenate(elsewhere)) if elsewhere else stored
        keys = (lost.astype(np.int64) + start).tolist()
        connection.execute("INSERT OR IGNORE INTO unsealed (key) SELECT value FROM json_each(?)", (_json(keys),))
        moved += len(keys)
    return moved


def _json(values: object) -> str:
    return orjson.dumps(values).decode()
