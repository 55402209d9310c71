"""The actor's transactions, and what becomes of those that the disk does not confirm.

Guarantees
    Where it is not clear whether a transaction is on the disk, nothing else happens before it is.
Assumes
    One owner, the collection's actor: one call at a time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from vdb.collection.commit import Unconfirmed
from vdb.errors import OutcomeUnknown, TryLater, VdbError
from vdb.storage.sqlite import Writer, leaves_doubt, named_error, settle

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Transactions:
    """Runs them on the thread of ``writer``; ``name`` is the collection's, for the log."""

    def __init__(self, name: str, writer: Writer) -> None:
        self.trouble: VdbError | None = None  # why the last one failed, until one succeeds
        self._name = name
        self._writer = writer
        self._unconfirmed: Unconfirmed | None = None

    @property
    def in_doubt(self) -> bool:
        """True from a failure of the disk until ``settle`` has told what is there."""
        return self._unconfirmed is not None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a transaction and brings memory up to it.

        Where the disk fails, a fresh connection is asked what is there. Raises TryLater where nothing is,
        OutcomeUnknown where all is (memory knows it then) or where the disk does not tell.
        """
        try:
            result = await self._writer.run(work)
        except Unconfirmed as unconfirmed:
            cause = unconfirmed.cause
            named = named_error(cause, self._writer.path)
            assert named is not None
            self.trouble = named
            logger.warning("collection %s: a transaction failed: %s", self._name, cause)
            self._unconfirmed = unconfirmed
            applied = await self.settle()
            if applied is None:
                raise OutcomeUnknown(f"The disk failed ({cause}): whether it was applied is not known") from cause
            if applied:
                why = f"The disk failed ({cause}): it was applied, but may be lost in a power cut"
                raise OutcomeUnknown(why, applied=True) from cause
            raise named from cause
        except TryLater as error:  # on the way to the transaction
            self.trouble = error
            raise
        self.trouble = None
        return result

    async def settle(self) -> bool | None:
        """Finds out what became of the one in doubt: applied (memory knows it then) or not; None while the disk does
        not tell."""
        unconfirmed = self._unconfirmed
        assert unconfirmed is not None
        try:
            await self._writer.renew()
            # A disk that takes no more writes could not take this one, and need not: there is nothing to take back.
            is_applied = unconfirmed.is_applied
            look = partial(settle, look=is_applied) if leaves_doubt(unconfirmed.cause) else is_applied
            applied: bool = await self._writer.run(look)
        except TryLater as error:
            self.trouble = error
            return None
        self._unconfirmed = None
        if applied:
            await self._writer.run(lambda connection: unconfirmed.adopt())
        logger.warning("collection %s: the transaction was %s", self._name, "applied" if applied else "not applied")
        return applied
