"""Vectors, queries, payloads and exact answers, read from a folder's files, or made up.

::

    NAME.npz                 vectors (n, dim) · queries (m, dim) · optionally gt_none (m, k) row numbers, best first
    NAME.payload.json        a JSON array with an object a row; or *payload.jsonl.gz in the same folder, a line a row
    NAME.queries.json        optionally the texts of the queries

Row numbers are point ids. The distance is cosine.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TRUTH_K: Final = 10
_TIE: Final = 1e-6  # scores this near to the tenth are its equals: float32 sums differ in their last digits
_QUERIES_AT_ONCE: Final = 200
_GENERATED_CLUSTERS: Final = 200
_GENERATED_SPREAD: Final = 0.6  # of a cluster, relative to its distance from the origin


@dataclass(frozen=True, slots=True)
class Dataset:
    """``vectors`` ``(n, dim)``, ``queries`` ``(m, dim)`` float32; ``tenth`` ``(m,)``: what a right answer scores."""

    name: str
    vectors: Floats
    queries: Floats
    payloads: Sequence[dict[str, Any]] | None
    tenth: Floats
    texts: Sequence[str] | None = None

    def recall(self, found: Sequence[Sequence[int]]) -> float:
        """Recall@10 of the ids that each query found. Ties with the tenth score count as right."""
        vectors, queries = _normalised(self.vectors), _normalised(self.queries)
        right = 0
        for row, ids in enumerate(found):
            scores = vectors[list(ids)[:TRUTH_K]] @ queries[row]
            right += int(np.count_nonzero(scores >= self.tenth[row] - _TIE))
        return right / (len(found) * TRUTH_K)


def load(path: Path) -> Dataset:
    """Reads ``path`` (npz) and the payloads beside it."""
    with np.load(path) as file:
        vectors = file["vectors"].astype(np.float32)
        queries = file["queries"].astype(np.float32)
        truth = file["gt_none"][:, :TRUTH_K] if "gt_none" in file else None
    texts_path = path.with_suffix(".queries.json")
    texts = json.loads(texts_path.read_bytes()) if texts_path.exists() else None
    tenth = _tenth(vectors, queries, truth)
    return Dataset(path.stem, vectors, queries, _payloads(path, len(vectors)), tenth, texts)


def generate(count: int, dim: int, queries: int, seed: int = 0) -> Dataset:
    """Clustered vectors, as embeddings are: uniform ones would make every graph look bad."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(_GENERATED_CLUSTERS, dim))
    chosen = centres[random.integers(0, _GENERATED_CLUSTERS, size=count + queries)]
    rows = _normalised((chosen + _GENERATED_SPREAD * random.normal(size=chosen.shape)).astype(np.float32))
    payloads = [{"name": f"point-{number}", "size": number} for number in range(count)]
    vectors, asked = rows[:count], rows[count:]
    return Dataset(f"generated-{count}", vectors, asked, payloads, _tenth(vectors, asked, None))


def _payloads(path: Path, count: int) -> list[dict[str, Any]] | None:
    beside = path.with_suffix(".payload.json")
    if beside.exists():
        payloads: list[dict[str, Any]] = json.loads(beside.read_bytes())
    else:
        lines = sorted(path.parent.glob("*payload.jsonl.gz"))
        if not lines:
            return None
        with gzip.open(lines[0], "rt", encoding="utf-8") as file:
            payloads = [json.loads(line) for line in file]
    if len(payloads) != count:
        raise ValueError(f"{len(payloads)} payloads for {count} vectors")
    return payloads


def _normalised(rows: Floats) -> Floats:
    norms: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, dtype=np.float32)


def _tenth(vectors: Floats, queries: Floats, truth: NDArray[np.int32] | None) -> Floats:
    """The tenth best score of each query: from the truth where it is given, else by comparing with every vector."""
    rows, asked = _normalised(vectors), _normalised(queries)
    if truth is not None:
        scores: Floats = np.einsum("md,md->m", rows[truth[:, -1]], asked)
        return scores
    parts = [
        np.partition(asked[start : start + _QUERIES_AT_ONCE] @ rows.T, -TRUTH_K, axis=1)[:, -TRUTH_K]
        for start in range(0, len(asked), _QUERIES_AT_ONCE)
    ]
    return np.concatenate(parts)
