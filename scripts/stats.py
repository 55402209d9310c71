"""What a storage folder holds, in numbers: ``python scripts/stats.py STORAGE``. A server may run on it.

Prints a JSON object a collection. Nothing is written: databases are opened with ``mode=ro``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any, Final

import aiosqlite

_COUNTS: Final = {
    "points": "SELECT count(*) FROM points",
    "payloads": "SELECT count(*) FROM payloads",
    "payload_bytes": "SELECT coalesce(sum(length(CAST(body AS BLOB))), 0) FROM payloads",
    "operations_in_log": "SELECT count(*) FROM log",
    "newest_operation": "SELECT max(seq) FROM log",
    "newest_operation_at": "SELECT at FROM log ORDER BY seq DESC LIMIT 1",
    "segments": "SELECT count(*) FROM segments",
    "vectors_in_memory": "SELECT count(*) FROM unsealed",
    "dead_rows": "SELECT count(*) FROM tombstones",
}
_VECTORS: Final = (
    "SELECT name, dim, datatype, (SELECT count(*) FROM vectors WHERE key >> 32 = vector_id) AS vectors"
    " FROM vector_names ORDER BY vector_id"
)


def read_only(path: Path) -> aiosqlite.Connection:
    return aiosqlite.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


async def collection_stats(folder: Path) -> dict[str, Any]:
    """Of one collection's folder."""
    stats: dict[str, Any] = {}
    async with read_only(folder / "collection.sqlite") as database:
        for name, statement in _COUNTS.items():
            row = await (await database.execute(statement)).fetchone()
            stats[name] = None if row is None else row[0]
        database.row_factory = sqlite3.Row
        stats["vectors"] = [dict(row) for row in await database.execute_fetchall(_VECTORS)]
    return {**stats, **sizes(folder)}


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of a collection's database and of its derived files."""
    patterns = {
        "segments_bytes": "segments/**/*",
        "fields_bytes": "fields/*",
        "database_bytes": "collection.sqlite*",
    }
    return {
        name: sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
        for name, pattern in patterns.items()
    }


async def storage_stats(storage: Path) -> list[dict[str, Any]]:
    """Of all collections that the catalog names, by name."""
    async with read_only(storage / "catalog.sqlite") as catalog:
        rows = list(await catalog.execute_fetchall("SELECT name, folder, created_at FROM v_collections"))
    return [
        {"collection": name, "created_at": created_at, **await collection_stats(storage / "collections" / folder)}
        for name, folder, created_at in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(storage_stats(arguments.storage)), indent=2))


if __name__ == "__main__":
    main()
