"""Files of points: what each format is called, and who reads and writes it.

============================  ======================================================================================
name ends with                what it is
============================  ======================================================================================
``.jsonl``, ``.jsonl.gz``     a line a point, as REST has them: ``{"id": …, "vector": …, "payload": {…}}``
``.parquet``                  columns ``id``, ``payload`` (JSON), ``vector`` or ``vector.NAME``
``.npy``                      a matrix of vectors; ids and payloads in a ``.jsonl`` beside it
============================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from vdb.cli.collection_settings import CollectionSettings
from vdb.cli.sending import Batch, Position
from vdb.errors import Misconfigured


class PointReader(Protocol):
    """``points`` is how many there are, None where only reading would tell."""

    points: int | None

    def batches(self, start: Position | None, size: int) -> Iterator[Batch]:
        """From ``start`` on; raises Misconfigured for what is not of the format, and names the place."""


class PointWriter(Protocol):
    def append(self, points: list[bytes]) -> None:
        """Points as REST answers them, each a JSON object. Raises Misconfigured for what the format cannot hold."""

    def flush(self) -> Position:
        """Makes what was appended durable, and returns what ``resume`` takes."""

    def resume(self, position: Position) -> None:
        """Goes on after an earlier run: whatever was written behind ``position`` is cut off."""

    def close(self) -> None: ...

    @property
    def paths(self) -> list[Path]:
        """The files that it writes."""


def reader_for(path: Path) -> PointReader:
    """Raises Misconfigured, and for a format that needs a package that is not there, a message that names it."""
    match _format(path):
        case "parquet":
            from vdb.cli.formats.parquet import ParquetReader

            return ParquetReader(path)
        case "npy":
            from vdb.cli.formats.npy import NpyReader

            return NpyReader(path)
        case _:
            from vdb.cli.formats.jsonl import JsonlReader

            return JsonlReader(path)


def writer_for(path: Path, settings: CollectionSettings, *, fresh: bool) -> PointWriter:
    """``fresh`` empties files that are there.

    Raises Misconfigured, also where the format cannot hold the collection's vectors.
    """
    match _format(path):
        case "parquet":
            from vdb.cli.formats.parquet import ParquetWriter

            return ParquetWriter(path, settings)
        case "npy":
            from vdb.cli.formats.npy import NpyWriter

            return NpyWriter(path, settings, fresh=fresh)
        case _:
            from vdb.cli.formats.jsonl import JsonlWriter

            return JsonlWriter(path, fresh=fresh)


def _format(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if name == path.name and suffix in (".parquet", ".npy"):
        return suffix[1:]
    raise Misconfigured(f"{path}: the name must end with .jsonl, .jsonl.gz, .parquet or .npy")
