"""Searches by one client or several, over and over for some seconds: how many a second, and how long each took."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.load import Connection, read_requests, write_requests

ROOT: Final = Path(__file__).resolve().parents[2]

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
        [sys.executable, "-m", "benchmarks.peers.load_generator", str(port), str(clients), str(seconds), str(scratch)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: Figures = json.loads(finished.stdout)
    return figures


def _run(port: int, clients: int, seconds: float, requests: Sequence[bytes]) -> Figures:
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    sent = 0
    started = time.perf_counter()
    until = started + seconds

    def send(connection: Connection) -> None:
        nonlocal sent
        complete = connection.send(requests[sent % len(requests)])
        sent += 1
        events = selectors.EVENT_READ if complete else selectors.EVENT_READ | selectors.EVENT_WRITE
        selector.modify(connection.socket, events, connection)

    for _ in range(clients):
        connection = Connection("127.0.0.1", port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        send(connection)
    active = clients
    while active:
        for key, events in selector.select():
            connection = key.data
            if events & selectors.EVENT_WRITE and connection.send_more():
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if not events & selectors.EVENT_READ or not connection.receive():
                continue
            latencies.append(time.perf_counter() - connection.started)
            if not connection.received.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"failed: {bytes(connection.received[:300])!r}")
            if time.perf_counter() < until:
                send(connection)
            else:
                selector.unregister(connection.socket)
                active -= 1
    return summary(latencies, time.perf_counter() - started)


if __name__ == "__main__":
    of_port, of_clients, of_seconds, path = sys.argv[1:]
    print(json.dumps(_run(int(of_port), int(of_clients), float(of_seconds), read_requests(Path(path)))))
