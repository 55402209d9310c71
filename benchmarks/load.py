"""The load generator: a process of its own that sends prepared requests over keep-alive connections.

``load.py HOST PORT CONNECTIONS SECONDS FILE`` sends the requests of FILE, each a little-endian u32 length and the bytes
of the whole HTTP request. With SECONDS > 0 it goes round and round for so long, otherwise it sends each one once. A
connection sends its next request when its last one is answered. Prints one JSON object.

It does nothing but compare a few bytes of each answer, so that its share of the machine stays small; how small is told
by ``cpu_share``. Nothing outside the standard library is imported: it must start at once.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

_RECEIVE_BYTES: Final = 262_144
_OK: Final = b"HTTP/1.1 200"
_LENGTH: Final = b"content-length:"


class Connection:
    """One socket with at most one request in flight."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.started = 0.0
        self.unsent = memoryview(b"")
        self.received = bytearray()
        self.needed = -1  # bytes of the whole answer, −1 until its head is there

    def send(self, request: bytes) -> bool:
        """True when all of it went out at once."""
        self.started = time.perf_counter()
        self.unsent = memoryview(request)
        self.received.clear()
        self.needed = -1
        return self.send_more()

    def send_more(self) -> bool:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bool:
        """True when the answer is complete; raises ConnectionError when the server closed."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError(f"closed by the server after {bytes(self.received[:200])!r}")
        self.received += data
        if self.needed < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self.received[: end + 2]).lower()
            place = head.index(_LENGTH) + len(_LENGTH)
            self.needed = end + 4 + int(head[place : head.index(b"\r\n", place)])
        return len(self.received) >= self.needed


def read_requests(path: Path) -> list[bytes]:
    content = path.read_bytes()
    requests: list[bytes] = []
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<I", content, place)
        requests.append(content[place + 4 : place + 4 + length])
        place += 4 + length
    return requests


def write_requests(path: Path, requests: list[bytes]) -> None:
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("<I", len(request)))
            file.write(request)


def http_request(method: str, path: str, body: bytes) -> bytes:
    """A request as clients send it."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\nconnection: keep-alive\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(host: str, port: int, connections: int, seconds: float, requests: list[bytes]) -> dict[str, float]:
    """Sends and measures; latencies are in milliseconds."""
    selector = selectors.DefaultSelector()
    opened = [Connection(host, port) for _ in range(connections)]
    total = None if seconds > 0 else len(requests)
    latencies: list[float] = []
    sent = failed = answer_bytes = 0
    cpu = time.process_time()
    started = time.perf_counter()
    until = started + seconds

    def next_request(connection: Connection) -> bool:
        nonlocal sent
        if sent == total or (total is None and time.perf_counter() >= until):
            return False
        request = requests[sent % len(requests)]
        sent += 1
        if not connection.send(request):
            selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        return True

    active = 0
    for connection in opened:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        active += next_request(connection)
    while active:
        for key, events in selector.select():
            connection = key.data
            if events & selectors.EVENT_WRITE and connection.send_more():
                selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if not events & selectors.EVENT_READ or not connection.receive():
                continue
            latencies.append(time.perf_counter() - connection.started)
            answer_bytes += len(connection.received)
            failed += not connection.received.startswith(_OK)
            if not next_request(connection):
                selector.unregister(connection.socket)
                active -= 1
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "requests": len(latencies),
        "failed": failed,
        "seconds": elapsed,
        "per_second": len(latencies) / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p95_ms": latencies[int(len(latencies) * 0.95)] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "max_ms": latencies[-1] * 1000,
        "answer_bytes": answer_bytes / len(latencies),
        "cpu_share": (time.process_time() - cpu) / elapsed,
    }


if __name__ == "__main__":
    host, port, connections, seconds, path = sys.argv[1:]
    print(json.dumps(run(host, int(port), int(connections), float(seconds), read_requests(Path(path)))))
