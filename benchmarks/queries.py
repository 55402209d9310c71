"""Kinds of queries, one command: ``python benchmarks/queries.py [--data PATH.npz] [--queries PATH.json]``.

========== ===========================================================================================================
part       what it measures
========== ===========================================================================================================
sparse     bm25 vectors of the texts beside the HTTP floor, 8 connections; the same where the server makes them of words
hybrid     dense and bm25 prefetches of 100 each, fused by rrf, beside the dense query alone: one connection
examples   recommend (best_score) and discover with 4 examples: median, and recall@10 against brute force
others     groups, formula and matrix beside the plain query of as many candidates
multi      MaxSim over documents of 32 × 128: exact, as the server chooses by default with its recall@10, and over a
           dense prefetch of 100; the default for queries that are like no document; what was left to build at the end
========== ===========================================================================================================

Texts are the payload's ``--field`` and the ``queries`` of the JSON file; without them words are drawn as they are in
natural language, few of them often.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.bench import COLLECTION, ENVIRONMENT, SERVER, Bench, Figures
from benchmarks.load import http_request
from scripts.dataset import Dataset, generate, load
from scripts.vdb_process import VdbProcess, serving

MODEL: Final = "Qdrant/bm25"
WORDS: Final = 30_000  # in made-up texts
BATCH: Final = 250
TOKENS, TOKEN_DIM = 32, 128  # of a multivector
TOPICS, TOPIC_WORDS = 50, 80  # a document's tokens are near to words of its topic
TOKEN_NOISE: Final = 0.8  # of each component, where those of words spread by 1
CANDIDATES: Final = 100


class Queries:
    """The parts, over one server that holds dense and bm25 vectors of the same points."""

    def __init__(self, bench: Bench, server: VdbProcess, texts: Sequence[str], asked: Sequence[str]) -> None:
        self.bench = bench
        self.server = server
        self.texts = texts
        self.asked = asked
        self.path = f"/collections/{COLLECTION}/points"

    def fill(self) -> None:
        data = self.bench.data
        config = {
            "vectors": {"dense": {"size": data.vectors.shape[1], "distance": "Cosine"}},
            "sparse_vectors": {"words": {"modifier": "idf"}},
        }
        self.server.call("PUT", f"/collections/{COLLECTION}", config)
        body = {"field_name": "group", "field_schema": "integer"}
        self.server.call("PUT", f"/collections/{COLLECTION}/index?wait=true", body)
        for start in range(0, len(data.vectors), BATCH):
            points = [
                {
                    "id": start + row,
                    "vector": {"dense": vector, "words": {"text": self.texts[start + row], "model": MODEL}},
                    "payload": {"group": (start + row) % 100},
                }
                for row, vector in enumerate(data.vectors[start : start + BATCH].tolist())
            ]
            self.server.call("PUT", f"{self.path}?wait=true", {"points": points})
        self.server.wait_until_green(COLLECTION)

    def load(self, name: str, bodies: Sequence[Mapping[str, Any]], connections: int, route: str = "query") -> Figures:
        """Median figures of the rounds, after one to warm up."""
        requests = [http_request("POST", f"{self.path}/{route}", json.dumps(body).encode()) for body in bodies]
        self.bench.load(self.server, name, connections, 0.5, requests)
        rounds = [self.bench.load(self.server, name, connections, self.bench.round_s) for _ in range(self.bench.rounds)]
        return {
            key: statistics.median(figures[key] for figures in rounds) for key in ("per_second", "p50_ms", "p99_ms")
        }

    def sparse(self) -> Figures:
        words = [{"query": {"text": text, "model": MODEL}, "using": "words", "limit": 10} for text in self.asked]
        vectors = [
            {"query": vector, "using": "words", "limit": 10} for vector in map(self._as_sparse, self.asked[:500])
        ]
        floor = self.load("sparse-floor", vectors, 8, "floor")
        figures = {"floor": floor, "vectors": self.load("sparse", vectors, 8), "words": self.load("words", words, 8)}
        for kind in ("vectors", "words"):
            figures[kind]["ratio_to_floor"] = figures[kind]["per_second"] / floor["per_second"]
        return figures

    def _as_sparse(self, text: str) -> Any:
        """The sparse vector that the server makes of a query: read back from a point of a collection of its own."""
        name = f"{COLLECTION}-scratch"
        if not self.server.call("GET", f"/collections/{name}/exists")["exists"]:
            self.server.call("PUT", f"/collections/{name}", {"sparse_vectors": {"words": {}}})
        point = {"id": 1, "vector": {"words": {"text": text, "model": MODEL}}}
        self.server.call("PUT", f"/collections/{name}/points?wait=true", {"points": [point]})
        vector = self.server.call("GET", f"/collections/{name}/points/1")["vector"]["words"]
        return {"indices": vector["indices"], "values": [1.0] * len(vector["indices"])}

    def hybrid(self) -> Figures:
        dense = [{"query": query, "using": "dense", "limit": 10} for query in self.bench.data.queries.tolist()]
        hybrid = [
            {
                "prefetch": [
                    {"query": query["query"], "using": "dense", "limit": CANDIDATES},
                    {"query": {"text": text, "model": MODEL}, "using": "words", "limit": CANDIDATES},
                ],
                "query": {"fusion": "rrf"},
                "limit": 10,
            }
            for query, text in zip(dense, self.asked, strict=False)
        ]
        figures = {"dense": self.load("dense", dense, 1), "hybrid": self.load("hybrid", hybrid, 1)}
        figures["cost"] = {"ratio_p50": figures["hybrid"]["p50_ms"] / figures["dense"]["p50_ms"]}
        return figures

    def examples(self) -> Figures:
        """Brute force in float32, by the formulas of the documentation."""
        data = self.bench.data
        rows = data.vectors / np.linalg.norm(data.vectors, axis=1, keepdims=True)
        random = np.random.default_rng(3)
        chosen = random.integers(0, len(rows), size=(100, 4))
        recommend, discover = [], []
        for positive, also, negative, against in chosen.tolist():
            examples = {"positive": [positive, also], "negative": [negative, against], "strategy": "best_score"}
            recommend.append({"query": {"recommend": examples}, "using": "dense", "limit": 10})
            context = [{"positive": also, "negative": negative}, {"positive": positive, "negative": against}]
            discover.append(
                {"query": {"discover": {"target": positive, "context": context}}, "using": "dense", "limit": 10}
            )
        figures: Figures = {}
        for name, bodies, brute in (
            ("recommend", recommend, lambda s: _best_score(s[:, :2].max(axis=1), s[:, 2:].max(axis=1))),
            ("discover", discover, lambda s: _discover(s[:, 0], [(s[:, 1], s[:, 2]), (s[:, 0], s[:, 3])])),
        ):
            figures[name] = self.load(name, bodies, 1)
            right = 0
            for body, named in zip(bodies, chosen, strict=True):
                scores = brute(rows @ rows[named].T)
                scores[named] = -np.inf
                tenth = np.sort(scores)[-10]
                hits = self.server.call("POST", f"{self.path}/query", body)["points"]
                right += sum(scores[hit["id"]] >= tenth - 1e-5 for hit in hits)
            figures[name]["recall"] = right / (10 * len(bodies))
        return figures

    def others(self) -> Figures:
        queries = self.bench.data.queries[:200].tolist()
        plain = [{"query": query, "using": "dense", "limit": CANDIDATES} for query in queries]
        grouped = [
            {"query": query, "using": "dense", "group_by": "group", "limit": 10, "group_size": 3} for query in queries
        ]
        formula = [
            {
                "prefetch": {"query": query, "using": "dense", "limit": CANDIDATES},
                "query": {"formula": {"sum": ["$score", {"mult": [0.01, "group"]}]}},
                "limit": 10,
            }
            for query in queries
        ]
        matrix = [{"sample": CANDIDATES, "limit": 3, "using": "dense"}]
        return {
            "plain": self.load("plain", plain, 1),
            "groups": self.load("groups", grouped, 1, "query/groups"),
            "formula": self.load("formula", formula, 1),
            "matrix": self.load("matrix", matrix, 1, "search/matrix/pairs"),
        }

    def multi(self, documents: int) -> Figures:
        random = np.random.default_rng(4)
        name = f"{COLLECTION}-multi"
        tokens = {"size": TOKEN_DIM, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
        self.server.call(
            "PUT", f"/collections/{name}", {"vectors": {"m": tokens, "d": {"size": 64, "distance": "Dot"}}}
        )
        words = random.normal(size=(TOPICS, TOPIC_WORDS, TOKEN_DIM))

        def document() -> Any:
            tokens = words[random.integers(TOPICS), random.integers(TOPIC_WORDS, size=TOKENS)]
            return (tokens + TOKEN_NOISE * random.normal(size=tokens.shape)).round(4).tolist()

        for start in range(0, documents, 50):
            points = [
                {"id": start + row, "vector": {"m": document(), "d": random.normal(size=64).round(4).tolist()}}
                for row in range(50)
            ]
            self.server.call("PUT", f"/collections/{name}/points?wait=true", {"points": points})
        built_s = self.server.wait_until_green(name, 600.0)
        default = [{"query": document(), "using": "m", "limit": 10} for _ in range(20)]
        alike = [{**query, "query": random.normal(size=(TOKENS, TOKEN_DIM)).round(4).tolist()} for query in default]
        exact = [{**query, "params": {"exact": True}} for query in default]
        after = [
            {**query, "prefetch": {"query": random.normal(size=64).tolist(), "using": "d", "limit": CANDIDATES}}
            for query in default
        ]
        self.path, path = f"/collections/{name}/points", self.path
        figures = {
            "exact": self.load("multi", exact, 1),
            "default": self.load("multi-default", default, 1),
            "query_like_no_document": self.load("multi-alike", alike, 1),
            "after_prefetch": self.load("multi-prefetch", after, 1),
            "graph": {"built_s": built_s},
        }
        found, truth = (
            [{hit["id"] for hit in self.server.call("POST", f"{self.path}/query", body)["points"]} for body in bodies]
            for bodies in (default, exact)
        )
        shared = sum(len(one & other) for one, other in zip(found, truth, strict=True))
        figures["default"]["recall"] = shared / (10 * len(default))
        self.path = path
        return figures

    def run(self, documents: int) -> Figures:
        self.fill()
        figures = {part.__name__: part() for part in (self.sparse, self.hybrid, self.examples, self.others)}
        return {**figures, "multi": self.multi(documents)}


def _best_score(positive: Any, negative: Any) -> Any:
    """sigmoid of the best positive, less that of a negative which is nearer still (Qdrant, "Recommendation API")."""
    return np.where(positive > negative, _sigmoid(positive), -_sigmoid(negative))


def _discover(target: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """The pairs whose right side a point is on, and then the target (Qdrant, "Discovery API")."""
    rank = sum(np.sign(positive - negative) for positive, negative in pairs)
    return rank + _sigmoid(target)


def _sigmoid(values: Any) -> Any:
    """The fast one that Qdrant publishes: half of x / (1 + |x|), plus a half."""
    return 0.5 * (values / (1.0 + np.abs(values)) + 1.0)


def made_up(count: int, random: np.random.Generator) -> list[str]:
    """Texts of 5 to 40 words, of which the n-th most frequent occurs about 1/n as often as the first."""
    lengths = random.integers(5, 40, size=count)
    drawn = np.minimum(random.zipf(1.3, size=int(lengths.sum())), WORDS)
    parts = np.split(drawn, np.cumsum(lengths)[:-1])
    return [" ".join(f"word{number}" for number in part) for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument("--queries", type=Path, help="JSON with `queries`, the texts")
    parser.add_argument("--field", default="description", help="the payload's text")
    parser.add_argument("--points", type=int, default=20_000, help="how many vectors to make up without --data")
    parser.add_argument("--documents", type=int, default=5_000, help="multivectors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    data: Dataset = load(arguments.data) if arguments.data else generate(arguments.points, 384, 500)
    random = np.random.default_rng(1)
    if arguments.queries and data.payloads is not None:
        texts = [str(payload[arguments.field]) for payload in data.payloads]
        asked = json.loads(arguments.queries.read_bytes())["queries"]
    else:
        texts, asked = made_up(len(data.vectors), random), made_up(len(data.queries), random)
    arguments.batch, arguments.no_payload = BATCH, True
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder:
        bench = Bench(data, Path(folder), arguments)
        with serving(bench.storage, ENVIRONMENT, SERVER) as server:
            figures = Queries(bench, server, texts, asked).run(arguments.documents)
            server.stop()
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
