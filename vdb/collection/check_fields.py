"""Field-index files held against the payloads they were made from; nothing is changed.

A server does not read payloads to open an index: it believes a whole file, and reads again what has a newer version.
Payloads that were changed without the server have none, so that only this comparison notices them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import orjson
from pyroaring import BitMap

from vdb.collection.field_files import REREAD_POINTS_MAX, SUFFIX, Outdated, StoredIndex, Unusable, bring_up
from vdb.model.field_index import PayloadFieldSchema
from vdb.segment.fields.index import FieldIndex
from vdb.storage import points

_PAGE_POINTS: Final = 5_000


def read_files(folder: Path) -> tuple[dict[Path, StoredIndex], dict[Path, str]]:
    """The files of a folder that are whole, and what is wrong with each of the others; changes nothing."""
    found: dict[Path, StoredIndex] = {}
    wrong: dict[Path, str] = {}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found[file] = StoredIndex(file)
        except FileNotFoundError:
            continue  # a server replaced or removed it
        except (Unusable, OSError, ValueError, msgspec.MsgspecError) as error:
            wrong[file] = str(error)
    return found, wrong


def verify_indexes(
    found: Mapping[Path, StoredIndex],
    connection: sqlite3.Connection,
    schemas: Mapping[str, PayloadFieldSchema],
    all_points: BitMap,
    seq: int,
    content: bool,
) -> dict[Path, str]:
    """What is wrong with each file of ``found``; changes nothing. ``connection`` sees a moment after they were read.

    With ``content`` every payload is read: applying it to the index that is in the file must change nothing there,
    or the payload was changed behind the server's back.
    """
    wrong: dict[Path, str] = {}
    current: dict[Path, FieldIndex] = {}
    for file, stored in found.items():
        schema = schemas.get(stored.path)
        if schema is None:
            continue
        try:
            index, index_seq = stored.index(stored.path, schema, seq)
        except Outdated:
            continue  # a start makes it anew
        except (Unusable, ValueError, KeyError, msgspec.MsgspecError) as error:
            wrong[file] = str(error)
            continue
        changed = list(points.read_changed_since(connection, index_seq))
        # One that is further behind is built anew by a start, which does not believe it.
        if content and len(changed) <= REREAD_POINTS_MAX:
            bring_up(connection, index, changed, all_points)
            current[file] = index
    before = {file: _facts(index) for file, index in current.items()}
    _apply_payloads(connection, list(current.values()))
    wrong |= {
        file: "it does not say what the payloads say (they were changed without the server)"
        for file, index in current.items()
        if _facts(index) != before[file]
    }
    return wrong


def _apply_payloads(connection: sqlite3.Connection, indexes: list[FieldIndex]) -> None:
    """All payloads once more, to all of ``indexes``; points that have none lose what the indexes say of them."""
    if not indexes:
        return
    gone = [BitMap(index.snapshot().presence.present) for index in indexes]
    after = -1
    while page := points.read_payload_page(connection, after, _PAGE_POINTS):
        after = page[-1][0]
        payloads = [(num, orjson.loads(text)) for num, text in page]
        nums = BitMap(num for num, _ in page)
        for position, index in enumerate(indexes):
            index.apply((num, index.values_in(payload)) for num, payload in payloads)
            gone[position] -= nums
    for index, nums in zip(indexes, gone, strict=True):
        index.apply((num, None) for num in nums)


def _facts(index: FieldIndex) -> dict[str, object]:
    """All that an index knows, to be compared: it depends on nothing but the changes since its file was read."""
    index.compact()
    blocks = index.snapshot().dump()
    facts: dict[str, object] = {name: bytes(memoryview(block).cast("B")) for name, block in blocks.items()}
    facts["presence"] = index.snapshot().presence
    return facts
