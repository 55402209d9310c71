"""docs/operations.md, tried: the statements that it shows give the outputs that it shows."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.http.client import Client
from tests.http.running_server import serving

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = re.compile(r"```sql\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
GUIDE: Final = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
EXAMPLES: Final = EXAMPLE.findall(GUIDE)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The collection of the guide, in a server that runs."""
    storage = tmp_path_factory.mktemp("guide") / "storage"
    payloads = json.loads((ROOT / "scripts/demo_data/debian-packages.payload.json").read_bytes())
    with serving(storage) as server:
        client = Client(server.url)
        packages = client.create("packages", vectors={})
        for start in range(0, len(payloads), 500):
            points = [{"id": i, "vector": {}, "payload": payloads[i]} for i in range(start, start + 500)]
            body = json.dumps({"points": points}, separators=(",", ":")).encode()
            packages.change("PUT", "", body)
        packages.change("POST", "/payload/delete", {"points": [3], "keys": ["section"]})
        packages.change("POST", "/payload/clear", {"points": [1407]})
        schemas: dict[str, Any] = {"section": "keyword", "installed_size": {"type": "integer", "range": True}}
        for field, schema in {**schemas, "architecture[]": "keyword"}.items():
            body_of_index = {"field_name": field, "field_schema": schema}
            client.result("PUT", f"{packages.path}/index", body_of_index, wait="true")
        (folder,) = (storage / "collections").iterdir()
        yield folder / "collection.sqlite"
        client.close()


@pytest.fixture(scope="module")
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    yield connection
    connection.close()


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("statement", "output"), EXAMPLES, ids=["count", "missing", "largest"])
def test_an_example_gives_the_output_that_stands_below_it(
    connection: sqlite3.Connection, statement: str, output: str
) -> None:
    cursor = connection.execute(statement)
    rows = [tuple(column[0] for column in cursor.description), *cursor.fetchall()]
    lines = ["|".join("" if value is None else str(value) for value in row) for row in rows]
    assert "\n".join(lines) == output.rstrip("\n")


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
@pytest.mark.parametrize(("statement", "output"), EXAMPLES, ids=["count", "missing", "largest"])
def test_the_shell_gives_it_too(database: Path, statement: str, output: str) -> None:
    command = ["sqlite3", "-header", f"file:{database}?mode=ro", statement]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == output


def test_every_view_is_in_the_guide_with_its_columns_and_can_be_read(connection: sqlite3.Connection) -> None:
    described = dict(re.findall(r"^\| `(v_\w+)` \| [^|]+ \| ([^|]+) \|$", GUIDE, re.MULTILINE))
    views = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    assert described.keys() == views
    for view, columns in described.items():
        cursor = connection.execute(f"SELECT * FROM {view}")
        assert [column[0] for column in cursor.description] == re.findall(r"`(\w+)`", columns)
        cursor.fetchall()


def test_indexed_fields_are_told_with_their_values(connection: sqlite3.Connection) -> None:
    indexes = connection.execute("SELECT field, type, params FROM v_indexes").fetchall()
    assert indexes == [
        ("section", "keyword", None),
        ("installed_size", "integer", '{"type":"integer","range":true}'),
        ("architecture[]", "keyword", None),
    ]
    flags = connection.execute("SELECT DISTINCT field, indexed FROM v_fields ORDER BY field").fetchall()
    assert flags == [("architecture", 0), ("installed_size", 1), ("name", 0), ("section", 1)]
    found = connection.execute(
        "SELECT field, type, count(*) FROM v_indexed_fields GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    assert found == [
        ("architecture[]", None, 2_000),
        ("installed_size", None, 1),
        ("installed_size", "integer", 1_999),
        ("section", None, 2),
        ("section", "text", 1_998),
    ]
