"""Bodies that clients compress to send less: gzip and deflate, as ``Content-Encoding`` names them.

Guarantees: a body never becomes larger than a plain one may be, however small it was sent.
"""

from __future__ import annotations

import zlib
from typing import Final

from vdb.errors import MalformedBody, TooLarge, UnknownEncoding

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_FIRST: Final = b"x"  # of deflate in zlib's wrapping, which the standard means; some clients send it bare
_WRAPPED: Final = zlib.MAX_WBITS
_BARE: Final = -zlib.MAX_WBITS


def plain_body(body: bytes, encoding: str, size_max: int) -> bytes:
    """``body`` decompressed; raises UnknownEncoding, MalformedBody, and TooLarge beyond ``size_max`` bytes."""
    match encoding.strip().lower():
        case "gzip" | "x-gzip":
            return _inflated(body, _GZIP, size_max)
        case "deflate":
            return _inflated(body, _WRAPPED if body[:1] == _ZLIB_FIRST else _BARE, size_max)
        case "identity":
            return body
        case _:
            raise UnknownEncoding(encoding)


def _inflated(body: bytes, window_bits: int, size_max: int) -> bytes:
    stream = zlib.decompressobj(window_bits)
    try:
        plain = stream.decompress(body, size_max + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body cannot be decompressed: {error}") from error
    if len(plain) > size_max:
        raise TooLarge("the decompressed body is larger than service.max_request_size_mb allows")
    if not stream.eof or stream.unused_data:
        raise MalformedBody("the compressed body ends too early or goes on after its end")
    return plain
