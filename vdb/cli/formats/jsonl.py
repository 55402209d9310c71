"""JSON lines: a point a line, as REST has it. Texts go through as they are; nothing is parsed that need not be."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec

from vdb.cli.sending import Batch, Position
from vdb.errors import Misconfigured

_COMPRESSION: Final = 5


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """What a line may hold: a point as it is written, or as scroll and query answer it."""

    id: int | str
    vector: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()
    shard_key: Any = None
    version: Any = None
    score: Any = None
    order_value: Any = None


_DECODER: Final = msgspec.json.Decoder(_Line)


class JsonlReader:
    def __init__(self, path: Path) -> None:
        """Raises Misconfigured."""
        if not path.exists():
            raise Misconfigured(f"{path}: No such file or directory")
        self._path = path
        self.points: int | None = None

    def batches(self, start: Position | None, size: int) -> Iterator[Batch]:
        number, byte = (start["line"], start["byte"]) if start else (0, 0)
        with open_lines(self._path) as file:
            if byte:  # a pipe cannot go back, and need not
                file.seek(byte)
            while lines := list(islice(file, size)):
                first = number + 1
                texts = []
                for text in lines:
                    number += 1
                    byte += len(text)
                    if stripped := text.strip():
                        self._check(stripped, number)
                        texts.append(stripped)
                if texts:
                    body = b'{"points":[' + b",".join(texts) + b"]}"
                    where = f"{self._path}, lines {first} to {number}"
                    yield Batch(body, len(texts), {"line": number, "byte": byte}, where)

    def _check(self, text: bytes, number: int) -> None:
        try:
            _DECODER.decode(text)
        except msgspec.DecodeError as error:
            raise Misconfigured(f"{self._path}, line {number}: {error}") from error


def open_lines(path: Path) -> BinaryIO:
    """A file of lines, unpacked where it is packed; raises Misconfigured."""
    try:
        if path.suffix == ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error


class JsonlWriter:
    """A packed file is a row of gzip members, one a call of ``append``: so it can be cut off between them."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self.paths = [path]
        self._packed = path.suffix == ".gz"
        self._file = path.open("wb" if fresh else "r+b")

    def append(self, points: list[bytes]) -> None:
        # A line break inside a point can only be white space: JSON's texts hold none.
        content = b"".join(point.replace(b"\n", b" ") + b"\n" for point in points)
        self._file.write(gzip.compress(content, _COMPRESSION, mtime=0) if self._packed else content)

    def flush(self) -> Position:
        self._file.flush()
        return {"bytes": self._file.tell()}

    def resume(self, position: Position) -> None:
        self._file.seek(position["bytes"])

    def close(self) -> None:
        self._file.truncate()
        self._file.close()
