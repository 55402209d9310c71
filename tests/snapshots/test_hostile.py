"""Archives that nobody should open: each is refused by name, and nothing changes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.http.client import Collection
from tests.snapshots.archives import gzipped, packed, refusal, resized, sealed, unpacked
from tests.snapshots.keeper import Keeper

_NAMES: Final = ("manifest.json", "config.json", "collection.sqlite")


def test_an_archive_that_another_tar_wrote_is_taken(keeper: Keeper, good: bytes) -> None:
    files = unpacked(good)
    assert keeper.upload("rewritten", packed(sealed(files))).json()["result"] is True
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        assert keeper.upload("rewritten", packed(sealed(files), form)).json()["result"] is True


def test_a_wrong_checksum_is_refused(keeper: Keeper, collection: Collection, good: bytes) -> None:
    with collection.unchanged():
        response = keeper.upload(collection.name, good, checksum="0" * 64)
        assert response.status_code == 400 and "checksum" in response.text
        made = keeper.create(collection.name)
        body = {"location": keeper.location(collection.name, made["name"]), "checksum": "f" * 64}
        assert "checksum" in keeper.client.refusal(400, "PUT", f"{collection.path}/snapshots/recover", body)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **facts: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


STRANGE_MEMBERS: Final = {
    "path that climbs": (member("../../etc/cron.d/x", content=b"x"), "no place"),
    "absolute path": (member("/etc/passwd", content=b"x"), "no place"),
    "path of Windows": (member("C:\\x", content=b"x"), "no place"),
    "unknown file": (member("segments/graph.usearch", content=b"x"), "no place"),
    "second database": (member("collection.sqlite", content=b"x"), "two files"),
    "symbolic link": (member("config.json", tarfile.SYMTYPE, linkname="/etc/passwd"), "symbolic link"),
    "hard link": (member("config.json", tarfile.LNKTYPE, linkname="manifest.json"), "hard link"),
    "device": (member("config.json", tarfile.CHRTYPE), "device"),
    "pipe": (member("config.json", tarfile.FIFOTYPE), "pipe"),
    "folder": (member("config.json", tarfile.DIRTYPE), "folder"),
    "sparse file": (member("config.json", tarfile.GNUTYPE_SPARSE), "sparse"),
    "long name": (member("x" * 300, content=b"x"), "not a regular file"),
    "extended header": (member("config.json", b"x", content=b"30 GNU.sparse.size=99999999\n"), "not a regular file"),
}


@pytest.mark.parametrize("case", STRANGE_MEMBERS)
def test_a_strange_member_is_refused(keeper: Keeper, collection: Collection, good: bytes, case: str) -> None:
    (info, content), reason = STRANGE_MEMBERS[case]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, text in unpacked(good).items():
            archive.addfile(member(name, content=text)[0], io.BytesIO(text))
        archive.addfile(info, io.BytesIO(content))
    assert reason in refusal(keeper, collection, buffer.getvalue())


def bytes_cases(good: bytes) -> Iterator[tuple[str, bytes, str]]:
    files = unpacked(good)
    yield "nothing", b"", "too early"
    yield "no archive", b"not a tar archive at all" * 100, "not a tar"
    yield "zeros", bytes(10_240), "not an archive of vdb's"
    yield "half", good[: len(good) // 2], "too early"
    yield "without its end", good[:-1024], "too early"
    yield "without the last block", good[:-512], "too early"
    yield "something behind it", good + b"x" * 512, "follows its end"
    yield "endless zeros behind it", good + bytes(200_000), "follows its end"
    yield "damaged content", good[:-5000] + bytes([good[-5000] ^ 1]) + good[-4999:], "checksum"
    yield "damaged header", b"n" + good[1:], "damaged"
    yield "compressed", gzipped(good), "not a tar"
    yield "another order", packed({name: files[name] for name in reversed(_NAMES)}), "first file"
    yield "no manifest", packed({name: files[name] for name in _NAMES[1:]}), "first file"
    yield "no database", packed(sealed({**files, "collection.sqlite": None})), "does not hold"
    yield "size that is a lie", resized(good, 2**33 - 1), "too early"
    yield "size beyond all files", resized(good, 2**80), "too early"
    yield "size that is no number", resized(good, None), "no number"
    manifest = json.loads(files["manifest.json"])
    for name, change, reason in (
        ("newer format", {"format": 2}, "format 2 is unknown"),
        ("another kind", {"kind": "storage"}, "not of a collection"),
        ("no kind", {"kind": "surprise"}, "manifest cannot be read"),
        ("described otherwise", {"files": manifest["files"][:1]}, "describes other files"),
        ("described twice", {"files": [*manifest["files"], manifest["files"][0]]}, "describes other files"),
    ):
        yield name, packed({**files, "manifest.json": json.dumps({**manifest, **change}).encode()}), reason
    yield "manifest that is none", packed({**files, "manifest.json": b"{" * 5000}), "manifest cannot be read"
    yield (
        "manifest of depth",
        packed({**files, "manifest.json": b'{"format":1,"x":' + b"[" * 50_000}),
        "manifest cannot",
    )
    config = json.loads(files["config.json"])
    for name, text in (
        ("config that is none", b"[]"),
        ("config of depth", b"[" * 50_000),
        ("config in no encoding", b'{"params":"\xff"}'),
        ("vector without size", json.dumps({**config, "params": {"vectors": {"size": 0, "distance": "Dot"}}}).encode()),
        ("many shards", json.dumps({**config, "params": {**config["params"], "shard_number": 2}}).encode()),
        ("name of a vector", json.dumps(config).replace('"short"', '"../short"').encode()),
    ):
        yield name, packed(sealed({**files, "config.json": text})), "config.json"
    wide = json.dumps(config).replace('"size": 8', '"size": 9').encode()
    yield "another size", packed(sealed({**files, "config.json": wide})), "has not 9 dimensions"


def test_archives_that_are_damaged_or_no_archives_are_refused(
    keeper: Keeper, collection: Collection, good: bytes
) -> None:
    with collection.unchanged():
        for number, (case, content, reason) in enumerate(bytes_cases(good)):
            answer = keeper.upload(collection.name if number % 2 else "never-made", content)
            assert answer.status_code == 400 and reason in answer.text, (case, answer.text)
    assert keeper.left_behind() == []


def test_forms_that_are_none_are_refused(keeper: Keeper, collection: Collection, good: bytes) -> None:
    url = f"{keeper.server.url}{collection.path}/snapshots/upload"
    form = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="snapshot"; filename="x"\r\n\r\n'
    with collection.unchanged():
        assert keeper.upload(collection.name, good, field="other").status_code == 400
        for headers, content in (
            ({}, good),
            ({"content-type": "application/json"}, b"{}"),
            ({"content-type": "multipart/form-data"}, good),
            ({"content-type": "multipart/form-data; boundary=" + "b" * 3000}, good),
            (form, b""),
            (form, good),
            (form, part + good),
            (form, part + good + b"\r\n" + part + good + b"\r\n--b--\r\n"),
            (form, b"--b\r\nnot a header\r\n\r\n\r\n--b--\r\n"),
            (form, b"--b\r\n" + b"x" * 500_000),
            (
                form,
                b"".join(b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n\r\n' for _ in range(50)) + b"--b--",
            ),
        ):
            response = httpx.post(url, headers=headers, content=content, timeout=60)
            assert response.status_code == 400, (headers, content[:80], response.text)
            assert response.json()["status"]["error"]
    assert keeper.left_behind() == []


def test_a_file_beyond_the_limit_is_refused(keeper: Keeper, collection: Collection) -> None:
    with collection.unchanged():
        response = keeper.upload(collection.name, bytes(65 * 2**20))
    assert response.status_code == 413
    assert "snapshots_max_size_mb" in response.text
    assert keeper.left_behind() == []


def test_a_storage_snapshot_is_refused_whole(keeper: Keeper, collection: Collection, good: bytes) -> None:
    def full(members: dict[str, bytes], collections: list[dict[str, str]], aliases: bytes = b'{"actions":[]}') -> bytes:
        return packed(sealed({"aliases.json": aliases, **members}, kind="storage", collections=collections))

    def entry(name: str, file: str) -> dict[str, str]:
        return {"name": name, "file": file}

    alias = json.dumps({"actions": [{"create_alias": {"collection_name": "nobody", "alias_name": "a"}}]}).encode()
    taken = json.dumps(
        {"actions": [{"create_alias": {"collection_name": "new", "alias_name": collection.name}}]}
    ).encode()
    for content in (
        good,
        full(
            {"0001.snapshot": good, "0002.snapshot": b"no archive"},
            [entry("new", "0001.snapshot"), entry("x", "0002.snapshot")],
        ),
        full({"0001.snapshot": good}, [entry("../new", "0001.snapshot")]),
        full({"0001.snapshot": good}, [entry("new", "0001.snapshot"), entry("new", "0001.snapshot")]),
        full({"0001.snapshot": good}, [entry("new", "0002.snapshot")]),
        full({"0001.snapshot": good}, [entry("new", "0001.snapshot")], b"[]"),
        full({"0001.snapshot": good}, [entry("new", "0001.snapshot")], alias),
        full({"0001.snapshot": good}, [entry("new", "0001.snapshot")], taken),
    ):
        with collection.unchanged():
            assert keeper.send("/snapshots/upload", content).status_code in (400, 404, 409)
    assert keeper.left_behind() == []
    assert keeper.send("/snapshots/upload", full({"0001.snapshot": good}, [entry("new", "0001.snapshot")])).is_success
