"""A server with its folder of snapshots, and a collection in which there is something of everything."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any, Final

import httpx

from tests.contract import check_response
from tests.http.client import Client, Collection
from tests.http.running_server import RunningServer

EVERYTHING: Final[dict[str, Any]] = {
    "vectors": {
        "short": {"size": 8, "distance": "Cosine"},
        "bytes": {"size": 4, "distance": "Euclid", "datatype": "uint8"},
        "many": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {"modifier": "idf"}},
    "on_disk_payload": False,
    "metadata": {"owner": "tests"},
}
INDEXES: Final = {"number": "integer", "colour": "keyword", "text": "text", "place": "geo"}
COLOURS: Final = ("red", "green", "blue")


class Keeper:
    """``client`` holds every answer against the document; ``path`` is the folder of snapshots."""

    def __init__(self, server: RunningServer, path: Path) -> None:
        self.server = server
        self.path = path
        self.client = Client(server.url)
        self._http = httpx.Client(base_url=server.url, timeout=60.0)
        self._numbers = itertools.count()

    def close(self) -> None:
        self.client.close()
        self._http.close()

    def new_name(self) -> str:
        return f"s{next(self._numbers)}"

    def filled(self, points: int = 60, name: str | None = None) -> Collection:
        """A collection with vectors of all kinds, payloads, indexes, deleted points, and all kinds of ids."""
        collection = self.client.create(name or self.new_name(), **EVERYTHING)
        for field, schema in INDEXES.items():
            body = {"field_name": field, "field_schema": schema}
            self.client.result("PUT", f"{collection.path}/index", body, wait="true")
        numbers = random.Random(points)
        collection.upsert(*(point(number, numbers) for number in range(points)))
        collection.change("POST", "/delete", {"points": [1, 3, 5]})
        collection.upsert(point(7, numbers))
        return collection

    def create(self, collection: str, **params: Any) -> dict[str, Any]:
        """The description of a new snapshot."""
        made: dict[str, Any] = self.client.result("POST", f"/collections/{collection}/snapshots", **params)
        return made

    def location(self, *names: str) -> str:
        return self.path.joinpath(*names).as_uri()

    def recover(self, collection: str, location: str, **request: Any) -> None:
        body = {"location": location, **request}
        assert self.client.result("PUT", f"/collections/{collection}/snapshots/recover", body) is True

    def send(self, path: str, content: bytes, field: str = "snapshot", **params: Any) -> httpx.Response:
        """An upload; its answer fits the document."""
        response = self._http.post(path, files={field: ("a file", content)}, params=params)
        kind = response.headers.get("content-type")
        check_response(self.client.document, "POST", path, response.status_code, kind, response.content)
        assert response.status_code < 500, response.text
        return response

    def upload(self, collection: str, content: bytes, **params: Any) -> httpx.Response:
        return self.send(f"/collections/{collection}/snapshots/upload", content, **params)

    def download(self, path: str) -> bytes:
        response = self._http.get(path)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/octet-stream"
        assert int(response.headers["content-length"]) == len(response.content)
        return response.content

    def left_behind(self) -> list[Path]:
        """Work in progress in the folder of snapshots, and collection folders that no catalog names."""
        named = len(self.client.result("GET", "/collections")["collections"])
        folders = list((self.server.storage / "collections").iterdir())
        unnamed = folders if len(folders) != named else []
        return [*self.path.glob(".*.tmp"), *unnamed]


def point(number: int, numbers: random.Random) -> dict[str, Any]:
    """Ids are small numbers, numbers beyond 2^63, and UUIDs."""
    ids = (number, 2**63 + number, f"00000000-0000-4000-8000-{number:012}", 10**19 + number)
    vector: dict[str, Any] = {"short": [numbers.uniform(-1, 1) for _ in range(8)]}
    if number % 3:
        vector["bytes"] = [numbers.randrange(256) for _ in range(4)]
    if number % 4:
        vector["many"] = [[numbers.uniform(-1, 1) for _ in range(4)] for _ in range(1 + number % 3)]
    if number % 5:
        vector["words"] = {"indices": [number % 7, 100 + number % 3], "values": [1.0, numbers.random()]}
    payload = {
        "number": number % 10,
        "colour": COLOURS[number % 3],
        "text": f"point number {number}, naïve and 深い",
        "place": {"lon": number % 90, "lat": number % 45},
        "nested": {"list": [number, None, True, 0.5]},
    }
    return {"id": ids[number % 4], "vector": vector, "payload": payload if number % 6 else {}}


def answers(collection: Collection) -> Any:
    """What a collection answers, in every digit."""
    numbers = random.Random(1)
    filter = {"must": [{"key": "number", "range": {"gte": 2}}, {"key": "text", "match": {"text": "naïve"}}]}
    found: list[Any] = [collection.all(), collection.versions(), collection.count()]
    for _ in range(5):
        short = [numbers.uniform(-1, 1) for _ in range(8)]
        common = {"limit": 20, "with_payload": True, "params": {"exact": True}}
        found.append(collection.query(query=short, using="short", filter=filter, **common))
        found.append(collection.query(query=[1, 2, 3, 4], using="bytes", **common))
        found.append(collection.query(query=[short[:4], short[4:]], using="many", **common))
        words = {"indices": [numbers.randrange(7), 101], "values": [1.0, 0.5]}
        found.append(collection.query(query=words, using="words", limit=20))
    found.append(collection.client.result("POST", f"{collection.path}/facet", {"key": "colour"}))
    found.append(collection.points("POST", "/scroll", {"order_by": "number", "limit": 30}))
    info = collection.info()
    found.append({key: info[key] for key in ("config", "payload_schema", "points_count")})
    return found
