"""Writes the storage folder that later versions must be able to open: ``python scripts/make_upgrade_fixture.py``.

The result is ``tests/fixtures/storage-v1/``: a tar of the folder, and the answers that a server gave from it. It is
written once for a storage format and kept for good: later versions open it (`tests/upgrade`). Until the first release
it may be written anew after a migration or a file format has changed; after that a new format gets a new folder beside
it (``--name storage-v2``), and this one stays.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.vdb_process import VdbProcess, serving

FIXTURES: Final = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
STORAGE_NAME: Final = "storage.tar.gz"
ANSWERS_NAME: Final = "answers.json"
BYTES_MAX: Final = 300 * 1024
POINTS: Final = 160
UNSEALED: Final = 20  # written after the segment was sealed
WORDS: Final = ("ape", "bee", "cat", "dog")
SCORE_DIGITS: Final = 4

MAIN: Final[dict[str, Any]] = {
    "vectors": {
        "dense": {
            "size": 8,
            "distance": "Cosine",
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
        },
        "half": {"size": 4, "distance": "Dot", "datatype": "float16"},
        "multi": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"sparse": {"modifier": "idf"}},
    "optimizers_config": {"indexing_threshold": 2, "default_segment_number": 1},
    "hnsw_config": {"full_scan_threshold": 10},
}
UNNAMED: Final[dict[str, Any]] = {"vectors": {"size": 3, "distance": "Euclid"}, "on_disk_payload": False}
INDEXES: Final[dict[str, Any]] = {
    "word": "keyword",
    "number": {"type": "integer", "lookup": True, "range": True},
    "price": "float",
    "text": {"type": "text", "tokenizer": "word", "lowercase": True},
    "place": "geo",
    "at": "datetime",
    "yes": "bool",
}

_DENSE: Final = [1, -1, 0.5, 2, 0, 0, 1, -2]
_QUERY: Final = "/collections/main/points/query"
# What is asked: name, method, path, body. Exact, so that no graph decides the answer.
QUESTIONS: Final[tuple[tuple[str, str, str, Any], ...]] = (
    ("collections", "GET", "/collections", None),
    ("aliases", "GET", "/aliases", None),
    ("all", "POST", "/collections/main/points/scroll", {"limit": 1000, "with_vector": True}),
    ("unnamed", "POST", "/collections/plain/points/scroll", {"limit": 1000, "with_vector": True}),
    ("by alias", "POST", "/collections/other/points/count", {"exact": True}),
    ("dense", "POST", _QUERY, {"query": _DENSE, "using": "dense", "params": {"exact": True}}),
    ("half", "POST", _QUERY, {"query": [1, 2, 3, 4], "using": "half", "params": {"exact": True}}),
    ("multi", "POST", _QUERY, {"query": [[1, 0, 0, 1], [0, 1, 1, 0]], "using": "multi", "params": {"exact": True}}),
    ("sparse", "POST", _QUERY, {"query": {"indices": [1, 5, 9], "values": [1, 2, 3]}, "using": "sparse"}),
    ("word", "POST", _QUERY, {"filter": {"must": [{"key": "word", "match": {"value": "bee"}}]}, "limit": 100}),
    ("number", "POST", _QUERY, {"filter": {"must": [{"key": "number", "range": {"lt": 30}}]}, "limit": 100}),
    ("price", "POST", _QUERY, {"filter": {"must": [{"key": "price", "range": {"gt": 30.25}}]}, "limit": 100}),
    ("text", "POST", _QUERY, {"filter": {"must": [{"key": "text", "match": {"text": "DOG sits"}}]}, "limit": 100}),
    (
        "place",
        "POST",
        _QUERY,
        {
            "filter": {"must": [{"key": "place", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": 2e5}}]},
            "limit": 100,
        },
    ),
    ("at", "POST", _QUERY, {"filter": {"must": [{"key": "at", "range": {"gte": "2026-01-20"}}]}, "limit": 100}),
    ("yes", "POST", _QUERY, {"filter": {"must_not": [{"key": "yes", "match": {"value": True}}]}, "limit": 100}),
    ("facet", "POST", "/collections/main/facet", {"key": "word", "exact": True}),
)


def ask(server: VdbProcess) -> dict[str, Any]:
    """The answers to all questions, scores rounded: where a row lies decides their last digits."""
    return {name: _rounded(server.call(method, path, body)) for name, method, path, body in QUESTIONS}


def describe(server: VdbProcess) -> dict[str, Any]:
    """Settings and indexes of both collections."""
    found = {}
    for name in ("main", "plain"):
        info = server.call("GET", f"/collections/{name}")
        found[name] = {
            "params": info["config"]["params"],
            "points": info["points_count"],
            "fields": info["payload_schema"],
        }
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: round(one, SCORE_DIGITS) if key == "score" else _rounded(one)
            for key, one in value.items()
            if key != "time"
        }
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def fill(server: VdbProcess) -> None:
    chance = random.Random(1)
    server.call("PUT", "/collections/main", MAIN)
    server.call("PUT", "/collections/plain", UNNAMED)
    for field, schema in INDEXES.items():
        server.call("PUT", "/collections/main/index?wait=true", {"field_name": field, "field_schema": schema})
    write(server, [_point(number, chance) for number in range(POINTS)])
    server.wait_until_green("main")
    write(server, [_point(number, chance) for number in range(POINTS, POINTS + UNSEALED)])
    server.call("POST", "/collections/main/points/delete?wait=true", {"points": [4, 5, _uuid(6)]})
    server.call(
        "PUT", "/collections/main/points/payload?wait=true", {"points": [1], "payload": {"word": "ape", "new": []}}
    )
    server.call("POST", "/collections/main/points/vectors/delete?wait=true", {"points": [8], "vector": ["half"]})
    plain = [{"id": number, "vector": [number, 1, 2], "payload": {"n": number}} for number in range(5)]
    server.call("PUT", "/collections/plain/points?wait=true", {"points": plain})
    alias = {"create_alias": {"collection_name": "main", "alias_name": "other"}}
    server.call("POST", "/collections/aliases", {"actions": [alias]})
    server.wait_until_green("main")


def write(server: VdbProcess, points: list[dict[str, Any]]) -> None:
    server.call("PUT", "/collections/main/points?wait=true", {"points": points})


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def _point(number: int, chance: random.Random) -> dict[str, Any]:
    def vector(size: int) -> list[float]:
        return [chance.randint(-8, 8) / 4 for _ in range(size)]

    ids: tuple[int | str, ...] = (number, number, _uuid(number), 2**64 - 1 - number)
    vectors: dict[str, Any] = {"dense": vector(8), "half": vector(4)}
    if number % 3:
        vectors["multi"] = [vector(4) for _ in range(1 + number % 3)]
    if number % 2:
        vectors["sparse"] = {"indices": sorted(chance.sample(range(12), 3)), "values": [1.0, 0.5, 2.0]}
    payload = {
        "word": WORDS[number % 4],
        "number": number,
        "price": number / 4,
        "text": f"the {WORDS[number % 3]} sits on number {number}",
        "place": {"lon": number % 5, "lat": number % 3},
        "at": f"2026-01-{1 + number % 28:02d}T12:00:00Z",
        "yes": number % 2 == 0,
        "deep": {"er": [number, None, "naïve 深い"]},
    }
    return {"id": ids[number % 4], "vector": vectors, "payload": payload}


def pack(storage: Path) -> bytes:
    """A tar without owners and times, so that the same folder gives the same file."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(storage.rglob("*")):
            if path.is_file() and path.name != ".lock":
                info = tarfile.TarInfo(str(path.relative_to(storage)))
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(info, file)
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="storage-v1")
    target = FIXTURES / parser.parse_args().name
    with tempfile.TemporaryDirectory(prefix="vdb-fixture-") as scratch:
        storage = Path(scratch) / "storage"
        environment = {**os.environ, "VDB__STORAGE__SNAPSHOTS_PATH": str(Path(scratch) / "snapshots")}
        with serving(storage, environment) as server:
            fill(server)
            answers = {"questions": ask(server), "collections": describe(server)}
            assert server.stop() == 0
        packed = pack(storage)
    if len(packed) > BYTES_MAX:
        print(f"{len(packed)} bytes are too many for a repository", file=sys.stderr)
        return 1
    target.mkdir(parents=True, exist_ok=True)
    (target / STORAGE_NAME).write_bytes(packed)
    (target / ANSWERS_NAME).write_text(
        json.dumps(answers, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    print(f"{target}: {len(packed)} bytes, {len(answers['questions'])} answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
