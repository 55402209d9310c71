"""Places where a test may kill the process, to see what is found afterwards. For tests only.

``VDB_FAIL_POINT=name:N`` kills the process with SIGKILL (no handler runs, nothing is flushed) when it comes to the
place called ``name`` for the Nth time. The variable is read once, when the program starts; child processes inherit it
and count for themselves. Without it a place costs one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal
from typing import Final, Literal

VARIABLE: Final = "VDB_FAIL_POINT"

FailPoint = Literal[
    "after-log-append",  # in a write's transaction: the log has it, the tables do not
    "before-commit",  # of a write: all statements are done
    "after-commit",  # the write is durable, nobody sees it or was told
    "in-build",  # in the builder's process, between two files of a segment
    "before-swap",  # a segment has its name, the manifest in the database does not know it
    "after-swap",  # it does, and the segments that it replaces still lie there
    "in-migration",  # in a migration's transaction
    "in-restore",  # a collection is unpacked from a snapshot, the catalog does not know it
]

_name, _, _times = os.environ.get(VARIABLE, "").partition(":")
_time = int(_times) if _times.isdigit() else 1
_arrivals = itertools.count(1)


def fail_point(name: FailPoint) -> None:
    """Dies here where a test asked for it."""
    if name == _name and next(_arrivals) == _time:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows SIGTERM ends a process as hard
