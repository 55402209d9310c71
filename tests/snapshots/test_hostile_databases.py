"""Archives of the right shape around databases that nobody should open: each is refused, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.http.client import Collection
from tests.snapshots.archives import (
    damage,
    editing,
    packed,
    point_two_tables_at_one_page,
    refusal,
    sealed,
    unpacked,
)
from tests.snapshots.keeper import Keeper
from vdb.errors import BadSnapshot
from vdb.files import resource
from vdb.storage.backup import admit, admitting
from vdb.storage.migrate import load_migrations

DATABASES: Final[dict[str, tuple[str | Callable[[Path], object], str]]] = {
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON points BEGIN DELETE FROM points; END", "other tables"),
    "view": ("CREATE VIEW v AS SELECT load_extension('x')", "other tables"),
    "view in another's place": ("DROP VIEW v_points; CREATE VIEW v_points AS SELECT 1", "other tables"),
    "table": ("CREATE TABLE t (x)", "other tables"),
    "virtual table": ("CREATE VIRTUAL TABLE t USING fts5(x)", "other tables"),
    "index on an expression": ("CREATE INDEX i ON points (abs(version))", "other tables"),
    "missing index": ("DROP INDEX points_by_id", "other tables"),
    "another application": ("PRAGMA application_id = 7", "another application"),
    "newer version": ("PRAGMA user_version = 4711", "newer version"),
    "edited migration": ("UPDATE migrations SET sha256 = 'x'", "changed since"),
    "payload that is no JSON": ("UPDATE payloads SET body = '{' WHERE num = 2", "JSON"),
    "payload that is a list": ("UPDATE payloads SET body = '[]' WHERE num = 2", "JSON"),
    "payload with a separator": ("UPDATE payloads SET body = '{\"a\":' || char(30) || '1}' WHERE num = 2", ""),
    "payload that only SQLite reads": ("UPDATE payloads SET body = '{\"a\":\"\\ud800\"}' WHERE num = 2", "JSON"),
    "payload in no encoding": ("UPDATE payloads SET body = CAST(x'7b2261223a22ff227d' AS TEXT) WHERE num = 2", ""),
    "payload of nobody": ("INSERT INTO payloads VALUES (4711, '{}')", "no point"),
    "number out of range": ("UPDATE points SET num = 4294967296 WHERE num = 2", ""),
    "number that takes all memory": (
        "UPDATE points SET num = 4000000000 WHERE num = 2; DELETE FROM payloads WHERE num = 2;"
        " DELETE FROM vectors WHERE key & 4294967295 = 2",
        "number",
    ),
    "number below zero": ("UPDATE points SET num = -1 WHERE num = 2", ""),
    "id that is a blob": ("UPDATE points SET id = x'00', id_order = 0 WHERE num = 2", "id"),
    "id that is no UUID": ("UPDATE points SET id = 'x' WHERE id = (SELECT max(id) FROM points)", "id"),
    "version below zero": ("UPDATE points SET version = -5 WHERE num = 2", "version"),
    "version from the future": ("UPDATE points SET version = 4711 WHERE num = 2", "version"),
    "vector of nobody": ("INSERT INTO vectors VALUES (4294971999, 0, zeroblob(32))", "no point"),
    "vector without a name": ("UPDATE vectors SET key = key + (900 << 32)", "name"),
    "vector that is short": ("UPDATE vectors SET data = x'00' WHERE key = (SELECT min(key) FROM vectors)", "dimension"),
    "vector that is empty": ("UPDATE vectors SET data = x'' WHERE key = (SELECT min(key) FROM vectors)", "dimension"),
    "vector that is not finite": (
        "UPDATE vectors SET data = CAST(x'0000c07f' || substr(data, 5) AS BLOB)"
        " WHERE key = (SELECT min(key) FROM vectors)",
        "finite",
    ),
    "sparse vector that is none": (
        "UPDATE vectors SET data = x'010203' WHERE key >> 32 = (SELECT vector_id FROM vector_names WHERE dim IS NULL)",
        "sparse vector",
    ),
    "sparse vector with one index twice": (
        "UPDATE vectors SET data = x'05000000050000000000803f0000803f'"
        " WHERE key >> 32 = (SELECT vector_id FROM vector_names WHERE dim IS NULL)",
        "sparse vector",
    ),
    "operation without a next one": ("UPDATE log SET seq = 9223372036854775807 WHERE seq = 2", "operations"),
    "index of no path": ("UPDATE field_indexes SET field = 'a[' || field", "index"),
    "index of no kind": ("UPDATE field_indexes SET schema = '\"surprise\"'", "no known kind"),
    "no database": (lambda path: path.write_bytes(b"no database at all" * 100), "SQLite"),
    "empty database": (lambda path: path.write_bytes(b""), "SQLite"),
    "database that is cut": (lambda path: path.write_bytes(path.read_bytes()[:-16_384]), "as long as"),
    "damaged page": (damage, ""),
    "rows that a page does not have": (point_two_tables_at_one_page, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", DATABASES)
def test_a_hostile_database_is_refused(
    keeper: Keeper, collection: Collection, good: bytes, case: str, tmp_path: Path
) -> None:
    change, reason = DATABASES[case]
    path = tmp_path / "collection.sqlite"
    files = unpacked(good)
    path.write_bytes(files["collection.sqlite"])
    if isinstance(change, str):
        with editing(path) as connection:
            connection.executescript(f"PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; {change};")
    else:
        change(path)
    found = refusal(keeper, collection, packed(sealed({**files, "collection.sqlite": path.read_bytes()})))
    assert "cannot be used" in found and reason in found, found


def test_a_value_that_would_fill_the_memory_is_refused(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "collection.sqlite"
    path.write_bytes(unpacked(good)["collection.sqlite"])
    migrations = load_migrations(resource("migrations/collection"))
    with admitting(path, 10_000_000) as connection:
        admit(connection, path, migrations)
        connection.execute("UPDATE payloads SET body = json_object('a', hex(zeroblob(20000))) WHERE num = 2")
    with pytest.raises(BadSnapshot, match="too big"), admitting(path, 10_000) as connection:
        admit(connection, path, migrations)


def test_what_analyze_left_behind_is_no_obstacle(keeper: Keeper, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "collection.sqlite"
    files = unpacked(good)
    path.write_bytes(files["collection.sqlite"])
    with editing(path) as connection:
        connection.executescript("ANALYZE")
    assert keeper.upload("analysed", packed(sealed({**files, "collection.sqlite": path.read_bytes()}))).is_success


def test_segments_that_a_database_names_are_never_opened(keeper: Keeper, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "collection.sqlite"
    files = unpacked(good)
    path.write_bytes(files["collection.sqlite"])
    with editing(path) as connection:
        connection.execute("INSERT INTO segments VALUES (1, '../../../../etc', 0, '', '{}')")
        connection.execute("DELETE FROM unsealed")
    assert keeper.upload("unsealed", packed(sealed({**files, "collection.sqlite": path.read_bytes()}))).is_success
    query = {"query": [1.0] * 8, "using": "short", "limit": 1000}
    hits = keeper.client.result("POST", "/collections/unsealed/points/query", query)
    assert len(hits["points"]) == keeper.client.result("POST", "/collections/unsealed/points/count", {})["count"]
