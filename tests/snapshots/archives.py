"""Archives taken apart and put together in ways that vdb would not."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from tests.http.client import Collection
from tests.snapshots.keeper import Keeper

Files = dict[str, bytes]


def refusal(keeper: Keeper, collection: Collection, content: bytes) -> str:
    """Uploads what must be refused over a collection that stays as it is; the reason."""
    with collection.unchanged():
        response = keeper.upload(collection.name, content)
        assert response.status_code == 400, response.text
    assert keeper.left_behind() == []
    message: str = response.json()["status"]["error"]
    return message


def unpacked(content: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def packed(files: Files, form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sealed(files: dict[str, Any], **facts: Any) -> Files:
    """``files`` under a manifest that tells the truth about them; None leaves one out."""
    kept = {name: content for name, content in files.items() if content is not None and name != "manifest.json"}
    manifest = {
        "format": 1,
        "kind": "collection",
        "vdb": "0",
        "created_at": "",
        "files": [
            {"name": name, "size_bytes": len(content), "xxh3": xxhash.xxh3_128(content).hexdigest()}
            for name, content in kept.items()
        ],
        **facts,
    }
    return {"manifest.json": json.dumps(manifest).encode(), **kept}


def resized(content: bytes, size: int | None) -> bytes:
    """The archive with another size in the header of its first file."""
    field = (
        b"surprise!!!\0" if size is None else b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    )
    header = bytearray(content[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


@contextmanager
def editing(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    yield connection
    connection.close()


def damage(path: Path) -> None:
    """Overwrites the middle of every page but the first."""
    content = bytearray(path.read_bytes())
    for page in range(16_384, len(content), 16_384):
        content[page : page + 64] = struct.pack(">64B", *range(1, 65))
    path.write_bytes(content)


def point_two_tables_at_one_page(path: Path) -> None:
    with editing(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'payloads')"
            " WHERE name = 'unsealed'"
        )
