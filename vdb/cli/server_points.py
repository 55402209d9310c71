"""The points of a server's collection, page by page, as they stand in its answers: nothing of them is parsed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vdb.cli.client import Client, ServerError, collection_path
from vdb.cli.sending import Batch, Position


class _Page(msgspec.Struct):
    points: list[msgspec.Raw]
    next_page_offset: int | str | None = None


class _Answer(msgspec.Struct):
    result: _Page


_DECODER: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Page:
    """``next`` is the id that the next page begins with, None after the last one."""

    points: list[bytes]
    next: int | str | None


def read_pages(client: Client, collection: str, start: int | str | None, size: int) -> Iterator[Page]:
    """In the order of ids, from ``start`` on. What is written meanwhile may be in it or not. Raises ServerError."""
    path = f"{collection_path(collection)}/points/scroll"
    offset: int | str | None = start
    while True:
        request: dict[str, Any] = {"limit": size, "with_payload": True, "with_vector": True}
        if offset is not None:
            request["offset"] = offset
        try:
            page = _DECODER.decode(client.call_raw("POST", path, request)).result
        except msgspec.DecodeError as error:
            raise ServerError(f"{client.url} does not speak Qdrant's REST API (POST {path})") from error
        offset = page.next_page_offset
        yield Page([bytes(point) for point in page.points], offset)
        if offset is None:
            return


def batches(client: Client, collection: str, start: Position | None, size: int) -> Iterator[Batch]:
    """Pages as they go to another server."""
    done = start["points"] if start else 0
    for page in read_pages(client, collection, start["offset"] if start else None, size):
        done += len(page.points)
        if page.points:
            body = b'{"points":[' + b",".join(page.points) + b"]}"
            position = {"offset": page.next, "points": done}
            yield Batch(body, len(page.points), position, f"points {done - len(page.points)} to {done - 1}")
