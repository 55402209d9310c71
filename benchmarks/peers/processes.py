"""What Linux tells of processes: their memory, their children, and how often they flush."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

FLUSHES: Final = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")
ATTACH_MAX_S: Final = 10.0
_SUMMARY: Final = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)
_PROPORTIONAL: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def descendants(pids: Sequence[int]) -> list[int]:
    """These and their children, and theirs."""
    found = list(pids)
    for pid in found:
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in tasks.read_text().split() if int(child) not in found]
            except OSError:
                continue  # it ended meanwhile
    return found


def memory_bytes(pids: Sequence[int]) -> int:
    """Proportional resident size of these and their children: pages that several share count once."""
    total = 0
    for pid in descendants(pids):
        try:
            found = _PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def cpu_seconds(pids: Sequence[int]) -> float:
    """Spent so far by these and their children, of which ended ones stand in their parents' account."""
    ticks = 0
    for pid in descendants(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])  # user, system, and both of children that ended
    return ticks / os.sysconf("SC_CLK_TCK")


def disk_bytes(folder: Path) -> int:
    """What the files occupy: holes of sparse ones do not count."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def flushes(pids: Sequence[int], work: Callable[[], object]) -> dict[str, int] | None:
    """Calls of each kind while ``work`` runs; None where strace is missing or not allowed."""
    program = shutil.which("strace")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="flushes-") as folder:
        summary = Path(folder) / "summary"
        attach = [option for pid in descendants(pids) for option in ("-p", str(pid))]
        strace = subprocess.Popen(
            [program, "-c", "-f", "-e", f"trace={','.join(FLUSHES)}", "-o", str(summary), *attach],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if not _all_traced(pids, strace):
                return None
            work()
        finally:
            if strace.poll() is None:
                strace.send_signal(signal.SIGINT)
            strace.wait()
        text = summary.read_text() if summary.exists() else ""
    return {name: int(calls) for calls, name in _SUMMARY.findall(text) if name in FLUSHES}


def _all_traced(pids: Sequence[int], strace: subprocess.Popen[bytes]) -> bool:
    """Waits until strace holds every thread."""
    deadline = time.monotonic() + ATTACH_MAX_S
    while time.monotonic() < deadline and strace.poll() is None:
        threads = [
            task for pid in descendants(pids) if pid != strace.pid for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        if all(_is_traced(task) for task in threads):
            return True
        time.sleep(0.01)
    return False


def _is_traced(task: Path) -> bool:
    try:
        return "TracerPid:\t0\n" not in (task / "status").read_text()
    except OSError:
        return True  # it ended


def kill_all(pids: Sequence[int]) -> None:
    """``kill -9`` of these and their children."""
    for pid in descendants(pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
