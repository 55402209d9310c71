"""The process: one ``trio.run`` whose root nursery owns the asyncio loop, the registry and the HTTP server.

::

    trio.run
     └─ root nursery
         ├─ signals            first one: stop in order; second one: leave at once
         ├─ hypercorn          accepts, hands requests to the application; stops first
         └─ asyncio loop       hosts the database connections; stops last
             └─ registry       every collection's actor and optimizer

Guarantees: a task that dies anywhere in this tree ends the process with exit code 1 and its traceback in the log; the
server never keeps answering without one of its parts. After the first SIGTERM or SIGINT nothing new is accepted, what
was accepted is finished and flushed, and the process leaves with 0 within ``STOP_S``. The address is bound before the
storage is opened, so that a second server fails before it touches anything.

Assumes: it is called once in a process, from the main thread, and owns that process's signals and log.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import hypercorn.trio
import trio
import trio_asyncio  # type: ignore[import-untyped]

from vdb import __version__, connections, executable
from vdb.config import ServiceSettings, Settings
from vdb.connections import BACKLOG, HttpConfig
from vdb.door import Door
from vdb.errors import Misconfigured
from vdb.files import StorageLock
from vdb.tls import Certificates

log = logging.getLogger("vdb.server")

# Objects, and collections of younger ones, between two collections of each generation. Work that makes a hundred
# thousand objects and keeps them for a moment (reading a field index does) is not interrupted by full collections,
# which hold the event loop for 50 ms; reference counts free nearly all of what requests leave behind.
COLLECTED_EVERY: Final = (10_000, 10, 50)

# Seconds from the signal to the exit; whoever sent it often follows with SIGKILL after 10.
STOP_S: Final = 9.0

# Seconds that requests in flight get to finish. What remains of STOP_S is for draining and closing collections.
GRACE_S: Final = 4.0

# Seconds. After every query usearch takes the GIL back: beside a busy Python thread that costs a whole switch interval,
# 5 ms by default.
SWITCH_INTERVAL_S: Final = 0.0005

# Files that the process may open, where the system lets it have so many: connections, and the files of collections.
OPEN_FILES: Final = 65_536

# Seconds between two looks at whether the launcher of a one-file executable still lives.
LAUNCHER_POLL_S: Final = 0.5

# Seconds within which a second signal to a one-file executable counts as the first: Ctrl+C reaches it directly, and
# again through its launcher.
ECHO_S: Final = 0.5


class OpenRegistry(Protocol):
    """Opens the storage, recovers, and on leaving drains and closes; yields what the application serves."""

    def __call__(self, settings: Settings, /) -> AbstractAsyncContextManager[Any]: ...


CreateApp = Callable[[Any, Settings], Any]


def real_parts() -> tuple[OpenRegistry, CreateApp]:
    """The database and its application; imported here so that an address in use is reported without loading them."""
    from vdb.api.app import create_app
    from vdb.registry import open_registry

    return open_registry, create_app


def run(settings: Settings, parts: Callable[[], tuple[OpenRegistry, CreateApp]] = real_parts) -> int:
    """Serves until told to stop; returns the exit code of the process."""
    try:
        with ExitStack() as held:
            sockets = [held.enter_context(listener) for listener in bind(settings.service)]
            held.enter_context(StorageLock(Path(settings.storage.storage_path)))
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            _raise_file_limit()
            certificates = Certificates(settings.service, settings.tls) if settings.service.enable_tls else None
            warn_of_open_doors(settings.service)
            trio.run(serve, settings, sockets, certificates, *parts())
    except Misconfigured as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("the server stopped on an error")
        return 1
    log.info("stopped")
    return 0


async def serve(
    settings: Settings,
    sockets: list[socket.socket],
    certificates: Certificates | None,
    open_registry: OpenRegistry,
    create_app: CreateApp,
) -> None:
    """Answers on bound ``sockets`` until a signal; raises what any of its tasks died of."""
    stop = trio.Event()
    async with _unwrapped(), trio.open_nursery() as root:
        await root.start(_watch_signals, stop)
        if certificates is not None:
            root.start_soon(certificates.keep_fresh)
        if executable.is_one_file():
            root.start_soon(_watch_launcher, os.getppid(), stop)
        answered = trio.Event()
        door = Door()
        # Tasks of the server run in the context of the loop: what they await is found through it.
        async with trio_asyncio.open_loop():
            _listen(sockets)
            tls = None if certificates is None else certificates.context
            config = HttpConfig(sockets, settings.service, GRACE_S, tls)
            addresses = await root.start(_serve_http, Uninterrupted(door), config, stop, answered)
            # When a task of the registry dies, the body is cancelled and the error leaves through here.
            async with open_registry(settings) as registry:
                # What the start has made lives as long as the process: 80,000 objects, and every full collection would
                # hold the loop for 50 ms to look through them in vain.
                gc.collect()
                gc.freeze()
                gc.set_threshold(*COLLECTED_EVERY)
                door.open(create_app(registry, settings))
                _announce(addresses, settings, registry.recovered)
                await stop.wait()
                with trio.move_on_after(GRACE_S + 1):
                    await answered.wait()
        if not answered.is_set():
            # Hypercorn shields its writes: a client that does not read its answer would hold the process for ever.
            log.warning("a client did not take its answer: leaving without it")
            leave(0)
        root.cancel_scope.cancel()


async def _serve_http(
    app: Any,
    config: HttpConfig,
    stop: trio.Event,
    answered: trio.Event,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until ``stop``, then sets ``answered`` once the last request is."""
    connections.install()
    await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait, mode="asgi", task_status=task_status)
    answered.set()


class Uninterrupted:
    """The application, with the end of every response shielded from cancellation.

    Hypercorn tells the application that the client is gone from inside the last send, quart-trio then cancels the
    handler, and with it the rest of that send: the part that starts the idle timer of the connection. Without the timer
    a connection is never closed for being idle, and a stopping server waits for it in vain.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_whole(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                with trio.CancelScope(shield=True):
                    await send(message)
            else:
                await send(message)

        await self._app(scope, receive, send_whole)


def bind(service: ServiceSettings) -> list[socket.socket]:
    """Sockets bound to every address of the host, not listening yet; raises Misconfigured."""
    try:
        found = socket.getaddrinfo(service.host, service.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {service.host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    port = service.http_port
    try:
        for family, kind, protocol, _, address in found:
            sockets.append(socket.socket(family, kind, protocol))
            _bind_one(sockets[-1], (address[0], port, *address[2:]))
            # Port 0 takes a free one, and the same one on every address.
            port = sockets[-1].getsockname()[1]
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise Misconfigured(f"cannot listen on {service.host}:{service.http_port}: {error.strerror}") from error
    return sockets


def _listen(sockets: list[socket.socket]) -> None:
    """From here on clients can connect; raises Misconfigured. Until the recovery is over they are told to wait."""
    for listener in sockets:
        try:
            listener.listen(BACKLOG)
        except OSError as error:
            # Two servers may both have bound the address, for as long as neither listens.
            raise Misconfigured(f"cannot listen on {listener.getsockname()}: {error.strerror}") from error


def warn_of_open_doors(service: ServiceSettings) -> None:
    """Tells the operator what others can do, where that may not be meant."""
    if not service.is_loopback and not service.has_keys:
        log.warning(
            "everybody who reaches %s can read and change everything: set service.api_key, or bind to 127.0.0.1",
            service.host,
        )
    elif not service.is_loopback and not service.enable_tls:
        log.warning("keys travel unencrypted to %s: set service.enable_tls, or encrypt in front of it", service.host)
    if service.read_only_api_key is not None and service.api_key is None and service.alt_api_key is None:
        log.warning("nobody can write: there is a service.read_only_api_key, and no service.api_key")


def _raise_file_limit() -> None:
    """Many systems give a process 1,024 open files at first, and more if it asks."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # macOS has a limit of its own that it does not tell
            log.debug("the limit of open files stays %d: %s", soft, error)


def _announce(addresses: list[str], settings: Settings, recovered: object) -> None:
    folder = Path(settings.storage.storage_path).resolve()
    log.info("vdb %s listens on %s, stores in %s, %s", __version__, ", ".join(addresses), folder, recovered)


def _bind_one(listener: socket.socket, address: tuple[Any, ...]) -> None:
    if sys.platform == "win32":
        # There SO_REUSEADDR would let a second server take the port away from the first.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        # Without it a restarted server would wait a minute for connections of the old one to be forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        # A host of two families gets a socket for each; one that took both would leave the other an address in use.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(address)


async def _watch_signals(stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Sets ``stop`` at the first signal, leaves the process at the second or ``STOP_S`` after the first."""
    echo_s = ECHO_S if executable.is_one_file() else 0.0
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        name = signal.Signals(await anext(received)).name
        log.info("%s: finishing what was accepted; a second signal leaves at once", name)
        stop.set()
        first = trio.current_time()
        with trio.move_on_after(STOP_S):
            async for number in received:
                if trio.current_time() - first >= echo_s:
                    log.error("%s again: leaving at once", signal.Signals(number).name)
                    leave(128 + number)
    log.error("not everything was closed within %g s: leaving; the next start recovers from the log", STOP_S)
    leave(1)


async def _watch_launcher(launcher: int, stop: trio.Event) -> None:
    """Stops the server when the launcher of a one-file executable is killed: nobody would forward signals any more."""
    while os.getppid() == launcher:  # noqa: ASYNC110 - the operating system sends no event for this
        await trio.sleep(LAUNCHER_POLL_S)
    log.error("the launcher of this executable is gone: stopping")
    stop.set()


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """Raises the one error inside exception groups of one, so that a Misconfigured is reported as its one line."""
    try:
        yield
    except BaseExceptionGroup as group:
        inner: BaseException = group
        while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
            inner = inner.exceptions[0]
        if isinstance(inner, Misconfigured):
            raise inner from None
        raise


def leave(code: int) -> NoReturn:
    """Ends the process now, with the log written out.

    A normal exit would wait for every thread, and one that hangs in a system call would keep a dead server in the
    process table. Nothing durable depends on a normal exit.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    executable.remove_if_abandoned()
    os._exit(code)
