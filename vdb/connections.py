"""Connections of clients, on top of Hypercorn's: what one client does, or fails to do, must not cost the others.

Guarantees: there are at most ``max_connections`` at a time; one more is told so and closed. A request's headers arrive
within ``header_timeout_sec`` of their first byte; every 64 KiB of a body arrive, and of an answer are taken, within
``transfer_timeout_sec``, in which time that the server itself takes does not count. A connection on which that does not
happen is closed. Only HTTP/1.1 is spoken, so that all requests come under these limits. An error in one connection
ends that connection alone.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from ssl import SSLContext
from typing import Any, Final

import h11
import hypercorn.trio.run
import hypercorn.trio.tcp_server
import trio
from hypercorn.config import Config, Sockets
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import Event as Flag

from vdb.config import ServiceSettings

log = logging.getLogger("vdb.connections")

# Connections that wait to be accepted: clients that open one a request arrive in bursts. The kernel may cut it.
BACKLOG: Final = 2048

# Requests on one connection before it is closed: a bulk upload keeps its connection.
KEEP_ALIVE_REQUESTS_MAX: Final = 10_000_000

# Bytes that have to move within ``transfer_timeout_sec``: 2 KiB a second by default, slower than any real network.
TRANSFERRED_BYTES: Final = 64 * 1024

# Seconds for a client that is one too many to send its request, so that it reads the answer instead of a reset.
TURNED_AWAY_S: Final = 1.0

# The first digit of a status that no body follows and the client waits for.
INFORMATIONAL: Final = b"1"


class HttpConfig(Config):
    """Hypercorn's settings for sockets that are bound already. The size of a body is the application's to limit."""

    accesslog = None
    errorlog = logging.getLogger("hypercorn.error")
    backlog = BACKLOG
    include_server_header = False
    keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX

    def __init__(
        self, sockets: list[socket.socket], service: ServiceSettings, grace_s: float, tls: SSLContext | None
    ) -> None:
        self._bound = sockets
        self._tls = tls
        self.service = service
        self.open_connections = 0
        self.graceful_timeout = grace_s
        self.h11_max_incomplete_size = service.max_header_size_kb * 1024
        self.keep_alive_timeout = service.keep_alive_timeout_sec
        self.ssl_handshake_timeout = service.header_timeout_sec

    def create_sockets(self) -> Sockets:
        for listener in self._bound:
            listener.setblocking(False)
        if self._tls is not None:
            return Sockets(secure_sockets=self._bound, insecure_sockets=[], quic_sockets=[])
        return Sockets(secure_sockets=[], insecure_sockets=self._bound, quic_sockets=[])

    def create_ssl_context(self) -> SSLContext | None:
        return self._tls


def install() -> None:
    """Makes Hypercorn use the classes below, which it has no setting for."""
    hypercorn.trio.run.TCPServer = Connection  # type: ignore[attr-defined]
    hypercorn.trio.tcp_server.ProtocolWrapper = Requests  # type: ignore[assignment, attr-defined]


_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class _Refused(Exception):
    """A request was answered before it became one, and the connection is closed."""


class Requests(H11Protocol):
    """HTTP/1.1 alone: a client that offers to go on in HTTP/2 is answered in the version that it asked in."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments[:-1])  # the last is the protocol that TLS agreed on: there is only one

    async def handle(self, event: Event) -> None:
        with suppress(_Refused):
            await super().handle(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """h11's own limit is for headers that are incomplete after a read."""
        size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
        if size > self.config.h11_max_incomplete_size:
            await self._send_error_response(431)
            await self.send(Closed())
            raise _Refused

    async def _send_error_response(self, status_code: int) -> None:
        """What h11 cannot read as a request, in the envelope."""
        reason = "the headers are too large" if status_code == 431 else "this is not an HTTP request"
        body = _envelope(f"Format error in request: {reason}")
        headers = [*_headers(body), *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    async def _send_h11_event(self, event: Any) -> None:
        """Hypercorn makes responses without a reason phrase, and some clients show nothing else of an error."""
        if isinstance(event, h11.Response):
            object.__setattr__(event, "reason", _REASONS.get(event.status_code, b""))
        await super()._send_h11_event(event)

    def awaited(self) -> tuple[str, int] | None:
        """``head`` or ``body``, and of which request on this connection, while the client is to send; else None."""
        connection = self.connection
        if connection.their_state is h11.SEND_BODY:
            return "body", self.keep_alive_requests
        if connection.their_state is h11.IDLE and connection.trailing_data[0]:
            return "head", self.keep_alive_requests
        return None

    @property
    def is_answered(self) -> bool:
        """Whether the answer to the request that is being received has begun."""
        return self.connection.our_state is not h11.SEND_RESPONSE


class Patience:
    """How long a client is waited for, and how much of that is left."""

    def __init__(self, service: ServiceSettings) -> None:
        self._service = service
        self._awaited: tuple[str, int] | None = None
        self._left_s = 0.0
        self._received = 0

    def left(self, awaited: tuple[str, int] | None) -> float:
        """Seconds for the next bytes of what is ``awaited``, None standing for nothing in particular."""
        if awaited is None:
            return float("inf")
        if awaited != self._awaited:
            is_head = awaited[0] == "head"
            self._left_s = self._service.header_timeout_sec if is_head else self._service.transfer_timeout_sec
            self._received = 0
            self._awaited = awaited
        return max(0.0, self._left_s)

    def spend(self, waited_s: float, received: int) -> None:
        """After ``waited_s`` seconds came ``received`` bytes."""
        self._left_s -= waited_s
        self._received += received
        if self._awaited is not None and self._awaited[0] == "body" and self._received >= TRANSFERRED_BYTES:
            self._left_s = self._service.transfer_timeout_sec
            self._received = 0


class IdleTimer:
    """Closes a connection on which nothing is asked for ``timeout_s``, or once it is idle while the server stops.

    Hypercorn's own starts and cancels a task for each request, a tenth of what a small one costs. This is one task for
    the whole life of a connection; a request moves two numbers. Owned by the connection's tasks.
    """

    def __init__(self, timeout_s: float, terminated: Flag) -> None:
        self._timeout_s = timeout_s
        self._terminated = terminated
        self._since: float | None = None  # None while a request is under way
        self._idle_again = trio.Event()
        self._watch: trio.CancelScope | None = None

    async def restart(self, task_group: TaskGroup, close: Callable[[], Awaitable[None]]) -> None:
        """Nothing is asked for from now on. The first call gives the task its nursery and what to do at the end."""
        self._since = trio.current_time()
        self._idle_again.set()
        if self._watch is None:
            self._watch = trio.CancelScope()
            assert task_group._nursery is not None, "the connection's nursery is open"
            task_group._nursery.start_soon(self._run, self._watch, close)

    async def stop(self) -> None:
        """A request has come."""
        self._since = None

    def end(self) -> None:
        """The connection is over: nothing is to be closed any more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _run(self, watch: trio.CancelScope, close: Callable[[], Awaitable[None]]) -> None:
        with watch:
            while not self._terminated.is_set() and self._left_s() > 0:
                with trio.move_on_after(self._left_s()):
                    await self._terminated.wait()
            while self._since is None:
                self._idle_again = trio.Event()
                await self._idle_again.wait()
            watch.shield = True
            await close()

    def _left_s(self) -> float:
        idle_s = 0.0 if self._since is None else trio.current_time() - self._since
        return self._timeout_s - idle_s


class Connection(TCPServer):
    """A connection that fails alone, counts against the limit, and does not wait for a client for ever.

    While a connection is being closed, an answer to it that is still to be sent finds its stream busy (h11's complaint
    about a body that ended early, beside the application's refusal of that body). Hypercorn lets that error out, where
    it ends every other connection too.
    """

    _head = b""  # of an answer whose body is about to follow: together they take one packet and wake the client once
    _is_over = False  # nothing more is read from the client

    async def run(self) -> None:
        config = self.config
        assert isinstance(config, HttpConfig)
        if config.open_connections >= config.service.max_connections:
            await self._turn_away()
            return
        config.open_connections += 1
        self.idle_timer = IdleTimer(config.keep_alive_timeout, self.context.terminated)
        self.idle_task = self.idle_timer  # type: ignore[assignment]
        try:
            await super().run()
        except Exception:
            log.exception("a connection failed")
        finally:
            config.open_connections -= 1

    async def protocol_send(self, event: Event) -> None:
        head, self._head = self._head, b""
        if self._is_over and isinstance(event, Updated):
            return  # it is not going to be idle
        if isinstance(event, RawData):
            if not head and event.data.startswith(b"HTTP/1.") and not event.data.startswith(INFORMATIONAL, 9):
                self._head = event.data
                return
            await self._send(head + event.data)
            return
        if head:
            await self._send(head)
        with suppress(trio.BusyResourceError):  # sends wait for each other: only closing can be in the way
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """All of ``data``, unless the client does not take it."""
        config = self.config
        assert isinstance(config, HttpConfig)
        async with self.send_lock:
            for start in range(0, len(data), TRANSFERRED_BYTES):
                with trio.CancelScope(shield=True) as scope:
                    scope.deadline = trio.current_time() + config.service.transfer_timeout_sec
                    try:
                        await self.stream.send_all(memoryview(data)[start : start + TRANSFERRED_BYTES])
                    except trio.BusyResourceError:
                        return  # it is being closed
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        await self.protocol.handle(Closed())
                        return
                if scope.cancelled_caught:
                    log.debug("closing a connection: the client does not take its answer")
                    await trio.aclose_forcefully(self.stream)
                    await self.protocol.handle(Closed())
                    return

    async def _read_data(self) -> None:
        config, requests = self.config, self.protocol
        assert isinstance(config, HttpConfig)
        assert isinstance(requests, Requests)
        patience = Patience(config.service)
        while True:
            before = trio.current_time()
            try:
                with trio.fail_after(patience.left(requests.awaited())):
                    data = await self.stream.receive_some(MAX_RECV)
            except trio.TooSlowError:
                log.debug("closing a connection: its request does not arrive")
                if not requests.is_answered:
                    await self._send(_answer(408, "Timeout error: the request did not arrive in time"))
                break
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            patience.spend(trio.current_time() - before, len(data))
            await requests.handle(RawData(bytes(data)))
            if data == b"":
                break
        self._is_over = True
        self.idle_timer.end()  # or it would keep the connection of a client that has gone until it runs out
        await requests.handle(Closed())

    async def _idle_timeout(self) -> None:
        await self._initiate_server_close()

    async def _turn_away(self) -> None:
        """Answers that there are too many, where that is not yet under encryption, and closes."""
        log.debug("turning a connection away: there are max_connections already")
        stream: object = self.stream  # Hypercorn's annotation knows streams under TLS only
        if isinstance(stream, trio.SocketStream):
            with trio.move_on_after(TURNED_AWAY_S), suppress(trio.BrokenResourceError):
                await stream.receive_some(MAX_RECV)
                await stream.send_all(_answer(503, "Service error: too many connections", b"retry-after: 1\r\n"))
                await stream.send_eof()
        await trio.aclose_forcefully(self.stream)


def _answer(status: int, message: str, more_headers: bytes = b"") -> bytes:
    """An answer outside of any application: the connection ends with it."""
    body = _envelope(message)
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in _headers(body))
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n%b" % (status, _REASONS[status], headers, more_headers, body)


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]


def _envelope(message: str) -> bytes:
    """``message`` is one of this file's own, and needs no escaping."""
    return b'{"status":{"error":"%b"},"time":0.0}' % message.encode()
