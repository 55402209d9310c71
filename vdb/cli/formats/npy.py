"""A matrix of vectors as numpy keeps it, with a line of ids and payloads for each row in a ``.jsonl`` beside it.

::

    points.npy          (n, dim): the unnamed vector
    points.NAME.npy     (n, dim): the vector NAME; several, each with n rows
    points.jsonl        n lines, {"id": …, "payload": {…}}

On the way in the lines may be payloads themselves, or missing altogether: ids are row numbers then. A ``.jsonl.gz``
will do too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.cli.collection_settings import CollectionSettings
from vdb.cli.formats.jsonl import JsonlWriter, open_lines
from vdb.cli.sending import Batch, Position
from vdb.errors import Misconfigured

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER_BYTES: Final = 128  # numpy's own headers are as long for any matrix there is


class NpyReader:
    def __init__(self, path: Path) -> None:
        stem = path.name.removesuffix(".npy")
        self._path = path
        found = {"": path} if path.exists() else {}
        for named in sorted(path.parent.glob(f"{_escaped(stem)}.*.npy")):
            found[named.name[len(stem) + 1 : -len(".npy")]] = named
        if not found:
            raise Misconfigured(f"{path}: No such file")
        self._matrices = {name: _matrix(file) for name, file in found.items()}
        counts = {len(matrix) for matrix in self._matrices.values()}
        if len(counts) > 1:
            raise Misconfigured(f"{path}: matrices of different lengths: {sorted(counts)}")
        self.points: int | None = counts.pop()
        beside = [path.with_name(stem + suffix) for suffix in (".jsonl", ".jsonl.gz")]
        self._lines = next((one for one in beside if one.exists()), None)

    def batches(self, start: Position | None, size: int) -> Iterator[Batch]:
        assert self.points is not None
        row = start["row"] if start else 0
        lines = self._read_lines(row)
        while row < self.points:
            end = min(row + size, self.points)
            blocks = {name: np.asarray(matrix[row:end], dtype=np.float32) for name, matrix in self._matrices.items()}
            points: list[dict[str, Any]] = []
            for place in range(end - row):
                point = self._point(row + place, lines)
                if "" in blocks and len(blocks) == 1:
                    point["vector"] = blocks[""][place]
                else:
                    point["vector"] = {name: block[place] for name, block in blocks.items()}
                points.append(point)
            body = orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)
            yield Batch(body, end - row, {"row": end}, f"{self._path}, rows {row} to {end - 1}")
            row = end
        if lines is not None and next(lines, None) is not None:
            raise Misconfigured(f"{self._lines}: has more lines than {self._path} has rows")

    def _read_lines(self, skip: int) -> Iterator[bytes] | None:
        if self._lines is None:
            return None

        def lines(path: Path) -> Iterator[bytes]:
            with open_lines(path) as file:
                yield from islice((line for line in file if line.strip()), skip, None)

        return lines(self._lines)

    def _point(self, row: int, lines: Iterator[bytes] | None) -> dict[str, Any]:
        if lines is None:
            return {"id": row}
        line = next(lines, None)
        if line is None:
            raise Misconfigured(f"{self._lines}: has {row} lines, and {self._path} has {self.points} rows")
        try:
            fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            raise Misconfigured(f"{self._lines}, line {row + 1}: {error}") from error
        if fields.keys() - {"id", "payload"}:
            return {"id": row, "payload": orjson.Fragment(line.strip())}
        point: dict[str, Any] = {"id": row}
        for key, raw in fields.items():
            point[key] = orjson.Fragment(bytes(raw))
        return point


def _matrix(path: Path) -> NDArray[Any]:
    try:
        matrix: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise Misconfigured(f"{path}: holds {matrix.ndim} dimensions of {matrix.dtype}, not rows of numbers")
    return matrix


def _escaped(name: str) -> str:
    """``name`` for glob(), which would read brackets and stars."""
    return re.sub(r"([*?[])", r"[\1]", name)


class _Point(msgspec.Struct):
    id: msgspec.Raw
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    vector: Any = None


_DECODER: Final = msgspec.json.Decoder(_Point)


class NpyWriter:
    """The number of rows is written into the headers last."""

    def __init__(self, path: Path, settings: CollectionSettings, *, fresh: bool) -> None:
        kinds = settings.vector_kinds()
        other = [name for name, kind in kinds.items() if kind != "dense" or (name and not _FILE_NAME.fullmatch(name))]
        if other or not kinds:
            what = f"vector `{other[0]}`" if other else "a collection without vectors"
            raise Misconfigured(f"{path}: .npy cannot hold {what}; export to .jsonl or .parquet")
        stem = path.name.removesuffix(".npy")
        files = {name: path.with_name(f"{stem}.{name}.npy" if name else path.name) for name in kinds}
        self._lines = JsonlWriter(path.with_name(stem + ".jsonl"), fresh=fresh)
        self.paths = [*files.values(), *self._lines.paths]
        vectors = settings.create["vectors"]
        self._dims = {name: int((vectors[name] if name else vectors.get("", vectors))["size"]) for name in kinds}
        self._files: dict[str, BinaryIO] = {name: file.open("wb" if fresh else "r+b") for name, file in files.items()}
        for file in self._files.values():
            file.seek(_HEADER_BYTES)
        self._rows = 0

    def append(self, points: list[bytes]) -> None:
        decoded = [_DECODER.decode(point) for point in points]
        for name, file in self._files.items():
            dim = self._dims[name]
            rows = []
            for point in decoded:
                vector = point.vector if isinstance(point.vector, list) else (point.vector or {}).get(name)
                if vector is None:
                    which = f"no vector `{name}`" if name else "no vector"
                    raise Misconfigured(
                        f"point {bytes(point.id).decode()} has {which}, and .npy has a row for every point; "
                        "export to .jsonl or .parquet"
                    )
                rows.append(vector)
            block = np.array(rows, dtype="<f4")
            if block.shape != (len(rows), dim):
                raise Misconfigured(f"vectors `{name}` are not {dim} numbers long")
            file.write(block.tobytes())
        self._rows += len(points)
        self._lines.append(
            [b'{"id":' + bytes(point.id) + b',"payload":' + bytes(point.payload) + b"}" for point in decoded]
        )

    def flush(self) -> Position:
        for file in self._files.values():
            file.flush()
        return {"rows": self._rows, "lines": self._lines.flush()}

    def resume(self, position: Position) -> None:
        self._rows = position["rows"]
        self._lines.resume(position["lines"])
        for name, file in self._files.items():
            file.seek(_HEADER_BYTES + self._rows * self._dims[name] * 4)

    def close(self) -> None:
        for name, file in self._files.items():
            file.truncate()
            file.seek(0)
            file.write(_header(self._rows, self._dims[name]))
            file.close()
        self._lines.close()


def _header(rows: int, dim: int) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    padded = text.encode().ljust(_HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
