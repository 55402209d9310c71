"""The process: start, ordered stop, hurried stop, and never answering without one of its parts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from vdb.config import ServiceSettings
from vdb.errors import Misconfigured
from vdb.server import GRACE_S, STOP_S, bind

PROGRAM = Path(__file__).with_name("server_process.py")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO |WARN |ERROR) vdb\.server: (.*)\n")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX knows them")


class Server:
    """A running server process and the first line of its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.log = process.stderr
        self.first = process.stderr.readline()
        listens = re.search(r"listens on (http://\S+),", self.first)
        self.url = listens[1] if listens else ""

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=STOP_S)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def exit_code(self) -> int:
        return self.process.wait(STOP_S + 1)


@contextlib.contextmanager
def running(storage: Path, mode: str = "plain") -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), mode, str(storage)],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def test_it_says_where_it_listens_where_it_stores_and_what_it_recovered(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        line = LINE.fullmatch(server.first)
        assert line is not None
        assert re.fullmatch(
            rf"vdb \S+ listens on http://127\.0\.0\.1:\d+, stores in {tmp_path}, recovered nothing", line[2]
        )
        response = server.get("/")
        assert response.json() == {"hello": "there"}
        assert "server" not in response.headers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_database_and_leaves_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as server:
        server.process.send_signal(number)
        assert server.exit_code() == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "closed\n"


def test_idle_connections_do_not_delay_the_stop(tmp_path: Path) -> None:
    with running(tmp_path) as server, httpx.Client() as idle:
        idle.get(server.url)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(GRACE_S / 2) == 0


def test_a_client_that_does_not_read_does_not_keep_the_process(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.sendall(b"GET /large HTTP/1.1\r\nhost: vdb\r\n\r\n")
            assert deaf.recv(8).startswith(b"HTTP")
            server.process.send_signal(signal.SIGTERM)
            assert server.exit_code() == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "closed\n"


def test_a_request_in_flight_is_answered_before_the_server_leaves(tmp_path: Path) -> None:
    with running(tmp_path) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.get, "/held")
        server.get("/entered")
        server.process.send_signal(signal.SIGTERM)
        assert "SIGTERM" in server.log.readline()
        server.say("finish")
        assert held.result().json() == {"held": "and finished"}
        assert server.exit_code() == 0


def test_nothing_new_is_accepted_while_stopping(tmp_path: Path) -> None:
    with running(tmp_path, "never-closes") as server:
        server.process.send_signal(signal.SIGTERM)
        assert "SIGTERM" in server.log.readline()
        with pytest.raises(httpx.TransportError):
            while server.get("/").status_code == 200:
                pass
        assert server.process.poll() is None


def test_a_second_signal_leaves_at_once_and_not_with_0(tmp_path: Path) -> None:
    with running(tmp_path, "never-closes") as server:
        server.process.send_signal(signal.SIGTERM)
        assert "SIGTERM" in server.log.readline()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(2) == 128 + signal.SIGINT


def test_a_database_that_never_closes_does_not_keep_the_process(tmp_path: Path) -> None:
    with running(tmp_path, "never-closes") as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_code() == 1
        assert "not everything was closed within" in server.log.read()


def test_a_task_that_dies_ends_the_server_with_its_traceback(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with contextlib.suppress(httpx.TransportError):
            server.get("/die")
        assert server.exit_code() == 1
        assert "RuntimeError: an actor died" in server.log.read()


def test_a_storage_that_refuses_is_one_line_and_1(tmp_path: Path) -> None:
    with running(tmp_path, "refuse") as server:
        assert server.exit_code() == 1
        line = LINE.fullmatch(server.first)
        assert line is not None
        assert line.groups() == ("ERROR", "the storage is not ours")
        assert server.log.read() == ""


def test_a_second_server_on_one_storage_folder_is_one_line_and_1(tmp_path: Path) -> None:
    with running(tmp_path) as first, running(tmp_path) as second:
        assert second.exit_code() == 1
        assert f"storage folder {tmp_path} is in use by another vdb server" in second.first
        assert first.get("/").status_code == 200


def test_a_name_of_two_families_is_bound_on_one_port() -> None:
    sockets = bind(ServiceSettings(host="localhost", http_port=0))
    try:
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
    finally:
        for bound in sockets:
            bound.close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            bind(ServiceSettings(host="127.0.0.1", http_port=port))


def test_a_host_that_does_not_resolve_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"cannot listen on no\.such\.host\.invalid"):
        bind(ServiceSettings(host="no.such.host.invalid"))
