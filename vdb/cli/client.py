"""A server by its REST API, vdb's or Qdrant's: one keep-alive connection, JSON in and out.

The standard library's client: httpx takes 120 ms to import, and nothing here needs what it can do more. A ``Client``
belongs to one thread.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click
import orjson

from vdb.errors import VdbError

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_URL: Final = "http://127.0.0.1:6333"
TIMEOUT_S: Final = 300.0  # a server may build an index or copy a snapshot before it answers
_TRY_LATER: Final = (429, 503)
_BUSY_S: Final = 120.0  # for so long a server that is busy is asked again
_WAIT_MAX_S: Final = 10.0
BLOCK_BYTES: Final = 1 << 20


class SupportsRead(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ServerError(VdbError):
    """The server refused a request, or does not answer; ``status`` is 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is; ``api_key`` goes into the header of that name."""

    url: str
    api_key: str | None = None

    def connect(self) -> Client:
        return Client(self)


class Client:
    """Raises ServerError for whatever is not an answer with 2xx."""

    def __init__(self, server: Server) -> None:
        self.url = server.url if "://" in server.url else f"http://{server.url}"
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ServerError(f"{server.url} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ServerError(f"{server.url} is not the URL of a server")
        self._prefix = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if server.api_key:
            self._headers["api-key"] = server.api_key
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            # Qdrant's cloud listens on 6333; a URL without a port means what it means everywhere else.
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, **params: str) -> Any:
        return self.call("GET", path, None, **params)

    def call(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """What stands under ``result``. ``body`` is a value, or JSON as bytes."""
        content = self.call_raw(method, path, body, **params)
        try:
            return orjson.loads(content)["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self.url} does not speak Qdrant's REST API ({method} {path})") from error

    def call_raw(self, method: str, path: str, body: Any = None, **params: str) -> bytes:
        """The whole answer, undecoded."""
        if body is not None and not isinstance(body, bytes):
            body = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        deadline = time.monotonic() + _BUSY_S
        for attempt in itertools.count():
            answer, content = self._send(method, path, body, params)
            if answer.status not in _TRY_LATER or time.monotonic() > deadline:
                break
            time.sleep(_wait_s(answer.getheader("retry-after"), attempt))
        if not 200 <= answer.status < 300:
            raise ServerError(self._refusal(method, path, answer, content), answer.status)
        return content

    def version(self) -> dict[str, Any]:
        """What the server says of itself."""
        answer, content = self._send("GET", "/", None, {})
        try:
            told: dict[str, Any] = orjson.loads(content)
        except ValueError as error:
            raise ServerError(f"{self.url} does not speak Qdrant's REST API ({answer.status})") from error
        return told

    @contextmanager
    def stream(self, path: str) -> Iterator[tuple[SupportsRead, int | None]]:
        """The body of an answer, to be read within the block, and its length in bytes where the server tells it."""
        with self._translated():
            self._connection.request("GET", self._prefix + path, headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status != 200:
                content = answer.read()
                raise ServerError(self._refusal("GET", path, answer, content), answer.status)
            length = answer.getheader("content-length")
            yield answer, None if length is None else int(length)

    def upload(self, path: str, name: str, file: SupportsRead, size: int, progress: Callable[[int, int], None]) -> Any:
        """Sends a file as the field ``snapshot`` of a form, never more of it in memory than a block."""
        boundary = "vdb-7f1d2c1b0a5e4c9d"
        safe = name.replace('"', "_")
        head = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="snapshot"; filename="{safe}"\r\n'
            "content-type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def blocks() -> Iterator[bytes]:
            yield head
            done = 0
            while block := file.read(BLOCK_BYTES):
                yield block
                done += len(block)
                progress(done, size)
            yield tail

        headers = {
            **self._headers,
            "content-type": f"multipart/form-data; boundary={boundary}",
            "content-length": str(len(head) + size + len(tail)),
        }
        with self._translated():
            # A server that refuses closes before it has read everything: its answer says why.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request("POST", self._prefix + path, body=blocks(), headers=headers)
            answer = self._connection.getresponse()
            content = answer.read()
        if not 200 <= answer.status < 300:
            raise ServerError(self._refusal("POST", path, answer, content), answer.status)
        return orjson.loads(content).get("result")

    def _send(
        self, method: str, path: str, body: bytes | None, params: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        target = self._prefix + path + (f"?{urlencode(params)}" if params else "")
        reused = self._connection.sock is not None
        with self._translated():
            try:
                self._connection.request(method, target, body=body, headers=self._headers)
                answer = self._connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A kept connection may be closed just as it is used; every request here can be sent twice.
                self._connection.close()
                if not reused:
                    raise
                self._connection.request(method, target, body=body, headers=self._headers)
                answer = self._connection.getresponse()
            return answer, answer.read()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerError(f"cannot reach {self.url}: {reason}") from error

    def _refusal(self, method: str, path: str, answer: http.client.HTTPResponse, content: bytes) -> str:
        try:
            message = orjson.loads(content)["status"]["error"]
        except (ValueError, KeyError, TypeError):
            message = content[:200].decode(errors="replace").strip() or answer.reason
        if answer.status in (401, 403):
            return f"{self.url} refuses the API key: {message} (--api-key, VDB_API_KEY)"
        return f"{message} ({answer.status}, {method} {path})"


def _wait_s(retry_after: str | None, attempt: int) -> float:
    """Seconds before the next attempt: what the server asks for, or ever longer."""
    asked = int(retry_after) if retry_after is not None and retry_after.isdigit() else 2 ** min(attempt, 6) * 0.25
    return min(float(asked), _WAIT_MAX_S)


def collection_path(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"


def server_options(command: Callable[P, T]) -> Callable[..., T]:
    """Adds ``--url`` and ``--api-key``; the command receives both as one ``server``."""

    @click.option("--url", default=DEFAULT_URL, envvar="VDB_URL", show_default=True, help="The server.")
    @click.option(
        "--api-key", envvar=["VDB_API_KEY", "QDRANT_API_KEY"], help="Its API key; also VDB_API_KEY, QDRANT_API_KEY."
    )
    @functools.wraps(command)
    def with_server(*args: Any, url: str, api_key: str | None, **kwargs: Any) -> T:
        return command(*args, server=Server(url, api_key), **kwargs)  # type: ignore[arg-type]

    return with_server
