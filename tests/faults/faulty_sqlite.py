"""A connection to SQLite whose statements fail when a test says so, before or after they were carried out."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

DISK_FULL: Final = sqlite3.SQLITE_FULL
CODES: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
)


@dataclass(slots=True)
class Faults:
    """``failing`` says how many more statements fail once ``healthy`` more of them have passed.

    ``only_commits`` counts COMMITs alone. ``too_late`` lets a COMMIT happen first and fails then.
    """

    code: int = DISK_FULL
    healthy: int = 0
    failing: int = 0
    only_commits: bool = False
    too_late: bool = False
    failed: int = 0  # statements so far

    def heal(self) -> None:
        self.failing = 0

    def strikes(self, sql: str) -> bool:
        if not self.failing or (self.only_commits and sql != "COMMIT"):
            return False
        if self.healthy:
            self.healthy -= 1
            return False
        self.failing -= 1
        self.failed += 1
        return True

    def error(self) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("a fault that the test asked for")
        error.sqlite_errorcode = self.code
        error.sqlite_errorname = next(
            name for name, value in vars(sqlite3).items() if name.startswith("SQLITE_") and value == self.code
        )
        return error


def connection_type(faults: Faults) -> type[sqlite3.Connection]:
    """What ``Writer`` makes its connections of."""

    class FaultyConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return self._through(sql, lambda: super(FaultyConnection, self).execute(sql, parameters))

        def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
            return self._through(sql, lambda: super(FaultyConnection, self).executemany(sql, parameters))

        def _through(self, sql: str, run: Any) -> sqlite3.Cursor:
            if not faults.strikes(sql):
                cursor: sqlite3.Cursor = run()
                return cursor
            if faults.too_late and sql == "COMMIT":
                run()
            raise faults.error()

    return FaultyConnection
