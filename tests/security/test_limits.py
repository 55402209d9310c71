"""What one client may take: time, connections, bytes. Sockets are spoken to directly, as an attacker would."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.running_server import RunningServer, serving, until
from tests.security.conftest import Caller, fill

MAX_CONNECTIONS = 40
GET = b"GET /collections HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(
        tmp_path_factory.mktemp("limits") / "storage",
        VDB__SERVICE__HEADER_TIMEOUT_SEC="1",
        VDB__SERVICE__TRANSFER_TIMEOUT_SEC="1",
        VDB__SERVICE__MAX_CONNECTIONS=str(MAX_CONNECTIONS),
        VDB__SERVICE__MAX_REQUEST_SIZE_MB="1",
        VDB__SERVICE__MAX_HEADER_SIZE_KB="4",
        VDB__STORAGE__MAX_COLLECTIONS="2",
    ) as server:
        yield server


@pytest.fixture
def caller(server: RunningServer) -> Iterator[Caller]:
    caller = Caller(server.url, None)
    yield caller
    caller.close()


@contextlib.contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
        yield connection


def served(server: RunningServer, held: contextlib.ExitStack) -> socket.socket | None:
    """A connection that was served and stays open; None where it was one too many."""
    connection = held.enter_context(connected(server))
    connection.sendall(GET)
    return connection if connection.recv(65536).startswith(b"HTTP/1.1 200 ") else None


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes; it may do so with a reset, where it has left something unread."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def answered(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer that ends the connection."""
    received = everything(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)


def closed(connection: socket.socket) -> bool:
    """Whether the server closed without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def message(answer: dict[str, Any]) -> str:
    text: str = answer["status"]["error"]
    return text


def test_headers_that_do_not_end_are_waited_for_so_long(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /collections HTTP/1.1\r\nhost: x\r\nx-slow: ")
        assert closed(connection)


def test_headers_that_come_drop_by_drop_are_waited_for_so_long(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.settimeout(0.1)
        drops = 0
        while drops < 200:  # twenty times the limit
            try:
                connection.sendall(b"x: y\r\n")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                drops += 1
            except OSError:
                break
        assert drops < 200


@pytest.mark.parametrize("framing", [b"content-length: 1000", b"transfer-encoding: chunked"])
def test_a_body_that_does_not_come_is_408(server: RunningServer, framing: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(
            b"POST /collections/x/points/query HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n1\r\n{\r\n"
        )
        status, answer = answered(connection)
    assert status == 408
    assert "did not arrive in time" in message(answer)


def test_a_body_that_comes_drop_by_drop_is_408(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /collections/x/points/query HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        connection.settimeout(0.1)
        received, drops = b"", 0
        while not received and drops < 200:
            with contextlib.suppress(OSError):
                connection.sendall(b"[" * 100)
            try:
                received = connection.recv(65536)
            except TimeoutError:
                drops += 1
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_only_waits_is_not_hurried(server: RunningServer) -> None:
    """The limits are for requests that have begun."""
    with connected(server) as idle, connected(server) as slow:
        idle.sendall(GET)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET ")
        assert closed(slow)
        idle.sendall(GET)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_nobody_takes_is_not_held_for_ever(server: RunningServer, caller: Caller) -> None:
    fill(caller, "large")
    payload = {"text": "x" * 900_000}
    for point in range(12):
        points = [{"id": point, "vector": [0, 0], "payload": payload}]
        caller.result("PUT", "/collections/large/points", {"points": points}, wait="true")
    body = b'{"limit":100}'
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            b"POST /collections/large/points/scroll HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        # A second one is a sign of life: the server reads from the connection until it gives it up.
        until(lambda: _gone(connection))
    assert caller.result("POST", "/collections/large/points/count", {}) == {"count": 12}
    caller.result("DELETE", "/collections/large")


def _gone(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
    except OSError:
        return True
    return False


def test_one_connection_too_many_is_503_and_others_are_served_on(server: RunningServer) -> None:
    with contextlib.ExitStack() as held:
        kept = []
        while (connection := served(server, held)) is not None:
            kept.append(connection)
            assert len(kept) <= MAX_CONNECTIONS
        with connected(server) as turned_away:
            turned_away.sendall(GET)
            status, answer = answered(turned_away)
        assert status == 503
        assert message(answer) == "Service error: too many connections"
        kept[0].sendall(GET)
        assert kept[0].recv(65536).startswith(b"HTTP/1.1 200 ")

    def half_is_free() -> bool:
        with contextlib.ExitStack() as held:
            return all(served(server, held) for _ in range(MAX_CONNECTIONS // 2))

    until(half_is_free)  # so that the next test finds places


def test_connections_that_clients_have_closed_do_not_count(server: RunningServer, caller: Caller) -> None:
    for number in range(3 * MAX_CONNECTIONS):
        with connected(server) as connection:
            connection.sendall(GET if number % 2 else GET[:-2])
            if number % 2:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    until(lambda: caller.send("GET", "/collections").status_code == 200)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 5000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"aa: bbb\r\n" * 1000 + b"\r\n", 431),
        (b"no request at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
    ],
)
def test_headers_that_are_too_large_or_none_are_refused_in_the_envelope(
    server: RunningServer, request_bytes: bytes, status: int
) -> None:
    with connected(server) as connection:
        connection.sendall(request_bytes)
        found, answer = answered(connection)
    assert found == status
    assert message(answer).startswith("Format error in request: ")


def test_offers_to_speak_another_protocol_are_not_taken(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    with connected(server) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 405 "))


def test_a_chunked_body_without_end_is_413_and_the_connection_ends(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"PUT /collections/x/points HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * 2**20:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        assert sent < 64 * 2**20
    assert httpx.get(server.url + "/healthz").status_code == 200


def test_there_are_only_so_many_collections(caller: Caller) -> None:
    for name in ("one", "two"):
        fill(caller, name)
    refused = caller.send("PUT", "/collections/three", {"vectors": {"size": 2, "distance": "Dot"}})
    assert (refused.status_code, "max_collections" in refused.text) == (400, True)
    caller.result("DELETE", "/collections/two")
    fill(caller, "three")
    caller.result("DELETE", "/collections/one")
    caller.result("DELETE", "/collections/three")


def test_names_do_not_leave_their_folder(server: RunningServer, caller: Caller) -> None:
    fill(caller, "named")
    before = tree(server.storage.parent)
    names = [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fx",
        "a%2fb",
        "..%5c..%5cx",
        "a%00b",
        "C:%5cx",
        "%ff%fe",
        "a" * 256,
    ]
    for name in names:
        for path in (f"/collections/{name}", f"/collections/{name}/snapshots/recover"):
            body = {"vectors": {"size": 2, "distance": "Dot"}, "location": "file:///etc/passwd"}
            assert 400 <= raw(server, "PUT", path, body) < 500, path
        for path in (
            f"/collections/named/snapshots/{name}",
            f"/snapshots/{name}",
            f"/collections/named/vectors/{name}",
        ):
            assert 400 <= raw(server, "DELETE", path, {}) < 500, path
        alias = {"create_alias": {"collection_name": "named", "alias_name": httpx.URL(f"http://x/{name}").path[1:]}}
        assert caller.send("POST", "/collections/aliases", {"actions": [alias]}).status_code in (400, 422), name
    assert tree(server.storage.parent) == before
    caller.result("DELETE", "/collections/named")


def raw(server: RunningServer, method: str, path: str, body: dict[str, Any]) -> int:
    """The status of the answer to a path that no client library has tidied up."""
    content = json.dumps(body).encode()
    with connected(server) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
            + b"content-length: %d\r\n\r\n%b" % (len(content), content)
        )
        return int(everything(connection).split()[1])


def tree(folder: Path) -> set[Path]:
    """Every folder, and every file but SQLite's own."""
    return {path for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm", ".log"))}
