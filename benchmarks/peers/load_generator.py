"""Searches by one client or several, over and over for some seconds: how many a second, and how long each took."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import write_requests

LOAD: Final = Path(__file__).resolve().parents[1] / "load.py"

Figures = dict[str, float]


def summary(latencies_s: Sequence[float], elapsed_s: float) -> Figures:
    """Latencies are in milliseconds."""
    ordered = sorted(latencies_s)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return {
        "per_second": len(ordered) / elapsed_s,
        "p50_ms": at(0.50),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "searches": len(ordered),
    }


def by_threads(calls: Sequence[Callable[[], object]], clients: int, seconds: float) -> Figures:
    """Each client is a thread of this process and goes round over ``calls``. A failing one raises here."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    failures: list[BaseException] = []
    started = time.perf_counter()
    until = started + seconds

    def client(number: int) -> None:
        at = number * len(calls) // clients
        try:
            while (before := time.perf_counter()) < until:
                calls[at % len(calls)]()
                latencies[number].append(time.perf_counter() - before)
                at += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise failures[0]
    return summary([latency for of_one in latencies for latency in of_one], elapsed)


def over_http(port: int, requests: Sequence[bytes], clients: int, seconds: float, scratch: Path) -> Figures:
    """The same from a process of its own, over keep-alive connections."""
    write_requests(scratch, list(requests))
    finished = subprocess.run(
        [sys.executable, str(LOAD), "127.0.0.1", str(port), str(clients), str(seconds), str(scratch)],
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: Figures = json.loads(finished.stdout)
    if figures["failed"]:
        raise SystemExit(f"{figures['failed']:.0f} of {figures['requests']:.0f} searches failed")
    return {key: figures[key] for key in ("per_second", "p50_ms", "p95_ms", "p99_ms")} | {
        "searches": figures["requests"]
    }
