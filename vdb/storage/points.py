"""Points, payloads and vectors in SQLite.

Everything that touches many rows is one statement: Python's sqlite3 lets go of the interpreter lock at every step, and
beside a busy event loop each return costs up to a switch interval. So rows travel as JSON arrays and blobs that SQLite
takes apart itself, and answers come back joined with characters that JSON text cannot hold unescaped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.model.ids import PointId, id_columns, id_from_columns
from vdb.model.sparse import SparseVector, sparse_from_bytes, sparse_to_bytes
from vdb.model.vectors import Floats, VectorSpace, from_bytes, to_bytes

Nums = NDArray[np.uint32]

KEY_SHIFT: Final = 32  # a vector's key is vector_id << 32 | num
_NUM_MASK: Final = 2**KEY_SHIFT - 1
_RECORD: Final = "\x1e"  # JSON text never holds these two unescaped
_UNIT: Final = "\x1f"
_READ_KEYS: Final = 2_000  # vectors read at once, a few megabytes
_WRITTEN_BYTES: Final = 64 * 2**20  # of payloads in one statement: SQLite's longest blob is 10^9 bytes


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Vectors of one name to be written: ``nums`` and ``versions`` have an entry for each, ``data`` is ``(k, dim)``.

    ``counts`` is None where a vector is one row of ``data``, else the number of rows of each.
    """

    vector_id: int
    space: VectorSpace
    nums: Sequence[int]
    versions: Sequence[int]
    data: Floats
    counts: Sequence[int] | None = None

    def nums_of_rows(self) -> Nums:
        """The point of each row of ``data``."""
        nums = np.array(self.nums, dtype=np.uint32)
        return nums if self.counts is None else np.repeat(nums, self.counts)


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse vectors of one name to be written, by num: ``(version, vector)``."""

    vector_id: int
    vectors: Mapping[int, tuple[int, SparseVector]]


@dataclass(slots=True)
class Changes:
    """What one transaction does to the tables, already reduced to each row's last state."""

    new_points: dict[int, tuple[PointId, int]] = field(default_factory=dict)  # num → (id, version)
    versions: dict[int, int] = field(default_factory=dict)  # num → version, points that exist
    removed: set[int] = field(default_factory=set)
    payloads: dict[int, bytes | None] = field(default_factory=dict)  # num → JSON text, or None for none
    vectors: list[VectorRows] = field(default_factory=list)
    sparse: list[SparseRows] = field(default_factory=list)
    removed_vectors: list[int] = field(default_factory=list)  # keys
    tombstones: list[tuple[int, int, int]] = field(default_factory=list)  # (segment_id, vector_id, row)


def vector_key(vector_id: int, num: int) -> int:
    return vector_id << KEY_SHIFT | num


def find(connection: sqlite3.Connection, ids: Iterable[PointId]) -> dict[PointId, int]:
    """The nums of those ids that exist."""
    by_order: dict[int, list[PointId]] = {}
    columns: dict[int, list[int | str]] = {}
    for point_id in ids:
        order, stored = id_columns(point_id)
        by_order.setdefault(order, []).append(point_id)
        columns.setdefault(order, []).append(stored)
    found: dict[PointId, int] = {}
    for order, wanted in by_order.items():
        pairs: str | None = connection.execute(
            "SELECT group_concat(wanted.key || ':' || points.num)"
            " FROM json_each(?) AS wanted CROSS JOIN points ON points.id_order = ? AND points.id = wanted.value",
            (orjson.dumps(columns[order]).decode(), order),
        ).fetchone()[0]
        for pair in pairs.split(",") if pairs else ():
            position, num = pair.split(":")
            found[wanted[int(position)]] = int(num)
    return found


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Applies ``changes`` within the caller's transaction."""
    if changes.removed:
        nums = _json(sorted(changes.removed))
        connection.execute("DELETE FROM points WHERE num IN (SELECT value FROM json_each(?))", (nums,))
        connection.execute("DELETE FROM payloads WHERE num IN (SELECT value FROM json_each(?))", (nums,))
    if changes.new_points:
        rows = [[num, *id_columns(point_id), version] for num, (point_id, version) in changes.new_points.items()]
        connection.execute(
            "INSERT INTO points (num, id_order, id, version)"
            " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
            (_json(rows),),
        )
    if changes.versions:
        connection.execute(
            "UPDATE points SET version = changed.version"
            " FROM (SELECT value ->> 0 AS num, value ->> 1 AS version FROM json_each(?)) AS changed"
            " WHERE points.num = changed.num",
            (_json(list(changes.versions.items())),),
        )
    _write_payloads(connection, changes.payloads)
    for rows_of_name in changes.vectors:
        _write_vectors(connection, rows_of_name)
    for sparse_rows in changes.sparse:
        _write_sparse(connection, sparse_rows)
    if changes.removed_vectors:
        keys = _json(changes.removed_vectors)
        connection.execute("DELETE FROM vectors WHERE key IN (SELECT value FROM json_each(?))", (keys,))
        connection.execute("DELETE FROM unsealed WHERE key IN (SELECT value FROM json_each(?))", (keys,))
    if changes.tombstones:
        add_tombstones(connection, changes.tombstones)


def _write_payloads(connection: sqlite3.Connection, payloads: Mapping[int, bytes | None]) -> None:
    gone = [num for num, payload in payloads.items() if payload is None]
    if gone:
        connection.execute("DELETE FROM payloads WHERE num IN (SELECT value FROM json_each(?))", (_json(gone),))
    kept: list[tuple[int, int, int]] = []
    texts: list[bytes] = []
    offset = 1  # substr() counts from one
    for num, payload in payloads.items():
        if payload is None:
            continue
        if texts and offset + len(payload) > _WRITTEN_BYTES:
            _write_texts(connection, texts, kept)
            kept, texts, offset = [], [], 1
        kept.append((num, offset, len(payload)))
        texts.append(payload)
        offset += len(payload)
    if kept:
        _write_texts(connection, texts, kept)


def _write_texts(
    connection: sqlite3.Connection, texts: Sequence[bytes], places: Sequence[tuple[int, int, int]]
) -> None:
    """Payloads that are parts of ``texts`` put together: ``(num, offset from one, bytes)``."""
    connection.execute(
        "INSERT OR REPLACE INTO payloads (num, body)"
        " SELECT value ->> 0, CAST(substr(?, value ->> 1, value ->> 2) AS TEXT) FROM json_each(?)",
        (b"".join(texts), _json(places)),
    )


def _write_vectors(connection: sqlite3.Connection, rows: VectorRows) -> None:
    keys = [vector_key(rows.vector_id, num) for num in rows.nums]
    counts = [1] * len(keys) if rows.counts is None else rows.counts
    sizes = [count * rows.space.row_bytes for count in counts]
    starts = accumulate(sizes, initial=1)  # substr() counts from one
    _write_blobs(connection, to_bytes(rows.space, rows.data), zip(keys, rows.versions, starts, sizes, strict=False))
    connection.execute("INSERT OR IGNORE INTO unsealed (key) SELECT value FROM json_each(?)", (_json(keys),))


def _write_sparse(connection: sqlite3.Connection, rows: SparseRows) -> None:
    places: list[tuple[int, int, int, int]] = []
    blobs: list[bytes] = []
    offset = 1  # substr() counts from one
    for num, (version, vector) in rows.vectors.items():
        blob = sparse_to_bytes(vector)
        places.append((vector_key(rows.vector_id, num), version, offset, len(blob)))
        blobs.append(blob)
        offset += len(blob)
    _write_blobs(connection, b"".join(blobs), places)


def _write_blobs(connection: sqlite3.Connection, blob: bytes, places: Iterable[tuple[int, int, int, int]]) -> None:
    """Vectors that are parts of ``blob``: ``(key, version, offset from one, bytes)``."""
    connection.execute(  # substr() of an empty blob, which a sparse vector without indices is, is NULL
        "INSERT OR REPLACE INTO vectors (key, version, data)"
        " SELECT value ->> 0, value ->> 1, coalesce(substr(?, value ->> 2, value ->> 3), x'') FROM json_each(?)",
        (blob, _json(list(places))),
    )


def add_tombstones(connection: sqlite3.Connection, tombstones: Sequence[tuple[int, int, int]]) -> None:
    """Marks rows of sealed segments as dead: ``(segment_id, vector_id, row)``."""
    connection.execute(
        "INSERT OR IGNORE INTO tombstones (segment_id, vector_id, row)"
        " SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
        (_json(tombstones),),
    )


class StoredPoint(NamedTuple):
    """A point without its vectors; ``payload`` is JSON text, None where it was not asked for or there is none."""

    num: int
    id: PointId
    version: int
    payload: str | None


def read_points(
    connection: sqlite3.Connection, nums: Sequence[int] | Nums, with_payload: bool
) -> dict[int, StoredPoint]:
    """Those of ``nums`` that exist."""
    wanted = orjson.dumps(nums, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    body = "coalesce(payloads.body, '')" if with_payload else "''"
    join = "LEFT JOIN payloads ON payloads.num = points.num" if with_payload else ""
    joined: str | None = connection.execute(
        f"SELECT group_concat(points.num || char(31) || points.id_order || char(31) || points.id || char(31)"
        f" || points.version || char(31) || {body}, char(30))"
        f" FROM json_each(?) AS wanted CROSS JOIN points ON points.num = wanted.value {join}",
        (wanted,),
    ).fetchone()[0]
    return {point.num: point for point in _parse_points(joined)}


def read_page(
    connection: sqlite3.Connection, start: PointId | None, count: int, with_payload: bool
) -> list[StoredPoint]:
    """Up to ``count`` points in id order, from ``start`` (inclusive) on."""
    return _read_page(connection, "points", (), start, count, with_payload)


def read_page_among(
    connection: sqlite3.Connection, nums: Nums, start: PointId | None, count: int, with_payload: bool
) -> list[StoredPoint]:
    """``read_page`` over those of ``nums`` alone; sorts them all."""
    wanted = orjson.dumps(nums, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    source = "json_each(?) AS wanted CROSS JOIN points ON points.num = wanted.value"
    return _read_page(connection, source, (wanted,), start, count, with_payload)


def _read_page(
    connection: sqlite3.Connection,
    source: str,
    parameters: tuple[str, ...],
    start: PointId | None,
    count: int,
    with_payload: bool,
) -> list[StoredPoint]:
    """A page of what ``source`` joins: SQL of ours, never a client's text."""
    order, stored = id_columns(start) if start is not None else (0, 0)
    body = "coalesce(payloads.body, '')" if with_payload else "''"
    join = "LEFT JOIN payloads ON payloads.num = page.num" if with_payload else ""
    joined: str | None = connection.execute(
        "SELECT group_concat(page.num || char(31) || id_order || char(31) || id || char(31) || version || char(31)"
        f" || {body}, char(30)) FROM (SELECT points.num, points.id_order, points.id, points.version FROM {source}"
        " WHERE (points.id_order, points.id) >= (?, ?)"
        f" ORDER BY points.id_order, points.id LIMIT ?) AS page {join}",
        (*parameters, order, stored, min(count, 2**62)),
    ).fetchone()[0]
    return sorted(_parse_points(joined), key=lambda point: id_columns(point.id))


def _parse_points(joined: str | None) -> Iterator[StoredPoint]:
    if not joined:
        return
    for record in joined.split(_RECORD):
        num, order, stored, version, body = record.split(_UNIT)
        point_id = id_from_columns(int(order), stored if order != "0" else int(stored))
        yield StoredPoint(int(num), point_id, int(version), body or None)


def read_payloads(connection: sqlite3.Connection, nums: Sequence[int]) -> dict[int, bytes]:
    """The payload texts of those of ``nums`` that have one."""
    try:
        joined: str | None = connection.execute(
            "SELECT group_concat(payloads.num || char(31) || payloads.body, char(30))"
            " FROM json_each(?) AS wanted CROSS JOIN payloads ON payloads.num = wanted.value",
            (_json(nums),),
        ).fetchone()[0]
    except sqlite3.DataError:  # all of them are longer than SQLite's longest text
        half = len(nums) // 2
        if not half:
            raise
        return read_payloads(connection, nums[:half]) | read_payloads(connection, nums[half:])
    return {num: body.encode() for num, body in _parse_payloads(joined)}


def read_payload_page(connection: sqlite3.Connection, after: int, count: int) -> list[tuple[int, str]]:
    """Up to ``count`` payload texts of points above ``after``, by num."""
    joined: str | None = connection.execute(
        "SELECT group_concat(num || char(31) || body, char(30)) FROM"
        " (SELECT num, body FROM payloads WHERE num > ? ORDER BY num LIMIT ?)",
        (after, count),
    ).fetchone()[0]
    return sorted(_parse_payloads(joined))


def _parse_payloads(joined: str | None) -> Iterator[tuple[int, str]]:
    for record in joined.split(_RECORD) if joined else ():
        num, body = record.split(_UNIT)
        yield int(num), body


def read_vectors(
    connection: sqlite3.Connection, vector_id: int, space: VectorSpace, nums: Sequence[int] | Nums
) -> dict[int, Floats]:
    """The stored vectors of those of ``nums`` that have one: num → ``(dim,)`` or ``(tokens, dim)`` float32."""
    found: dict[int, Floats] = {}
    for start in range(0, len(nums), _READ_KEYS):
        keys = [vector_key(vector_id, int(num)) for num in nums[start : start + _READ_KEYS]]
        rows = connection.execute(
            "SELECT vectors.key, vectors.data FROM json_each(?) AS wanted"
            " CROSS JOIN vectors ON vectors.key = wanted.value",
            (_json(keys),),
        ).fetchall()
        for key, data in rows:
            rows_of_vector = from_bytes(space, data)
            found[key & _NUM_MASK] = rows_of_vector if space.multi else rows_of_vector[0]
    return found


def read_sparse_vectors(
    connection: sqlite3.Connection, vector_id: int, nums: Sequence[int] | Nums
) -> dict[int, SparseVector]:
    """The sparse vectors of those of ``nums`` that have one."""
    rows = connection.execute(
        "SELECT vectors.key, vectors.data FROM json_each(?) AS wanted CROSS JOIN vectors ON vectors.key = wanted.value",
        (_json([vector_key(vector_id, int(num)) for num in nums]),),
    ).fetchall()
    return {key & _NUM_MASK: sparse_from_bytes(data) for key, data in rows}


def read_all_sparse(connection: sqlite3.Connection, vector_id: int) -> Iterator[dict[int, SparseVector]]:
    """All sparse vectors of one name, some thousands at a time."""
    last = vector_key(vector_id, 0) - 1
    end = vector_key(vector_id + 1, 0)
    while True:
        rows = connection.execute(
            "SELECT key, data FROM vectors WHERE key > ? AND key < ? ORDER BY key LIMIT ?", (last, end, _READ_KEYS)
        ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        yield {key & _NUM_MASK: sparse_from_bytes(data) for key, data in rows}


def read_unsealed(connection: sqlite3.Connection, vector_id: int, space: VectorSpace) -> Iterator[tuple[Nums, Floats]]:
    """Vectors that no sealed segment holds, in blocks of ``(n, dim)`` float32 rows and the point of each row."""
    last = vector_key(vector_id, 0) - 1
    end = vector_key(vector_id + 1, 0)
    row_bytes = space.row_bytes
    while True:
        rows = connection.execute(
            "SELECT unsealed.key, vectors.data FROM unsealed CROSS JOIN vectors USING (key)"
            " WHERE unsealed.key > ? AND unsealed.key < ? ORDER BY unsealed.key LIMIT ?",
            (last, end, _READ_KEYS),
        ).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        nums = np.array([key & _NUM_MASK for key, _ in rows], dtype=np.uint32)
        nums = np.repeat(nums, [len(data) // row_bytes for _, data in rows])
        yield nums, from_bytes(space, b"".join(data for _, data in rows))


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids and versions of some points, by columns: an id is ``high << 64 | low``, a number's ``high`` is 0."""

    nums: Nums
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    version: NDArray[np.uint64]
    is_uuid: bool


def read_identities(connection: sqlite3.Connection) -> list[Identity]:
    """All points: numbers, then UUIDs."""
    nums, versions, ids = _joined_columns(connection, "id", "id_order < 3")
    zeros = np.zeros(len(nums), dtype=np.uint64)
    numbers = Identity(nums, zeros, np.array(ids, dtype=np.uint64), versions, is_uuid=False)
    nums, versions, ids = _joined_columns(connection, "replace(id, '-', '')", "id_order = 3")
    halves = np.frombuffer(bytes.fromhex("".join(ids)), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return [numbers, Identity(nums, halves[:, 0], halves[:, 1], versions, is_uuid=True)]


def _joined_columns(
    connection: sqlite3.Connection, id_text: str, condition: str
) -> tuple[Nums, NDArray[np.uint64], list[str]]:
    """num, version and the id's text of the points for which ``condition`` holds; both are ours, never a client's."""
    nums, versions, ids = connection.execute(
        f"SELECT group_concat(num), group_concat(version), group_concat({id_text}) FROM points WHERE {condition}"
    ).fetchone()
    if nums is None:
        return np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint64), []
    return np.array(nums.split(","), dtype=np.uint32), np.array(versions.split(","), dtype=np.uint64), ids.split(",")


def read_all_nums(connection: sqlite3.Connection) -> Nums:
    """The nums of all points, ascending: ``(n,)`` uint32."""
    joined: str | None = connection.execute("SELECT group_concat(num) FROM points").fetchone()[0]
    if not joined:
        return np.empty(0, dtype=np.uint32)
    return np.sort(np.array(joined.split(","), dtype=np.uint32))


def read_changed_since(connection: sqlite3.Connection, seq: int) -> dict[int, int]:
    """Points that an operation after ``seq`` wrote: num → version. Reads every row of the table."""
    joined: str | None = connection.execute(
        "SELECT group_concat(num || ':' || version) FROM points WHERE version > ?", (seq,)
    ).fetchone()[0]
    pairs = (pair.split(":") for pair in joined.split(",")) if joined else ()
    return {int(num): int(version) for num, version in pairs}


def count(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("SELECT count(*) FROM points").fetchone()[0]
    return number


def _json(values: object) -> str:
    return orjson.dumps(values).decode()
