"""The only writer of the catalog: what becomes of a transaction is known before the next one begins."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from vdb.errors import OutcomeUnknown, TryLater
from vdb.files import resource
from vdb.storage.migrate import load_migrations, migrate
from vdb.storage.sqlite import Writer, leaves_doubt, settle

T = TypeVar("T")


class CatalogWriter:
    """Owned by the registry: changes one at a time.

    A change is on the medium when it is done, whatever ``storage.synchronous`` says: a collection that the catalog had
    forgotten would be swept at the next start, with all its points.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = Writer(path, "FULL")
        self._in_doubt = False

    async def open(self) -> None:
        """Brings the file to this version's schema; raises Corrupt, StorageFailed, InsufficientStorage."""
        await self._writer.open()
        try:
            migrations = load_migrations(resource("migrations/catalog"))
            await self._writer.run(lambda connection: migrate(connection, self._path, migrations))
        except BaseException:
            await self._writer.close()
            raise

    async def close(self) -> None:
        await self._writer.close()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(work)

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a transaction; raises TryLater where nothing changed, and OutcomeUnknown.

        One that failed is settled before anything else: a deletion that was answered with an error and comes true after
        a crash would take what was written since.
        """
        if self._in_doubt:
            await self._settle()
        try:
            return await self._writer.run(work)
        except TryLater as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.Error) or not leaves_doubt(cause):
                raise
            self._in_doubt = True
            try:
                await self._settle()
            except TryLater:
                raise OutcomeUnknown(f"The disk failed ({cause}): whether it was applied is not known") from cause
            raise

    async def _settle(self) -> None:
        """SQLite shows a transaction only after its COMMIT succeeded, so that what memory has is what is in force."""
        with trio.CancelScope(shield=True):
            await self._writer.renew()
            await self._writer.run(partial(settle, look=lambda connection: None))
            self._in_doubt = False
