"""Bodies that are sent compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest

from tests.http.client import Collection

MEBIBYTE = 2**20
POINT = {"id": 9, "vector": [9, 9, 9, 9], "payload": {"text": "a" * 1000}}


def bare_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def put(collection: Collection, encoding: str, body: bytes) -> httpx.Response:
    url = f"{collection.client.url}{collection.path}/points?wait=true"
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return httpx.put(url, content=body, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", bare_deflate),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_is_read_like_a_plain_one(
    plain: Collection, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    assert put(plain, encoding, compress(json.dumps({"points": [POINT]}).encode())).status_code == 200
    assert plain.get(9)["payload"] == POINT["payload"]


@pytest.mark.parametrize("level", [1, 9])
def test_a_small_body_that_becomes_too_large_is_413(plain: Collection, level: int) -> None:
    with plain.unchanged():
        response = put(plain, "gzip", gzip.compress(b" " * (33 * MEBIBYTE), level))
        assert response.status_code == 413
        assert "max_request_size_mb" in response.json()["status"]["error"]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        ("br", b"x", 415, "Content-Encoding `br` is not supported"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415, "is not supported"),
        ("gzip", b"{}", 400, "cannot be decompressed"),
        ("gzip", gzip.compress(b"{}")[:-1], 400, "ends too early"),
        ("gzip", gzip.compress(b"{}") * 2, 400, "goes on after its end"),
        ("deflate", b"", 400, "ends too early"),
    ],
)
def test_what_cannot_be_decompressed_is_refused(
    plain: Collection, encoding: str, body: bytes, status: int, message: str
) -> None:
    with plain.unchanged():
        response = put(plain, encoding, body)
        assert response.status_code == status, response.text
        assert message in response.json()["status"]["error"]
