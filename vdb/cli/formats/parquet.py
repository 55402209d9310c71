"""Parquet: a row a point.

=======================  ==============================================================================================
column                   what it holds
=======================  ==============================================================================================
``id``                   text on the way out, numbers as digits; numbers will do on the way in
``payload``              the payload as JSON text; where there is no such column, all others are the payload's keys
``vector``               the unnamed vector: list<float32>
``vector.NAME``          the vector NAME: list<float32>; list<list<float32>> for a multivector;
                         struct<indices: list<uint32>, values: list<float32>> for a sparse one
=======================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from vdb.cli.collection_settings import CollectionSettings
from vdb.cli.sending import Batch, Position
from vdb.errors import Misconfigured

try:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
except ImportError as error:
    raise Misconfigured("Parquet needs the package pyarrow: pip install 'vdb[parquet]'") from error

_ROWS_PER_GROUP: Final = 5_000
_PREFIX: Final = "vector."
_TYPES: Final = {
    "dense": pa.list_(pa.float32()),
    "multi": pa.list_(pa.list_(pa.float32())),
    "sparse": pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))]),
}


class ParquetReader:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise Misconfigured(f"{path}: {error}") from error
        names = self._file.schema_arrow.names
        if "id" not in names:
            raise Misconfigured(f"{path}: has no column `id`")
        self.points: int | None = self._file.metadata.num_rows
        self._vectors = {name: name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}
        if "vector" in names:
            self._vectors["vector"] = ""
        self._keys = [name for name in names if name != "id" and name not in self._vectors]

    def batches(self, start: Position | None, size: int) -> Iterator[Batch]:
        row = start["row"] if start else 0
        counts = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        first, skip = 0, row
        while first < len(counts) and counts[first] <= skip:
            skip -= counts[first]
            first += 1
        groups = list(range(first, len(counts)))
        if not groups:
            return
        for table in self._file.iter_batches(size, row_groups=groups):
            if skip >= table.num_rows:
                skip -= table.num_rows
                continue
            rows = table.slice(skip)
            skip = 0
            end = row + rows.num_rows
            where = f"{self._path}, rows {row} to {end - 1}"
            try:
                body = orjson.dumps({"points": self._points(rows)}, default=str, option=orjson.OPT_SERIALIZE_NUMPY)
            except (TypeError, ValueError, pa.ArrowException) as error:
                raise Misconfigured(f"{where}: {error}") from error
            yield Batch(body, rows.num_rows, {"row": end}, where)
            row = end

    def _points(self, table: Any) -> list[dict[str, Any]]:
        points = [{"id": _point_id(value)} for value in table.column("id").to_pylist()]
        if self._keys == ["payload"]:
            for point, payload in zip(points, table.column("payload").to_pylist(), strict=True):
                if payload is not None:
                    point["payload"] = orjson.Fragment(payload) if isinstance(payload, str) else payload
        else:
            columns = {key: table.column(key).to_pylist() for key in self._keys}
            for place, point in enumerate(points):
                payload = {key: column[place] for key, column in columns.items() if column[place] is not None}
                if payload:
                    point["payload"] = payload
        single = list(self._vectors.values()) == [""]
        for point in points:
            point["vector"] = {}
        for column, name in self._vectors.items():
            for point, vector in zip(points, _vectors(table.column(column)), strict=True):
                if vector is not None:
                    if single:
                        point["vector"] = vector
                    else:
                        point["vector"][name] = vector
        return points


def _point_id(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _vectors(column: Any) -> Iterator[Any]:
    """The values of a column; plain lists of numbers without a detour over Python's floats."""
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        yield from column.to_pylist()
        return
    column = column.cast(pa.list_(pa.float32()))
    values = column.values.to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy()
    present = column.is_valid().to_numpy(zero_copy_only=False)
    for place in range(len(column)):
        yield values[offsets[place] : offsets[place + 1]] if present[place] else None


class _Point(msgspec.Struct):
    id: int | str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    vector: Any = None


_DECODER: Final = msgspec.json.Decoder(_Point)


class ParquetWriter:
    """A Parquet file ends with its table of contents: what a kill leaves without one cannot be gone on with.

    After Ctrl+C or a lost connection the file is closed in order, and ``resume`` copies what is in it.
    """

    def __init__(self, path: Path, settings: CollectionSettings) -> None:
        self.paths = [path]
        self._path = path
        self._kinds = settings.vector_kinds()
        columns = [(f"{_PREFIX}{name}" if name else "vector", _TYPES[kind]) for name, kind in self._kinds.items()]
        self._schema = pa.schema([("id", pa.string()), ("payload", pa.string()), *columns])
        self._writer: Any = None
        self._waiting: list[bytes] = []
        self._rows = 0

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self._writer

    def append(self, points: list[bytes]) -> None:
        self._waiting += points
        self._rows += len(points)
        if len(self._waiting) >= _ROWS_PER_GROUP:
            self._write()

    def _write(self) -> None:
        writer = self._open()
        if not self._waiting:
            return
        decoded = [_DECODER.decode(point) for point in self._waiting]
        self._waiting = []
        arrays = [
            pa.array([str(point.id) for point in decoded], pa.string()),
            pa.array([bytes(point.payload).decode() for point in decoded], pa.string()),
        ]
        for name, kind in self._kinds.items():
            values = [
                point.vector if isinstance(point.vector, list) else (point.vector or {}).get(name) for point in decoded
            ]
            if kind == "dense":
                values = [None if value is None else np.array(value, dtype=np.float32) for value in values]
            arrays.append(pa.array(values, _TYPES[kind]))
        writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def flush(self) -> Position:
        return {"rows": self._rows}

    def resume(self, position: Position) -> None:
        former = self._path.with_name(self._path.name + ".part")
        try:
            self._path.replace(former)
            with pq.ParquetFile(former) as file:
                left = position["rows"]
                if file.metadata.num_rows < left:
                    raise Misconfigured(f"{self._path}: has {file.metadata.num_rows} rows, not {left}; start again")
                for batch in file.iter_batches(_ROWS_PER_GROUP):
                    self._open().write_batch(batch.slice(0, left))
                    left -= min(left, batch.num_rows)
                    if not left:
                        break
        except (OSError, pa.ArrowInvalid) as error:
            raise Misconfigured(f"{self._path}: cannot be gone on with, start again ({error})") from error
        former.unlink()
        self._rows = position["rows"]

    def close(self) -> None:
        self._write()
        self._writer.close()
