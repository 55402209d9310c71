"""What the operating system says about this process and its machine. What a platform does not tell is None.

Reading blocks for some tens of microseconds, counting memory maps for longer: that is for worker threads.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")
_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# cgroups of the first version spell "no limit" as a number near 2^63.
_LIMIT_BYTES_MAX: Final = 2**60


@dataclass(frozen=True, slots=True)
class Faults:
    """Pages that were not there when they were touched; major ones were read from the disk."""

    minor: int
    major: int


def resident_bytes() -> int | None:
    """Memory that the process holds now."""
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def anonymous_bytes() -> int | None:
    """The part of it that is the process's own, without mapped files."""
    return _status_kib("RssAnon:")


def memory_bytes() -> int | None:
    """Memory that the process may take: the cgroup's limit, else the machine's."""
    total: int | None = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):  # no cgroup, or `max`
            continue
        if limit < _LIMIT_BYTES_MAX:
            return limit if total is None else min(limit, total)
    return total


def resident_percent() -> float | None:
    """Resident memory in per cent of what the process may take."""
    resident, total = resident_bytes(), memory_bytes()
    return None if resident is None or not total else 100 * resident / total


def disk_usage_percent(folder: Path) -> float:
    """How full the file system of ``folder`` is; raises OSError."""
    usage = shutil.disk_usage(folder)
    return 100 * (usage.total - usage.free) / usage.total


def disk_bytes(folder: Path) -> int:
    """How much the file system of ``folder`` holds; raises OSError."""
    return shutil.disk_usage(folder).total


def threads() -> int | None:
    return _status_number("Threads:")


def open_files() -> int | None:
    try:
        return sum(1 for _ in (_PROC / "fd").iterdir()) - 1  # the listing itself takes one
    except OSError:
        return None


def open_files_max() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory_maps() -> int | None:
    try:
        with (_PROC / "maps").open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return None


def memory_maps_max() -> int | None:
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return None


def faults() -> Faults | None:
    if sys.platform == "win32":
        return None
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def cpu_s() -> float:
    """CPU time of the process, without its children."""
    return time.process_time()


def _status_kib(key: str) -> int | None:
    kib = _status_number(key)
    return None if kib is None else kib * 1024


def _status_number(key: str) -> int | None:
    try:
        lines = (_PROC / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), None)
