"""Requests as no client would send them: bodies that are nearly right, and paths that lead elsewhere."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, Final

# Marks what json cannot write: the text goes into the body as it stands.
RAW: Final = "\x00raw:"

VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    1e39,  # finite, and infinite as float32
    -1e308,
    5e-324,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**40,
    "",
    " ",
    "a" * 300,
    "../../etc/passwd",
    "a/../b",
    "%2f%00",
    "nul\x00inside",
    "\u202e\ufeff🦀",
    "a[].b",
    "a[",
    '"',
    "a.b[0].c[-1]",
    "00000000-0000-0000-0000-000000000000",
    "1970-01-01T00:00:00Z",
    "99999-99-99",
    [],
    {},
    [[]],
    [{}],
    {"": None},
    [1, "a", None],
    [1e39] * 4,
    [0.0] * 4,
    [[1.0] * 4] * 3,
    {"indices": [1, 1], "values": [1.0, 2.0]},
    {"indices": [2**32], "values": [1e39]},
    {"text": "hello", "model": "Qdrant/bm25"},
    {"must": [{"key": "a", "match": {"value": 1}}]},
    {"nearest": [1, 2, 3, 4]},
    RAW + "NaN",
    RAW + "Infinity",
    RAW + "1e400",
    RAW + "1e-400",
    RAW + "-" + "9" * 400,
    RAW + "01",
    RAW + r'"\ud800"',
    RAW + r'"\udc00\ud800"',
    RAW + '"\\u0000"',
    RAW + "[" * 3000 + "]" * 3000,
    RAW + '{"a":' * 3000 + "1" + "}" * 3000,
    RAW + '{"a":1,"a":2}',
)

GARBAGE: Final = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'""',
    b"0",
    b"\x00",
    b"\xff\xfe{}",
    b'{"points": [{"id": 1, "vector": [1,2,3,4]}]} trailing',
    b'{"a": "\xc3\x28"}',
    b'{"a": "\xed\xa0\x80"}',
    b"[" * 200_000,
    b'{"filter":' * 20_000,
    b'{"' + b"k" * 100_000 + b'": 1}',
)

_FILTER: Final[dict[str, Any]] = {
    "must": [
        {"key": "a", "match": {"value": "x"}},
        {"key": "n", "range": {"gte": 1, "lt": 5}},
        {"has_id": [1, 2]},
        {"nested": {"key": "b", "filter": {"must_not": [{"is_empty": {"key": "c"}}]}}},
    ],
    "should": [{"key": "g", "geo_radius": {"center": {"lon": 1, "lat": 2}, "radius": 10}}],
    "min_should": {"conditions": [{"key": "t", "match": {"any": ["a", "b"]}}], "min_count": 1},
}
_PARAMS: Final = {"hnsw_ef": 64, "exact": False, "quantization": {"rescore": True, "oversampling": 2.0}}
_POINT: Final = {
    "id": 1,
    "vector": {"dense": [1, 2, 3, 4], "sparse": {"indices": [1], "values": [1.0]}},
    "payload": {"a": 1},
}

# Method, path below the collection, and a body that is right.
TEMPLATES: Final[tuple[tuple[str, str, Any], ...]] = (
    ("PUT", "/points?wait=true", {"points": [_POINT, {"id": 2, "vector": {"multi": [[1, 2], [3, 4]]}}]}),
    (
        "PUT",
        "/points",
        {"batch": {"ids": [1, 2], "vectors": {"dense": [[1, 2, 3, 4]] * 2}, "payloads": [{}, {"a": 1}]}},
    ),
    ("POST", "/points", {"ids": [1, 2], "with_payload": ["a"], "with_vector": True}),
    ("POST", "/points/delete", {"filter": _FILTER}),
    ("POST", "/points/delete", {"points": [7, 8]}),
    ("PUT", "/points/vectors", {"points": [{"id": 1, "vector": {"dense": [1, 2, 3, 4]}}]}),
    ("POST", "/points/vectors/delete", {"points": [1], "vector": ["multi"]}),
    ("POST", "/points/payload", {"payload": {"a": {"b": 1}}, "points": [1], "key": "x.y"}),
    ("PUT", "/points/payload", {"payload": {"a": 1}, "filter": _FILTER}),
    ("POST", "/points/payload/delete", {"keys": ["a.b[]", "c"], "points": [1]}),
    ("POST", "/points/payload/clear", {"points": [1]}),
    ("POST", "/points/batch", {"operations": [{"upsert": {"points": [_POINT]}}, {"delete": {"points": [9]}}]}),
    (
        "POST",
        "/points/scroll",
        {"filter": _FILTER, "limit": 3, "offset": 1, "order_by": {"key": "n", "direction": "asc"}},
    ),
    ("POST", "/points/count", {"filter": _FILTER, "exact": True}),
    ("POST", "/facet", {"key": "a", "limit": 5, "filter": _FILTER, "exact": True}),
    (
        "POST",
        "/points/query",
        {
            "prefetch": [{"query": [1, 2, 3, 4], "using": "dense", "limit": 5, "filter": _FILTER}],
            "query": {"fusion": "rrf"},
            "limit": 3,
            "offset": 1,
            "with_payload": {"exclude": ["a"]},
            "params": _PARAMS,
        },
    ),
    (
        "POST",
        "/points/query",
        {"query": {"recommend": {"positive": [1], "negative": [2]}}, "using": "dense", "limit": 3},
    ),
    ("POST", "/points/query", {"query": {"context": [{"positive": 1, "negative": 2}]}, "using": "dense"}),
    ("POST", "/points/query", {"query": {"discover": {"target": 1, "context": []}}, "using": "dense"}),
    ("POST", "/points/query", {"query": {"order_by": "n"}, "score_threshold": 0.5}),
    ("POST", "/points/query", {"query": {"sample": "random"}, "limit": 2}),
    ("POST", "/points/query", {"query": {"nearest": [1, 2, 3, 4], "mmr": {"diversity": 0.5}}, "using": "dense"}),
    (
        "POST",
        "/points/query",
        {
            "prefetch": {"query": {"indices": [1], "values": [1]}, "using": "sparse"},
            "query": {
                "formula": {
                    "sum": [
                        "$score",
                        {"mult": [2, {"key": "a", "match": {"value": 1}}]},
                        {"div": {"left": 1, "right": 2}},
                    ]
                }
            },
        },
    ),
    (
        "POST",
        "/points/query",
        {"query": [[1, 2], [3, 4]], "using": "multi", "lookup_from": {"collection": "hostile", "vector": "multi"}},
    ),
    (
        "POST",
        "/points/query/batch",
        {"searches": [{"query": [1, 2, 3, 4], "using": "dense"}, {"query": 1, "using": "dense"}]},
    ),
    (
        "POST",
        "/points/query/groups",
        {"query": [1, 2, 3, 4], "using": "dense", "group_by": "a", "group_size": 2, "limit": 3},
    ),
    ("POST", "/points/search", {"vector": {"name": "dense", "vector": [1, 2, 3, 4]}, "limit": 3, "params": _PARAMS}),
    (
        "POST",
        "/points/recommend",
        {"positive": [1], "negative": [], "using": "dense", "limit": 3, "strategy": "best_score"},
    ),
    (
        "POST",
        "/points/discover",
        {"target": 1, "context": [{"positive": 1, "negative": 2}], "using": "dense", "limit": 3},
    ),
    ("POST", "/points/search/matrix/pairs", {"sample": 5, "limit": 2, "using": "dense", "filter": _FILTER}),
    ("POST", "/points/search/matrix/offsets", {"sample": 5, "limit": 2, "using": "dense"}),
    ("PUT", "/index", {"field_name": "t", "field_schema": {"type": "text", "tokenizer": "word", "min_token_len": 2}}),
    ("PUT", "/index", {"field_name": "n", "field_schema": "integer"}),
    ("PATCH", "", {"optimizers_config": {"indexing_threshold": 20000}, "hnsw_config": {"m": 16}}),
    (
        "PUT",
        "",
        {"vectors": {"dense": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8}}}, "sparse_vectors": {"s": {}}},
    ),
    ("PUT", "/snapshots/recover", {"location": "file:///etc/passwd", "checksum": "0" * 64}),
)
COLLECTION: Final[dict[str, Any]] = {
    "vectors": {
        "dense": {"size": 4, "distance": "Cosine"},
        "multi": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"sparse": {"modifier": "idf"}},
}

NAMES: Final = (
    "..",
    "%2e%2e",
    "..%2f..%2fetc",
    "%2fetc%2fpasswd",
    "a%00b",
    "%00",
    "%ff",
    "%ed%a0%80",
    "a" * 300,
    "%F0%9F%A6%80",
    "a%20b",
    "%",
    "%zz",
    "con",
    "a%5cb",
    "-",
    "18446744073709551616",
    "null",
)


def mutated(template: Any, chance: random.Random) -> bytes:
    """The template with some of its values replaced, left out, added, or given a wrong key."""
    body = copy.deepcopy(template)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(body))
        if not places:
            break
        holder, key = chance.choice(places)
        match chance.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(("", "id", "vector", "filter", "limit", "a" * 300, "\x00"))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder[key]) for _ in range(chance.choice((1, 50))))
            case _:
                holder[key] = copy.deepcopy(chance.choice(VALUES))
    return _written(body)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _written(body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False)
    for value in VALUES:
        if isinstance(value, str) and value.startswith(RAW):
            text = text.replace(json.dumps(value, ensure_ascii=False), value.removeprefix(RAW))
    return text.encode()
