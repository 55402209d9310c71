"""A client that holds every answer of the server against the OpenAPI document that the server publishes."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import httpx

from tests.contract import check_response

TIMEOUT_S: Final = 60.0

Create = Callable[..., "Collection"]  # a name where one is wanted, and the configuration
Body = dict[str, Any] | list[Any] | bytes | Iterable[bytes]


class Client:
    """Bodies are plain values, or bytes that are sent as they stand."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self.url = url
        self._numbers = itertools.count()
        self.document: dict[str, Any] = self._http.get("/openapi.json").json()

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, body: Body | None = None, **params: Any) -> httpx.Response:
        """Any answer that fits the document and is no fault of the server's own."""
        content = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        headers = {} if body is None else {"content-type": "application/json"}
        response = self._http.request(method, path, content=content, params=params or None, headers=headers)
        content_type = response.headers.get("content-type")
        check_response(self.document, method, path, response.status_code, content_type, response.content)
        assert response.status_code < 500, response.text
        return response

    def result(self, method: str, path: str, body: Body | None = None, **params: Any) -> Any:
        """What stands under ``result`` in a successful answer."""
        response = self.send(method, path, body, **params)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["status"] == "ok"
        assert answer["time"] >= 0
        return answer["result"]

    def refusal(self, status: int, method: str, path: str, body: Body | None = None, **params: Any) -> str:
        """The message of an answer that must be a refusal with ``status``, in the envelope."""
        response = self.send(method, path, body, **params)
        assert response.status_code == status, response.text
        answer = response.json()
        assert answer.keys() == {"status", "time"}
        message: str = answer["status"]["error"]
        return message

    @contextlib.contextmanager
    def making(self) -> Iterator[Create]:
        """Makes collections, with names of their own where none is given, and removes them at the end of the block."""
        made: list[Collection] = []

        def create(name: str | None = None, **config: Any) -> Collection:
            made.append(self.create(name or f"c{next(self._numbers)}", **config))
            return made[-1]

        yield create
        for collection in made:
            self.result("DELETE", collection.path)

    def create(self, name: str, **config: Any) -> Collection:
        """A new collection; without a configuration one of four-dimensional unnamed vectors, compared by Dot."""
        assert self.result("PUT", f"/collections/{name}", config or UNNAMED_4) is True
        return Collection(self, name)


UNNAMED_4: Final = {"vectors": {"size": 4, "distance": "Dot"}}


class Collection:
    """One collection on the server, by any of its names."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.path = f"/collections/{name}"

    def points(self, method: str, path: str, body: Body | None = None, **params: Any) -> Any:
        return self.client.result(method, f"{self.path}/points{path}", body, **params)

    def refusal(self, status: int, method: str, path: str, body: Body | None = None, **params: Any) -> str:
        return self.client.refusal(status, method, f"{self.path}/points{path}", body, **params)

    def upsert(self, *points: dict[str, Any]) -> None:
        assert self.points("PUT", "", {"points": list(points)}, wait="true")["status"] == "completed"

    def change(self, method: str, path: str, body: Body) -> None:
        """Any write, applied when this returns."""
        answer = self.points(method, path, body, wait="true")
        assert answer["status"] == "completed"

    def get(self, point_id: int | str) -> dict[str, Any]:
        found: dict[str, Any] = self.points("GET", f"/{point_id}")
        return found

    def query(self, **request: Any) -> list[dict[str, Any]]:
        hits: list[dict[str, Any]] = self.points("POST", "/query", request)["points"]
        return hits

    def count(self) -> int:
        number: int = self.points("POST", "/count", {})["count"]
        return number

    def all(self) -> list[dict[str, Any]]:
        """Every point with everything that it holds."""
        page = self.points("POST", "/scroll", {"limit": 999_999_999, "with_payload": True, "with_vector": True})
        assert page["next_page_offset"] is None
        points: list[dict[str, Any]] = page["points"]
        return points

    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.client.result("GET", self.path)
        return info

    def versions(self) -> list[tuple[int | str, int]]:
        """Every id with the number of the operation that last changed it."""
        return [(hit["id"], hit["version"]) for hit in self.query(limit=999_999_999)]

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is sent in this block must leave the collection, and the list of collections, as they are."""
        before = self._image()
        yield
        assert self._image() == before

    def _image(self) -> Any:
        names = self.client.result("GET", "/collections")
        return names, self.info(), self.all(), self.versions(), self.count()
