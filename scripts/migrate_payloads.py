"""Changes payloads by SQL so that a server notices: ``python scripts/migrate_payloads.py STORAGE COLLECTION SQL``.

SQL is an expression of SQLite that makes the new payload from ``body``; ``--where`` is a condition on ``body``::

    migrate_payloads.py storage packages "json_remove(body, '$.priority')" --where "body ->> '$.section' = 'perl'"

Only while the server is stopped: the script takes the storage folder's lock. What it does is what the server would do,
in one transaction: every changed point gets an operation ``overwrite_payload`` in the log, whose ``seq`` becomes its
version. Field indexes read again what has a newer version, so that their files stay right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import aiosqlite

from vdb.errors import VdbError
from vdb.files import StorageLock

# Filled once: the expression and the condition are the administrator's own, and see `num` and `body`.
_CHANGES = """
CREATE TEMP TABLE changes AS
SELECT row_number() OVER (ORDER BY num) + (SELECT coalesce(max(seq), -1) FROM log) AS seq, num, new_body
FROM (SELECT num, body, json({expression}) AS new_body FROM payloads WHERE {condition})
WHERE new_body IS NOT body
"""
_WRONG = "SELECT count(*) FROM changes WHERE new_body IS NULL OR json_type(new_body) <> 'object'"
_LOG = """
INSERT INTO log (seq, at, kind, points, body)
SELECT seq, strftime('%Y-%m-%dT%H:%M:%fZ'), 'overwrite_payload', 1,
       '{"ids":[' || CASE id_order WHEN 3 THEN json_quote(id) ELSE id END || '],"payload":' || new_body || '}'
FROM changes JOIN points USING (num)
"""
_PAYLOADS = "UPDATE payloads SET body = new_body FROM changes WHERE changes.num = payloads.num"
_VERSIONS = "UPDATE points SET version = changes.seq FROM changes WHERE changes.num = points.num"


def connect(path: Path, mode: str) -> aiosqlite.Connection:
    return aiosqlite.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


async def migrate(database: Path, expression: str, condition: str, dry_run: bool) -> tuple[int, list[tuple[str, str]]]:
    """How many payloads change, and some of them before and after. Raises ValueError and SQLite's errors."""
    async with connect(database, "rw") as connection:
        await connection.execute("BEGIN IMMEDIATE")
        await connection.execute(_CHANGES.format(expression=expression, condition=condition))
        wrong = await (await connection.execute(_WRONG)).fetchone()
        if wrong is None or wrong[0]:
            raise ValueError("the expression does not make a JSON object of every payload: nothing was changed")
        row = await (await connection.execute("SELECT count(*) FROM changes")).fetchone()
        examples = await connection.execute_fetchall(
            "SELECT body, new_body FROM changes JOIN payloads USING (num) ORDER BY num LIMIT 3"
        )
        if dry_run:
            await connection.execute("ROLLBACK")
        else:
            for statement in (_LOG, _PAYLOADS, _VERSIONS):
                await connection.execute(statement)
            await connection.execute("COMMIT")
        return (0 if row is None else row[0]), [(before, after) for before, after in examples]


async def folder_of(storage: Path, collection: str) -> Path:
    async with connect(storage / "catalog.sqlite", "ro") as catalog:
        cursor = await catalog.execute("SELECT folder FROM collections WHERE name = ?", (collection,))
        row = await cursor.fetchone()
    if row is None:
        raise ValueError(f"{storage} has no collection `{collection}`")
    return storage / "collections" / str(row[0])


async def run(storage: Path, collection: str, expression: str, condition: str, dry_run: bool) -> None:
    database = await folder_of(storage, collection) / "collection.sqlite"
    count, examples = await migrate(database, expression, condition, dry_run)
    for before, after in examples:
        print(f"- {before}\n+ {after}")
    print(json.dumps({"changed": 0 if dry_run else count, "would_change": count}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", type=Path)
    parser.add_argument("collection")
    parser.add_argument("expression", help="SQL that makes the new payload from `body`")
    parser.add_argument("--where", default="1", help="SQL condition on `body`; all payloads otherwise")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    arguments = parser.parse_args()
    try:
        with StorageLock(arguments.storage):
            asyncio.run(
                run(
                    arguments.storage,
                    arguments.collection,
                    arguments.expression,
                    arguments.where,
                    arguments.dry_run,
                )
            )
    except (ValueError, VdbError, aiosqlite.Error) as error:
        sys.exit(f"migrate_payloads: {error}")


if __name__ == "__main__":
    main()
