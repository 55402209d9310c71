"""Payloads in memory, for collections that want them there (``on_disk_payload: false``).

The State owns them as it owns vectors: each View carries an immutable copy, which costs a pointer for 1,024 points.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from vdb.segment.fields.chunks import Chunks
from vdb.storage.points import read_payload_page

_PAGE_POINTS: Final = 1_000


def read_all_payloads(connection: sqlite3.Connection) -> Chunks[bytes]:
    """JSON texts by num. On the writer's thread while the actor waits, or before it starts."""
    payloads: Chunks[bytes] = Chunks()
    after = -1
    while page := read_payload_page(connection, after, _PAGE_POINTS):
        for num, text in page:
            payloads.set(num, text.encode())
        after = page[-1][0]
    return payloads


def apply_payloads(payloads: Chunks[bytes], written: Mapping[int, bytes | None], removed: Iterable[int]) -> None:
    """Brings ``payloads`` up to a committed transaction."""
    for num, text in written.items():
        payloads.set(num, text)
    for num in removed:
        payloads.set(num, None)
