"""Ids and payloads as CSV, for spreadsheets: ``python scripts/export_csv.py STORAGE COLLECTION > points.csv``.

A column for the id, one for each top-level key of the payloads; what is no plain value stands there as JSON. A server
may run meanwhile: the file shows one moment. ``vdb export`` is for copies that come back, this is for people.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import aiosqlite

_KEYS = "SELECT DISTINCT entry.key FROM payloads JOIN json_each(payloads.body) AS entry ORDER BY 1"
_POINTS = "SELECT id, payload FROM v_points"


async def export(storage: Path, collection: str, output: TextIO) -> int:
    """Returns how many points there were; raises ValueError for a collection that is not there."""
    async with aiosqlite.connect(f"{(storage / 'catalog.sqlite').absolute().as_uri()}?mode=ro", uri=True) as catalog:
        cursor = await catalog.execute("SELECT folder FROM v_collections WHERE name = ?", (collection,))
        row = await cursor.fetchone()
    if row is None:
        raise ValueError(f"{storage} has no collection `{collection}`")
    database = storage / "collections" / str(row[0]) / "collection.sqlite"
    count = 0
    async with aiosqlite.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True) as connection:
        await connection.execute("BEGIN")
        keys = [str(key) for (key,) in await connection.execute_fetchall(_KEYS)]
        writer = csv.writer(output)
        writer.writerow(["id", *keys])
        async with connection.execute(_POINTS) as points:
            async for point_id, payload in points:
                values = {} if payload is None else json.loads(payload)
                writer.writerow([point_id, *(_cell(values.get(key)) for key in keys)])
                count += 1
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list, bool)) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path)
    parser.add_argument("collection")
    arguments = parser.parse_args()
    try:
        asyncio.run(export(arguments.storage, arguments.collection, sys.stdout))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head`: nobody reads on, which is no error
    except (ValueError, aiosqlite.Error) as error:
        sys.exit(f"export_csv: {error}")


if __name__ == "__main__":
    main()
