"""Builds a field index from all payloads of a collection, in a thread or as the body of a process of its own.

Finding values and sorting them is the interpreter's work: in the server's process every search would wait for its turn.
So only a small collection's index is built there; else a child reads SQLite and writes the index as a file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from vdb.collection.field_files import write_index
from vdb.model.field_index import PayloadFieldSchema, decode_schema
from vdb.segment.fields.build import new_index
from vdb.segment.fields.index import Change, FieldIndex
from vdb.storage.points import read_payload_page
from vdb.storage.sqlite import Readers

_PAGE_POINTS: Final = 1_000


class FieldJob(msgspec.Struct, frozen=True):
    """What a child is to do: ``seq`` is an operation that all payloads show, ``schema`` is JSON."""

    database: str
    output: str
    path: str
    schema: str
    seq: int


def build(readers: Readers, path: str, schema: PayloadFieldSchema, proceed: Callable[[], None]) -> FieldIndex:
    """Reads page by page, each page a statement of its own, so that no read transaction stands in the way of
    checkpoints: what is written meanwhile may be in the index or not. ``proceed`` may raise to give up.
    """
    index = new_index(path, schema)
    changes: list[Change] = []
    after = -1
    while page := _read_values(readers, after, index):
        proceed()
        after = page[-1][0]
        changes.extend(page)
    index.apply(changes)
    return index


def _read_values(readers: Readers, after: int, index: FieldIndex) -> list[tuple[int, list[Any]]]:
    """A page; between pages the connection is free, so that the log of SQLite can be emptied."""
    with readers.borrow() as connection:
        page = read_payload_page(connection, after, _PAGE_POINTS)
    return [(num, index.values_in(orjson.loads(text))) for num, text in page]


def main(job_path: Path) -> int:
    """The process's entry: writes the file and exits 0. A failure is a traceback on stderr and 1."""
    job = msgspec.json.decode(job_path.read_bytes(), type=FieldJob)
    readers = Readers(Path(job.database))
    try:
        index = build(readers, job.path, decode_schema(job.schema), lambda: None)
    finally:
        readers.close()
    index.compact()
    write_index(Path(job.output), job.path, index.snapshot(), job.seq)
    return 0
