"""The administrators' scripts, each tried on the storage of a server that stopped."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.command import fails, succeeds, vdb
from tests.http.client import Client, Collection
from tests.http.running_server import serving, until

ROOT: Final = Path(__file__).resolve().parents[2]
UUID: Final = "6f1c2f0e-9f0a-4b52-8a4e-3a8f5d6c7b8a"
SPANISH: Final = {"filter": {"must": [{"key": "country", "match": {"value": "ES"}}]}}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four places, an index of their country with a file, and an empty collection."""
    storage = tmp_path_factory.mktemp("scripts") / "storage"
    with serving(storage) as server:
        client = Client(server.url)
        places = client.create("places", vectors={"size": 2, "distance": "Dot"})
        places.upsert(
            {"id": 1, "vector": [1, 0], "payload": {"city": "Rome", "country": "it"}},
            {"id": 2**64 - 1, "vector": [0, 1], "payload": {"city": "Cádiz", "country": "es", "tags": ["sea", 2]}},
            {"id": UUID, "vector": [1, 1], "payload": {"city": 'Vigo, "the"', "country": "es"}},
            {"id": 4, "vector": [2, 2]},
        )
        body = {"field_name": "country", "field_schema": "keyword"}
        client.result("PUT", f"{places.path}/index", body, wait="true")
        until(lambda: list(storage.glob("collections/places-*/fields/*.index")) != [])
        client.create("empty")
        client.close()
    return storage


@pytest.fixture
def storage(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "storage")


def run(script: str, *arguments: str | Path, code: int = 0) -> str:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout if code == 0 else ran.stdout + ran.stderr


def database(storage: Path) -> Path:
    (folder,) = storage.glob("collections/places-*")
    return folder / "collection.sqlite"


def test_stats_count_what_is_there(storage: Path) -> None:
    empty, places = json.loads(run("stats.py", storage))
    assert (empty["collection"], empty["points"]) == ("empty", 0)
    assert (places["points"], places["payloads"], places["vectors_in_memory"]) == (4, 3, 4)
    assert places["vectors"] == [{"name": "", "dim": 2, "datatype": "float32", "vectors": 4}]
    assert places["fields_bytes"] > 0


def test_orphans_are_found_and_deleted(storage: Path) -> None:
    assert run("orphans.py", storage) == ""
    connection = sqlite3.connect(database(storage), isolation_level=None)
    connection.execute("DELETE FROM points WHERE id = 1")
    connection.close()
    (storage / "collections" / "nobody").mkdir()
    found = run("orphans.py", storage, code=1)
    assert "nobody: nothing names it" in found
    assert "1 orphans in payloads" in found and "1 orphans in vectors" in found
    assert "Databases are damaged" in vdb("check", "--storage-path", storage).stderr
    assert "1 deleted in payloads" in run("orphans.py", storage, "--delete")
    (storage / "collections" / "nobody").rmdir()
    assert run("orphans.py", storage) == ""
    succeeds("repair", "--storage-path", storage)
    assert "is whole" in succeeds("check", "--storage-path", storage)


def test_payloads_are_migrated_so_that_a_server_notices(storage: Path) -> None:
    arguments: list[str | Path] = [storage, "places", "json_set(body, '$.country', upper(body ->> '$.country'))"]
    assert json.loads(run("migrate_payloads.py", *arguments, "--dry-run").splitlines()[-1]) == {
        "changed": 0,
        "would_change": 3,
    }
    told = run("migrate_payloads.py", *arguments, "--where", "body ->> '$.country' = 'es'")
    assert json.loads(told.splitlines()[-1]) == {"changed": 2, "would_change": 2}
    assert "is whole" in succeeds("check", "--storage-path", storage)
    connection = sqlite3.connect(database(storage))
    rows = connection.execute("SELECT kind, body ->> '$.ids' FROM v_operations ORDER BY seq DESC LIMIT 2").fetchall()
    connection.close()
    assert sorted(rows) == [
        ("overwrite_payload", f'["{UUID}"]'),
        ("overwrite_payload", "[18446744073709551615]"),
    ]
    with serving(storage) as server:
        client = Client(server.url)
        places = Collection(client, "places")
        assert places.points("POST", "/count", SPANISH) == {"count": 2}
        assert {point["id"] for point in places.points("POST", "/scroll", SPANISH)["points"]} == {2**64 - 1, UUID}
        refused = run("migrate_payloads.py", *arguments, code=1)
        assert "is in use by another vdb server" in refused
        client.close()


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("'[1]'", "does not make a JSON object of every payload: nothing was changed"),
        ("NULL", "does not make a JSON object of every payload: nothing was changed"),
        ("nonsense(", "syntax error"),
        ("'no JSON'", "malformed JSON"),
    ],
)
def test_a_wrong_migration_changes_nothing(storage: Path, expression: str, why: str) -> None:
    assert why in run("migrate_payloads.py", storage, "places", expression, code=1)
    assert "has no collection `absent`" in run("migrate_payloads.py", storage, "absent", "body", code=1)
    assert "is whole" in succeeds("check", "--storage-path", storage)


def test_points_become_a_table(storage: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("export_csv.py", storage, "places"))))
    assert [row["id"] for row in rows] == ["1", "4", str(2**64 - 1), UUID]
    assert rows[2] == {"id": str(2**64 - 1), "city": "Cádiz", "country": "es", "tags": '["sea", 2]'}
    assert rows[3]["city"] == 'Vigo, "the"'
    assert "has no collection `absent`" in run("export_csv.py", storage, "absent", code=1)


def test_a_storage_of_nothing_is_refused(tmp_path: Path) -> None:
    assert "no storage folder" in fails("check", "--storage-path", tmp_path)
