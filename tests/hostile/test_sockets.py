"""Connections that never finish: the server stays within its limits and answers everybody else."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.http.running_server import RunningServer, serving, until

DESCRIPTORS = 256
IDLE = 300
ANSWER_MAX_S = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with serving(tmp_path / "storage", VDB__SERVICE__MAX_REQUEST_SIZE_MB="1") as server:
        yield server


def connect(server: RunningServer) -> socket.socket:
    at = urlsplit(server.url)
    return socket.create_connection((str(at.hostname), at.port), ANSWER_MAX_S)


def is_well(server: RunningServer) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/collections", timeout=ANSWER_MAX_S) as answer:
            return bool(answer.status == 200 and json.load(answer)["status"] == "ok")
    except OSError:
        return False


def test_a_body_without_an_end_is_cut_off(server: RunningServer) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with connect(server) as client:
        client.sendall(
            b"PUT /collections/a/points HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * 2**20:
                client.sendall(chunk)
                sent += len(chunk)
        assert sent < 64 * 2**20, "64 MiB were read where 1 MiB is allowed"
    assert is_well(server)


def test_clients_that_close_half_or_all_of_a_connection(server: RunningServer) -> None:
    request = b"POST /collections/a/points/scroll HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    for part in (
        b"",
        request[:1],
        request[:30],
        request[:-1],
        request,
        request * 3,
        b"\x00" * 100,
        b"\x16\x03\x01" * 50,
    ):
        with connect(server) as client:
            client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while client.recv(65_536):
                    pass
        with connect(server) as client:
            client.sendall(part)
        assert is_well(server)


def test_a_whole_request_is_answered_though_its_sender_has_closed_its_half(server: RunningServer) -> None:
    with connect(server) as client:
        client.sendall(b"GET /collections HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while block := client.recv(65_536):
                answer += block
    assert answer.startswith(b"HTTP/1.1 200") or not answer  # closing both halves is allowed; hanging is not
    assert is_well(server)


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux limits other processes")
def test_more_idle_connections_than_descriptors_leave_a_server_that_answers_again(server: RunningServer) -> None:
    import resource

    assert sys.platform == "linux"
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    idle: list[socket.socket] = []
    try:
        for _ in range(IDLE):
            try:
                idle.append(connect(server))
            except OSError:
                break
        assert len(idle) > DESCRIPTORS / 2
        assert server.process.poll() is None
    finally:
        for client in idle:
            client.close()
    until(lambda: is_well(server))
    body = json.dumps({"vectors": {"size": 2, "distance": "Dot"}}).encode()
    request = urllib.request.Request(f"{server.url}/collections/new", body, method="PUT")
    with urllib.request.urlopen(request, timeout=ANSWER_MAX_S) as answer:
        assert answer.status == 200
