"""Fetching a snapshot from another server, where the administrator allows it.

Guarantees: only http and https are spoken, redirects are not followed, so that nobody but the server that the client
named is asked, and what comes is written to the disk as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from vdb.errors import BadRequest
from vdb.snapshots.folder import split_url

if TYPE_CHECKING:
    import httpx

_SILENCE_S: Final = 60.0  # without a byte from the other side
_CHUNK_BYTES: Final = 256 * 1024


@asynccontextmanager
async def fetching(location: str, api_key: str | None) -> AsyncIterator[tuple[AsyncIterator[bytes], int | None]]:
    """The content of a URL as it comes, and its length where the other side says it; raises BadRequest."""
    import httpx  # 60 ms that a start need not take

    parts = split_url(location)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"{location[:200]!r} is not an http or https URL")
    headers = {"accept-encoding": "identity"}  # else a small answer could unpack to any size
    if api_key is not None:
        headers["api-key"] = api_key
    try:
        async with (
            httpx.AsyncClient(timeout=_SILENCE_S, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", location, headers=headers) as response,
        ):
            if response.is_redirect:
                raise BadRequest(f"{parts.hostname} redirects to another address: give that one")
            if response.status_code != 200:
                raise BadRequest(f"{parts.hostname} answered {response.status_code} instead of the snapshot")
            length = response.headers.get("content-length", "")
            yield _chunks(response), int(length) if length.isascii() and length.isdigit() else None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise BadRequest(f"{parts.hostname} could not be asked for the snapshot: {error}") from error


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in response.aiter_raw(_CHUNK_BYTES):
        yield chunk
