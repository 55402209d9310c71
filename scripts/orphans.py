"""What belongs to nothing in a storage folder: ``python scripts/orphans.py STORAGE [--delete]``.

Rows of a collection whose point is gone, and folders that no catalog or manifest names. A server sweeps folders at its
start; rows appear only where somebody deleted points by SQL. ``--delete`` removes the rows, and needs the server to be
stopped; afterwards ``vdb check`` says whether segments have to be repaired. Exit code 1 says that there are orphans.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import aiosqlite

from vdb.files import StorageLock

# The rows that are orphans, by table; tombstones and segments go along by their foreign key.
_ORPHANS: Final = {
    "payloads": "num NOT IN (SELECT num FROM points)",
    "vectors": "key & 4294967295 NOT IN (SELECT num FROM points)",
    "unsealed": "key NOT IN (SELECT key FROM vectors)",
}


def connect(path: Path, mode: str) -> aiosqlite.Connection:
    return aiosqlite.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


async def rows_without_a_point(database: Path, delete: bool) -> dict[str, int]:
    """How many rows of each table are orphans; with ``delete`` they are gone afterwards, all or none."""
    async with connect(database, "rw" if delete else "ro") as connection:
        await connection.execute("BEGIN IMMEDIATE" if delete else "BEGIN")
        counts = {}
        for table, condition in _ORPHANS.items():
            cursor = await connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
            row = await cursor.fetchone()
            counts[table] = 0 if row is None else int(row[0])
            if delete:
                await connection.execute(f"DELETE FROM {table} WHERE {condition}")
        await connection.execute("COMMIT")
    return counts


async def read_column(database: Path, statement: str) -> set[str]:
    async with connect(database, "ro") as connection:
        return {row[0] for row in await connection.execute_fetchall(statement)}


async def unnamed_folders(storage: Path) -> list[Path]:
    """Folders of collections that the catalog does not name, and of segments that no manifest does."""
    named = await read_column(storage / "catalog.sqlite", "SELECT folder FROM collections")
    found: list[Path] = []
    for folder in _folders(storage / "collections"):
        if folder.name not in named:
            found.append(folder)
            continue
        segments = await read_column(folder / "collection.sqlite", "SELECT folder FROM segments")
        found += [segment for segment in _folders(folder / "segments") if segment.name not in segments]
    return found


def _folders(parent: Path) -> Iterator[Path]:
    yield from (path for path in sorted(parent.iterdir()) if path.is_dir()) if parent.is_dir() else ()


async def find(storage: Path, delete: bool) -> list[str]:
    """A line for each kind of orphan."""
    lines = [f"{path.relative_to(storage)}: nothing names it" for path in await unnamed_folders(storage)]
    for folder in _folders(storage / "collections"):
        database = folder / "collection.sqlite"
        if not database.exists():
            continue
        for table, count in (await rows_without_a_point(database, delete)).items():
            if count:
                what = "deleted" if delete else "orphans"
                lines.append(f"{database.relative_to(storage)}: {count} {what} in {table}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path)
    parser.add_argument("--delete", action="store_true", help="remove rows whose point is gone")
    arguments = parser.parse_args()
    with StorageLock(arguments.storage) if arguments.delete else nullcontext():
        lines = asyncio.run(find(arguments.storage, arguments.delete))
    for line in lines:
        print(line)
    sys.exit(1 if lines and not arguments.delete else 0)


if __name__ == "__main__":
    main()
