"""``vdb check`` and ``vdb repair``: damage is found, named after what it is, and repaired where it can be."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.cli.command import fails, succeeds, vdb
from tests.http.client import Client, Collection
from tests.http.running_server import serving, until

POINTS: Final = 400
CONFIG: Final[dict[str, Any]] = {
    "vectors": {
        "a": {"size": 8, "distance": "Dot"},
        "half": {"size": 4, "distance": "Cosine", "datatype": "float16"},
        "tokens": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {}},
    "optimizers_config": {"indexing_threshold": 1},
}
INDEXES: Final = {"section": "keyword", "size": "integer", "text": "text"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a server that stopped: sealed segments with dead rows, vectors in memory, field-index files."""
    storage = tmp_path_factory.mktemp("check") / "storage"
    random = np.random.default_rng(7)
    with serving(storage) as server:
        client = Client(server.url)
        collection = client.create("damaged", **CONFIG)
        collection.upsert(*(point(number, random) for number in range(POINTS)))
        for field, schema in INDEXES.items():
            body = {"field_name": field, "field_schema": schema}
            client.result("PUT", f"{collection.path}/index", body, wait="true")
        until(lambda: collection.info()["status"] == "green" and collection.info()["indexed_vectors_count"] > 0)
        collection.change("POST", "/delete", {"points": [3, 4]})
        collection.upsert(point(5, random), point(POINTS, random))
        client.create("empty")
        until(lambda: len(list(storage.glob("collections/damaged-*/fields/*.index"))) == len(INDEXES))
        client.close()
    return storage


def point(number: int, random: np.random.Generator) -> dict[str, Any]:
    return {
        "id": number,
        "vector": {
            "a": random.normal(size=8).round(3).tolist(),
            "half": random.normal(size=4).round(3).tolist(),
            "tokens": random.normal(size=(number % 3 + 1, 2)).round(3).tolist(),
            "words": {"indices": [number, number + 1], "values": [1, 2]},
        },
        "payload": {"section": f"s{number % 5}", "size": number, "text": f"the {number} texts of people"},
    }


@pytest.fixture
def storage(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "storage")


def collection_folder(storage: Path) -> Path:
    (folder,) = storage.glob("collections/damaged-*")
    return folder


def run(storage: Path, *statements: str) -> None:
    connection = sqlite3.connect(collection_folder(storage) / "collection.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def findings(storage: Path) -> list[tuple[str, str, str]]:
    """(kind, file, what) of all that is wrong."""
    result = vdb("check", "--storage-path", storage, "--json")
    told = json.loads(result.stdout)
    found = [
        (one["kind"], Path(one["path"]).name, one["what"])
        for collection in told["collections"]
        for one in collection["findings"]
    ]
    assert result.exit_code == (1 if found or told["catalog"] else 0)
    assert told["whole"] is (not found and not told["catalog"])
    return found


def image(storage: Path) -> dict[str, str]:
    """Every file with its content."""
    files = (path for path in storage.rglob("*") if path.is_file())
    return {str(path.relative_to(storage)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def all_points(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    copy = shutil.copytree(whole, tmp_path_factory.mktemp("points") / "storage")
    with points_of(copy) as points:
        return points.all()


class points_of:
    """The collection on a server of its own, for a block."""

    def __init__(self, storage: Path) -> None:
        self._serving = serving(storage)

    def __enter__(self) -> Collection:
        self._client = Client(self._serving.__enter__().url)
        return Collection(self._client, "damaged")

    def __exit__(self, *error: Any) -> None:
        self._client.close()
        self._serving.__exit__(*error)


def test_a_whole_storage_is_whole_and_stays_as_it_is(storage: Path) -> None:
    before = image(storage)
    shown = succeeds("check", "--storage-path", storage)
    lines = shown.splitlines()
    assert lines[0] == "ok       catalog.sqlite: 2 collections"
    assert lines[1].startswith(f"ok       damaged: {POINTS - 1} points, ")
    assert lines[1].endswith(f"segments, {len(INDEXES)} field-index files")
    assert lines[-1] == f"{storage} is whole"
    assert findings(storage) == []
    assert "nothing to repair" in succeeds("repair", "--storage-path", storage)
    after = image(storage)
    after.pop(".lock", None)
    before.pop(".lock", None)
    assert after == before


def test_a_running_server_is_looked_at_and_not_repaired(storage: Path) -> None:
    with points_of(storage) as points:
        points.upsert({"id": 1, "vector": {}}, {"id": 9_999, "vector": {"a": [1] * 8}})
        assert findings(storage) == []
        assert "is in use by another vdb server" in fails("repair", "--storage-path", storage)


def test_what_a_crash_leaves_behind_is_whole(storage: Path) -> None:
    folder = collection_folder(storage)
    connection = sqlite3.connect(folder / "collection.sqlite", isolation_level=None)
    connection.execute("INSERT INTO log SELECT max(seq) + 1, at, kind, points, body, vectors FROM log")
    crashed = shutil.copytree(storage, storage.with_name("crashed"))
    connection.close()
    assert (collection_folder(crashed) / "collection.sqlite-wal").stat().st_size > 0
    assert findings(crashed) == []


def test_damaged_derived_files_are_told_apart_and_repaired(storage: Path, all_points: Any) -> None:
    folder = collection_folder(storage)
    graph = next(folder.glob("segments/*/*.graph"))
    graph.write_bytes(graph.read_bytes()[:-1])
    index = next(folder.glob("fields/*.index"))
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    found = findings(storage)
    assert [kind for kind, _, _ in found] == ["derived", "derived"]
    assert [name for _, name, _ in found] == [graph.name, index.name]
    result = vdb("check", "--storage-path", storage)
    assert "DAMAGED  damaged" in result.stdout
    assert result.stderr.endswith("stop the server and run `vdb repair`; nothing is lost\n")
    done = succeeds("repair", "--storage-path", storage)
    assert f"removed segment {graph.parent.name}" in done and f"removed {index}" in done
    assert not graph.parent.exists() and not index.exists()
    assert findings(storage) == []
    with points_of(storage) as points:
        assert points.all() == all_points
        until(lambda: points.info()["status"] == "green" and points.info()["indexed_vectors_count"] > 0)
        assert points.points("POST", "/count", {"filter": {"must": [{"key": "section", "match": {"value": "s1"}}]}})


def test_a_segment_that_has_other_vectors_than_the_database_is_found(storage: Path) -> None:
    run(storage, "UPDATE vectors SET data = zeroblob(32) WHERE key = (1 << 32) + 100")
    (found,) = findings(storage)
    assert found[0] == "derived" and found[1].endswith(".matrix")
    assert found[2] == "1 vectors are not those of the database"
    assert vdb("check", "--quick", "--storage-path", storage).exit_code == 0
    succeeds("repair", "--storage-path", storage)
    assert findings(storage) == []
    with points_of(storage) as points:
        assert points.get(100)["vector"]["a"] == [0] * 8
        exact = points.query(query=[1] * 8, using="a", limit=500, params={"exact": True})
        assert {hit["score"] for hit in exact if hit["id"] == 100} == {0.0}


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM unsealed", "are neither in a segment nor in `unsealed`"),
        ("INSERT OR IGNORE INTO unsealed SELECT key FROM vectors WHERE key = (1 << 32) + 7", "in more than one place"),
        ("DELETE FROM tombstones", "are in"),
    ],
    ids=["lost", "doubled", "undead"],
)
def test_vectors_that_lie_nowhere_or_twice_are_found_and_placed_again(storage: Path, statement: str, what: str) -> None:
    run(storage, statement)
    found = findings(storage)
    assert {kind for kind, _, _ in found} == {"derived"}
    assert any(name == "collection.sqlite" and what in text for _, name, text in found)
    assert "removed all segments" in succeeds("repair", "--storage-path", storage)
    assert findings(storage) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payloads SET body = json_set(body, '$.section', 'edited') WHERE num = 10",
        "DELETE FROM payloads WHERE num = 10",
        "UPDATE payloads SET body = json_set(body, '$.text', 'newwords') WHERE num = 10",
        "UPDATE payloads SET body = json_set(body, '$.size', 5.5) WHERE num = 10",
    ],
)
def test_payloads_that_were_changed_by_sql_are_noticed(storage: Path, statement: str) -> None:
    run(storage, statement)
    found = findings(storage)
    assert found
    assert {what for _, _, what in found} == {
        "it does not say what the payloads say (they were changed without the server)"
    }
    succeeds("repair", "--storage-path", storage)
    assert findings(storage) == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM points WHERE num = 10", "1 payloads belong to no point"),
        ("UPDATE payloads SET body = 'no JSON' WHERE num = 10", "1 payloads are not JSON objects"),
        ("UPDATE payloads SET body = '[1]' WHERE num = 10", "1 payloads are not JSON objects"),
        ("UPDATE points SET version = 1000000 WHERE num = 10", "1 points have a version that the log has not reached"),
        ("UPDATE vectors SET data = x'00' WHERE key = (1 << 32) + 10", "1 vectors `a` are not 8 numbers long"),
        ("UPDATE points SET id = 'x' WHERE num = 10", "1 points have an id of the wrong type"),
    ],
)
def test_a_damaged_truth_is_named_and_not_repaired(storage: Path, statement: str, what: str) -> None:
    run(storage, statement)
    assert ("truth", "collection.sqlite", what) in findings(storage)
    result = vdb("repair", "--storage-path", storage)
    assert result.exit_code == 1
    assert "put a backup in their place" in result.stderr
    assert ("truth", "collection.sqlite", what) in findings(storage)


def test_a_torn_database_is_damaged_truth_and_others_are_looked_at(storage: Path) -> None:
    database = collection_folder(storage) / "collection.sqlite"
    content = bytearray(database.read_bytes())
    content[16_384 * 2 : 16_384 * 4] = b"?" * 16_384 * 2
    database.write_bytes(content)
    assert {(kind, name) for kind, name, _ in findings(storage)} == {("truth", "collection.sqlite")}
    assert "ok       empty" in vdb("check", "--storage-path", storage).stdout
    database.write_bytes(b"not a database" * 1_000)
    assert [kind for kind, _, _ in findings(storage)] == ["truth"]
    database.unlink()
    assert findings(storage) == [("truth", "collection.sqlite", "is missing")]


def test_a_torn_catalog_is_named(storage: Path) -> None:
    (storage / "catalog.sqlite").write_bytes(b"not a database" * 1_000)
    result = vdb("check", "--storage-path", storage)
    assert result.exit_code == 1
    assert "truth    " in result.stdout and "catalog.sqlite: file is not a database" in result.stdout


def test_a_configuration_that_cannot_be_read_is_named(storage: Path) -> None:
    connection = sqlite3.connect(storage / "catalog.sqlite", isolation_level=None)
    connection.execute("UPDATE collections SET config = '{}' WHERE name = 'damaged'")
    connection.close()
    (found,) = findings(storage)
    assert found[:2] == ("truth", "catalog.sqlite")
    assert found[2].startswith("the configuration of `damaged` cannot be read: ")


def test_everything_derived_is_rebuilt_on_demand(storage: Path, all_points: Any) -> None:
    done = succeeds("repair", "--segments", "--fields", "-c", "damaged", "--storage-path", storage)
    assert "removed all segments" in done and f"removed {len(INDEXES)} field-index files" in done
    assert findings(storage) == []
    with points_of(storage) as points:
        assert points.all() == all_points


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_a_folder_that_is_no_storage_is_refused_and_not_made(elsewhere: Path) -> None:
    assert fails("check") == "storage is no storage folder: it has no catalog.sqlite"
    assert fails("repair") == "storage is no storage folder"
    assert list(elsewhere.iterdir()) == []


def test_a_collection_that_is_not_there_is_named_offline(storage: Path) -> None:
    assert fails("check", "-c", "absent", "--storage-path", storage).endswith("has no collection `absent`")
