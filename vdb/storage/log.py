"""The log of operations: append, read from a seq, head, trim; no more, so that a replicated log can take its place.

Guarantees
    ``seq`` grows by one with every appended operation and is never used twice: trimming always leaves the newest row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vdb.model.operations import Operation, decode, encode
from vdb.storage.sqlite import transaction

_READ_ROWS: Final = 64  # rows fetched at once: each may carry megabytes of vectors


@dataclass(frozen=True, slots=True)
class LogEntry:
    seq: int
    operation: Operation


def head(connection: sqlite3.Connection) -> int:
    """The newest seq, or −1 for an empty log."""
    newest: int | None = connection.execute("SELECT max(seq) FROM log").fetchone()[0]
    return -1 if newest is None else newest


def append(connection: sqlite3.Connection, entries: Sequence[LogEntry], at: str) -> None:
    """Appends within the caller's transaction; ``at`` is the readable UTC time."""
    for entry in entries:
        body, vectors = encode(entry.operation)
        connection.execute(
            "INSERT INTO log (seq, at, kind, points, body, vectors) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.seq, at, entry.operation.kind, len(entry.operation.ids), body, vectors),
        )


def read_from(connection: sqlite3.Connection, seq: int) -> Iterator[LogEntry]:
    """Entries from ``seq`` on, oldest first."""
    while True:
        rows = connection.execute(
            "SELECT seq, kind, body, vectors FROM log WHERE seq >= ? ORDER BY seq LIMIT ?", (seq, _READ_ROWS)
        ).fetchall()
        for number, kind, body, vectors in rows:
            yield LogEntry(number, decode(kind, body, vectors))
        if len(rows) < _READ_ROWS:
            return
        seq = rows[-1][0] + 1


def size_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of bodies and vectors; length() reads only the row headers."""
    size: int = connection.execute(
        "SELECT coalesce(sum(length(body) + coalesce(length(vectors), 0)), 0) FROM log"
    ).fetchone()[0]
    return size


def trim(connection: sqlite3.Connection, size_bytes_max: int) -> int:
    """Drops the oldest entries until about ``size_bytes_max`` are left, always keeping the newest one.

    Returns the bytes that are left. Everything in the log is applied, so that recovery needs none of it: what stays is
    for people and for replicas.
    """
    rows = connection.execute(
        "SELECT seq, length(body) + coalesce(length(vectors), 0) FROM log ORDER BY seq DESC"
    ).fetchall()
    kept = 0
    for position, (seq, size) in enumerate(rows):
        if position and kept + size > size_bytes_max:
            with transaction(connection):
                connection.execute("DELETE FROM log WHERE seq <= ?", (seq,))
            break
        kept += size
    return kept
