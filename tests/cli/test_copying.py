"""``vdb import`` and ``vdb export``: points go out and come back as they were, in every format and between servers."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import pytest

from tests.cli.command import fails, succeeds, tells, vdb
from tests.http.client import Client, Collection

MIXED: Final[dict[str, Any]] = {
    "vectors": {
        "image": {"size": 3, "distance": "Dot"},
        "tokens": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {"modifier": "idf"}},
    "hnsw_config": {"m": 8},
    "quantization_config": {"scalar": {"type": "int8"}},
}
POINTS: Final[list[dict[str, Any]]] = [
    {
        "id": 1,
        "vector": {"image": [1, 2, 0.1], "tokens": [[1, 0], [0, 1]], "words": {"indices": [1, 5], "values": [0.5, 2]}},
        "payload": {"text": 'a "quoted"\nline', "tags": ["é", None], "n": 12345678901234567},
    },
    {"id": 2**64 - 1, "vector": {"image": [0.3, 0, 0]}},
    {"id": "6f1c2f0e-9f0a-4b52-8a4e-3a8f5d6c7b8a", "vector": {}, "payload": {"n": 1}},
]
NAMES: Final = itertools.count()


@pytest.fixture
def mixed(client: Client) -> Iterator[Collection]:
    collection = client.create(f"mixed{next(NAMES)}", **MIXED)
    collection.upsert(*POINTS)
    schema = {"field_name": "n", "field_schema": {"type": "integer", "range": True, "lookup": False}}
    client.result("PUT", f"{collection.path}/index", schema, wait="true")
    yield collection
    client.result("DELETE", collection.path)


@pytest.fixture
def plain(client: Client) -> Iterator[Collection]:
    """Seven points of four dimensions."""
    collection = client.create(f"plain{next(NAMES)}")
    collection.upsert(*({"id": n, "vector": [n, 1, 0.5, 0], "payload": {"n": n}} for n in range(7)))
    yield collection
    client.result("DELETE", collection.path)


def copy_of(client: Client, name: str) -> Collection:
    return Collection(client, name)


def settings(collection: Collection) -> Any:
    info = collection.info()
    return info["config"], {path: index["params"] for path, index in info["payload_schema"].items()}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_collection_goes_into_a_file_and_comes_back_with_its_settings(
    mixed: Collection, other: Client, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"points{suffix}"
    written = tells("export", file, "-c", mixed.name, "--url", mixed.client.url, "--batch-size", "2")
    assert written["points"] == 3
    assert written["files"] == [str(file), str(tmp_path / "points.collection.json")]
    name = f"{mixed.name}{suffix}"
    read = tells("import", file, "-c", name, "--url", other.url, "--batch-size", "2")
    assert (read["points"], read["created"]) == (3, True)
    copy = copy_of(other, name)
    assert copy.all() == mixed.all()
    assert settings(copy) == settings(mixed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["points.collection.json", file.name]


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_collection_goes_from_server_to_server(
    mixed: Collection, other: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{mixed.name}-{command}"
    if command == "import":
        places = ["-c", name, "--url", other.url, "--from-url", mixed.client.url, "--from-collection", mixed.name]
    else:
        places = ["-c", mixed.name, "--url", mixed.client.url, "--to-url", other.url, "--to-collection", name]
    assert tells(command, *places, "--batch-size", "1")["points"] == 3
    copy = copy_of(other, name)
    assert copy.all() == mixed.all()
    assert settings(copy) == settings(mixed)
    assert list(tmp_path.iterdir()) == []


def test_limits_of_strict_mode_are_copied_and_do_not_hinder_the_copy(
    plain: Collection, other: Client, tmp_path: Path
) -> None:
    strict = {"enabled": True, "upsert_max_batchsize": 2}
    plain.client.result("PATCH", plain.path, {"strict_mode_config": strict})
    file = tmp_path / "points.jsonl"
    succeeds("export", file, "-c", plain.name, "--url", plain.client.url)
    succeeds("import", file, "-c", "strict", "--url", other.url)
    assert copy_of(other, "strict").info()["config"]["strict_mode_config"] == strict
    assert copy_of(other, "strict").count() == 7


def test_a_matrix_has_a_row_for_each_point(plain: Collection, other: Client, tmp_path: Path) -> None:
    file = tmp_path / "points.npy"
    succeeds("export", file, "-c", plain.name, "--url", plain.client.url, "--batch-size", "3")
    assert np.load(file).tolist() == [point["vector"] for point in plain.all()]
    lines = (tmp_path / "points.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"id": n, "payload": {"n": n}} for n in range(7)]
    succeeds("import", file, "-c", "from-matrix", "--url", other.url, "--batch-size", "2")
    assert copy_of(other, "from-matrix").all() == plain.all()


def test_named_vectors_have_a_matrix_each(client: Client, other: Client, tmp_path: Path) -> None:
    collection = client.create("two", vectors={name: {"size": 2, "distance": "Dot"} for name in ("a", "b")})
    collection.upsert(*({"id": n, "vector": {"a": [n, 1], "b": [0, n]}} for n in range(3)))
    succeeds("export", tmp_path / "two.npy", "-c", "two", "--url", client.url)
    assert sorted(path.name for path in tmp_path.glob("*.npy")) == ["two.a.npy", "two.b.npy"]
    succeeds("import", tmp_path / "two.npy", "-c", "two", "--url", other.url)
    assert copy_of(other, "two").all() == collection.all()
    client.result("DELETE", collection.path)


def test_a_matrix_alone_is_enough_and_payloads_may_stand_beside_it(other: Client, tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float16).reshape(4, 3)
    np.save(tmp_path / "alone.npy", matrix)
    read = tells("import", tmp_path / "alone.npy", "-c", "alone", "--url", other.url, "--distance", "Dot")
    assert (read["points"], read["created"]) == (4, True)
    alone = copy_of(other, "alone")
    assert [(point["id"], point["vector"]) for point in alone.all()] == list(enumerate(matrix.tolist()))
    assert alone.info()["config"]["params"]["vectors"] == {"size": 3, "distance": "Dot"}
    with gzip.open(tmp_path / "alone.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"name": f"row {row}"}) + "\n" for row in range(4))
    assert tells("import", tmp_path / "alone.npy", "-c", "alone", "--url", other.url)["created"] is False
    assert [point["payload"] for point in alone.all()] == [{"name": f"row {row}"} for row in range(4)]


def test_a_table_of_other_columns_becomes_payloads(other: Client, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2, 3, 4, 5, 6]), 2)
    table = pa.table({"id": [7, 8, 9], "vector": vectors, "name": ["a", None, "c"], "size": [1, 2, 3]})
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=2)
    succeeds("import", tmp_path / "table.parquet", "-c", "table", "--url", other.url, "--distance", "Dot")
    assert copy_of(other, "table").all() == [
        {"id": 7, "vector": [1.0, 2.0], "payload": {"name": "a", "size": 1}},
        {"id": 8, "vector": [3.0, 4.0], "payload": {"size": 2}},
        {"id": 9, "vector": [5.0, 6.0], "payload": {"name": "c", "size": 3}},
    ]


def test_a_matrix_that_cannot_hold_the_vectors_is_refused_and_leaves_nothing(
    mixed: Collection, client: Client, tmp_path: Path
) -> None:
    message = fails("export", tmp_path / "x.npy", "-c", mixed.name, "--url", client.url)
    assert message.endswith("x.npy: .npy cannot hold vector `tokens`; export to .jsonl or .parquet")
    gaps = client.create("gaps")
    gaps.upsert({"id": 1, "vector": [1, 0, 0, 0]}, {"id": 2, "vector": {}})
    message = fails("export", tmp_path / "x.npy", "-c", "gaps", "--url", client.url)
    assert message.startswith("point 2 has no vector, and .npy has a row for every point")
    client.result("DELETE", gaps.path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_overwrites_only_when_it_is_told_to(plain: Collection, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    file.write_text("precious\n" * 1_000)
    arguments: list[str | Path] = ["export", file, "-c", plain.name, "--url", plain.client.url]
    assert fails(*arguments).endswith("is there already: --force overwrites it, --resume goes on with it")
    succeeds(*arguments, "--force")
    assert len(file.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": 1, "vector": [1, 0]}\n{"id": 2, "vektor": []}\n', "line 2: Object contains unknown field `vektor`"),
        ('{"id": 1}\n\n{"id": 2\n', "line 3: Input data was truncated"),
        ('{"id": 1, "vector": [1, 2, 3, 4]}\n', "lines 1 to 1: Wrong input: Vector dimension error"),
        ("", "has no points to tell by what collection"),
    ],
    ids=["unknown key", "torn line", "wrong dimension", "empty"],
)
def test_a_wrong_file_is_named_with_the_place(other: Client, tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "points.jsonl"
    file.write_text(lines)
    name = "wrong" if lines else "absent"
    if lines:
        other.result("PUT", "/collections/wrong", {"vectors": {"size": 2, "distance": "Dot"}})
    told = fails("import", file, "-c", name, "--url", other.url)
    assert message in told and str(file) in told
    other.result("DELETE", f"/collections/{name}")


def test_wrong_arguments_leave_with_2(tmp_path: Path) -> None:
    assert vdb("import", "-c", "x").exit_code == 2
    assert vdb("import", "a.jsonl", "--from-url", "http://x", "-c", "x").exit_code == 2
    assert vdb("import", "a.jsonl").exit_code == 2
    assert vdb("export", "-c", "x").exit_code == 2
    assert "must end with .jsonl" in fails("import", tmp_path / "points.csv", "-c", "x")
    assert "No such file" in fails("import", tmp_path / "absent.jsonl", "-c", "x", "--url", "http://127.0.0.1:9")


def test_parquet_names_the_package_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "vdb.cli.formats.parquet", raising=False)
    message = fails("import", tmp_path / "points.parquet", "-c", "x")
    assert message == "Parquet needs the package pyarrow: pip install 'vdb[parquet]'"


def test_a_collection_that_is_not_there_is_named(client: Client, tmp_path: Path) -> None:
    message = fails("export", tmp_path / "x.jsonl", "-c", "absent", "--url", client.url)
    assert message == "Not found: Collection `absent` doesn't exist! (404, GET /collections/absent)"


class Flaky(BaseHTTPRequestHandler):
    """Stands before a server and breaks the connection at the write (or page) that ``breaks_at`` counts down to."""

    protocol_version = "HTTP/1.1"
    upstream: Client
    breaks_at: int
    counted: str

    def _pass_on(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else None
        path, _, query = self.path.partition("?")
        if path.endswith(self.counted):
            type(self).breaks_at -= 1
            if self.breaks_at <= 0:
                self.close_connection = True
                return
        answer = self.upstream.send(self.command, path, body, **dict(parse_qsl(query)))
        self.send_response(answer.status_code)
        self.send_header("content-length", str(len(answer.content)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = _pass_on

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def flaky(client: Client) -> Iterator[type[Flaky]]:
    """A handler class whose server runs; ``url`` says where."""

    class Handler(Flaky):
        upstream = client
        breaks_at = 3
        counted = "/points"
        url = ""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        Handler.url = f"http://127.0.0.1:{server.server_port}"
        yield Handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", [".jsonl", ".npy", ".parquet"])
def test_an_interrupted_import_goes_on_at_the_last_confirmed_batch(
    plain: Collection, client: Client, flaky: Any, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"points{suffix}"
    succeeds("export", file, "-c", plain.name, "--url", client.url)
    name = f"resumed{suffix}"
    arguments = ["import", file, "-c", name, "--url", flaky.url, "--batch-size", "2", "--connections", "1"]
    assert "cannot reach" in fails(*arguments)
    copy = copy_of(client, name)
    assert copy.count() == 4
    flaky.breaks_at = 100
    resumed = tells(*arguments, "--resume")
    assert (resumed["points"], resumed["created"]) == (3, True)
    assert copy.all() == plain.all()
    assert "nothing to resume" in fails(*arguments, "--resume")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".npy", ".parquet"])
def test_an_interrupted_export_goes_on_behind_the_last_page(
    plain: Collection, client: Client, other: Client, flaky: Any, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    flaky.counted = "/scroll"
    file = tmp_path / f"points{suffix}"
    arguments = ["export", file, "-c", plain.name, "--url", flaky.url, "--batch-size", "2"]
    assert "cannot reach" in fails(*arguments)
    flaky.breaks_at = 100
    assert tells(*arguments, "--resume")["points"] == 3
    name = f"exported{suffix}"
    succeeds("import", file, "-c", name, "--url", other.url)
    assert copy_of(other, name).all() == plain.all()


def test_a_state_of_another_copy_is_refused(plain: Collection, client: Client, flaky: Any, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    succeeds("export", file, "-c", plain.name, "--url", client.url)
    fails("import", file, "-c", "half", "--url", flaky.url, "--batch-size", "2", "--connections", "1")
    assert "belongs to another copy" in fails("import", file, "-c", "other", "--url", client.url, "--resume")


def test_busy_servers_are_asked_again(plain: Collection, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    succeeds("export", file, "-c", plain.name, "--url", client.url)
    seen: list[int] = []

    class Busy(Flaky):
        upstream = client
        breaks_at = 1_000
        counted = "/points"

        def do_PUT(self) -> None:
            if self.path.split("?")[0].endswith("/points") and not seen:
                seen.append(int(self.headers["content-length"]))
                self.rfile.read(seen[0])
                self.send_response(429)
                self.send_header("retry-after", "0")
                self.send_header("content-length", "0")
                self.end_headers()
            else:
                self._pass_on()

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert tells("import", file, "-c", "busy", "--url", url, "--connections", "1")["points"] == 7
        server.shutdown()
        thread.join()
    assert seen and copy_of(client, "busy").count() == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl+C to whole consoles")
def test_ctrl_c_leaves_with_130_and_says_how_to_go_on(client: Client, tmp_path: Path) -> None:
    fifo = tmp_path / "points.jsonl"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "vdb", "import", str(fifo), "-c", "interrupted", "--url", client.url]
    client.create("interrupted", vectors={"size": 1, "distance": "Dot"})
    process = subprocess.Popen([*command, "--batch-size", "1"], stderr=subprocess.PIPE, text=True)
    with process, fifo.open("w"):  # which waits until it reads
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Interrupted"
