"""Files that come in and go out piece by piece, so that memory does not grow with their size.

A piece of an upload is asked for when the one before it is on the disk, and a piece of a download is read when the one
before it is sent: who is slow makes the other side wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import trio
from quart import Response
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from vdb.api.connection import BodyStream
from vdb.api.routing import Download
from vdb.errors import BadRequest, MalformedBody, TooLarge
from vdb.snapshots.folder import named_disk, require_space

_CHUNK_BYTES: Final = 256 * 1024  # read and sent at once
_WRITE_BYTES: Final = 2**20  # gathered before a thread writes them
_LOOK_BYTES: Final = 64 * 2**20  # written between two looks at how much of the disk is free
_FIELD: Final = "snapshot"
_PARTS_MAX: Final = 8
_BOUNDARY_BYTES_MAX: Final = 256  # RFC 2046 allows 70


class Upload:
    """The body of a request that is a form with one file."""

    def __init__(self, headers: Headers, stream: BodyStream) -> None:
        self._headers = headers
        self._stream = stream

    async def save(self, target: Path, bytes_max: int | None) -> None:
        """Writes the file to ``target``, a new file.

        Raises BadRequest for another form, TooLarge beyond ``bytes_max``, InsufficientStorage before the disk is full.
        """
        await save(self._content(), self._stream.length, target, bytes_max)

    async def _content(self) -> AsyncIterator[bytes]:
        kind, options = parse_options_header(self._headers.get("content-type"))
        boundary = options.get("boundary", "").encode("latin1", errors="replace")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY_BYTES_MAX:
            raise BadRequest(f"The snapshot must be sent as multipart/form-data, in the field `{_FIELD}`")
        decoder = MultipartDecoder(boundary, max_parts=_PARTS_MAX)
        found = inside = ended = False
        async for chunk in self._chunks():
            for event in _events(decoder, chunk):
                if isinstance(event, (File, Field)):
                    inside = event.name == _FIELD
                    if inside and found:
                        raise MalformedBody(f"the form has two fields `{_FIELD}`")
                    found = found or inside
                elif isinstance(event, Data) and inside:
                    yield event.data
                elif isinstance(event, Epilogue):
                    ended = True
        if not ended:
            raise MalformedBody("the form ends too early")
        if not found:
            raise MalformedBody(f"the form has no field `{_FIELD}`")

    async def _chunks(self) -> AsyncIterator[bytes | None]:
        """The body, and None after its end."""
        async for chunk in self._stream:
            yield chunk
        yield None


def _events(decoder: MultipartDecoder, chunk: bytes | None) -> Iterator[Event]:
    """What a form's decoder makes of one more piece, None for the end; raises MalformedBody."""
    try:
        decoder.receive_data(chunk)
        while True:
            event = decoder.next_event()
            if isinstance(event, NeedData):
                return
            yield event
            if isinstance(event, Epilogue):
                return
    except (ValueError, RequestEntityTooLarge) as error:
        raise MalformedBody(f"not a form: {error}") from error


async def save(content: AsyncIterator[bytes], length: int | None, target: Path, bytes_max: int | None) -> None:
    """Writes what comes to ``target``, a new file; ``length`` is what the sender says it will be.

    Raises TooLarge beyond ``bytes_max``, and InsufficientStorage before the disk is full.
    """
    if bytes_max is not None and length is not None and length > bytes_max + _WRITE_BYTES:
        raise _too_large(bytes_max)
    require_space(target.parent, length or 0)
    with named_disk():
        await _write(content, target, bytes_max)


async def _write(content: AsyncIterator[bytes], target: Path, bytes_max: int | None) -> None:
    file = await trio.to_thread.run_sync(target.open, "xb")
    try:
        gathered = bytearray()
        size = looked = 0
        async for piece in content:
            gathered += piece
            size += len(piece)
            if bytes_max is not None and size > bytes_max:
                raise _too_large(bytes_max)
            if len(gathered) >= _WRITE_BYTES:
                await trio.to_thread.run_sync(file.write, gathered)
                gathered = bytearray()
            if size - looked >= _LOOK_BYTES:
                looked = size
                require_space(target.parent, 0)
        await trio.to_thread.run_sync(_finish, file, gathered)
    finally:
        file.close()


def _finish(file: BinaryIO, rest: bytearray) -> None:
    file.write(rest)
    file.flush()


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the snapshot is larger than storage.snapshots_max_size_mb allows ({bytes_max // 2**20} MiB)")


def downloaded(download: Download) -> Response:
    """The answer that carries a file."""
    headers = {
        "Content-Length": str(download.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(download.name, safe='')}",
    }
    pieces: Any = _pieces(download)
    return Response(pieces, content_type="application/octet-stream", headers=headers)


async def _pieces(download: Download) -> AsyncIterator[bytes]:
    left = download.size
    with download.file as file:
        while left:
            piece = await trio.to_thread.run_sync(file.read, min(_CHUNK_BYTES, left))
            if not piece:
                return  # shorter than it was: the client sees that bytes are missing
            left -= len(piece)
            yield piece
