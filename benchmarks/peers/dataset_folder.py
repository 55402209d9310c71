"""A data set as files that every environment can read with numpy alone.

::

    vectors.npy      (n, dim) float32, normalised      queries.npy   (m, dim) float32, normalised
    payloads.jsonl   an object a row                   truth.npz     tenth (m,), and tenth_NAME, rows_NAME a filter
    about.json       {"name", "fields": {field: kind}, "filters": {name: filter}}

``tenth`` is what the last of the ten best points scores: ids are right when they score as much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.peers.peer import Filter, Floats, K, Payload, conditions

_TIE: Final = 1e-6  # float32 sums differ in their last digits
_QUERIES_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """``vectors`` is mapped, so that what has not been touched takes no memory."""

    path: Path
    name: str
    fields: Mapping[str, str]
    filters: Mapping[str, Filter]
    vectors: Floats
    queries: Floats

    def payloads(self) -> list[Payload]:
        with (self.path / "payloads.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def recall(self, found: Sequence[Sequence[int]], filter_name: str | None = None) -> float:
        """Recall@10 of the ids that the first queries found. Fewer points than ten count as they are."""
        suffix = "" if filter_name is None else f"_{filter_name}"
        with np.load(self.path / "truth.npz") as truth:
            tenth = truth[f"tenth{suffix}"]
            rows = None if filter_name is None else set(truth[f"rows{suffix}"].tolist())
        right = 0
        for number, ids in enumerate(found):
            allowed = [row for row in dict.fromkeys(ids) if rows is None or row in rows][:K]
            scores = self.vectors[allowed] @ self.queries[number]
            right += int(np.count_nonzero(scores >= tenth[number] - _TIE))
        expected = K if rows is None else min(K, len(rows))
        return right / (len(found) * expected)

    @classmethod
    def open(cls, path: Path) -> DatasetFolder:
        about = json.loads((path / "about.json").read_bytes())
        return cls(
            path,
            about["name"],
            about["fields"],
            about["filters"],
            np.load(path / "vectors.npy", mmap_mode="r"),
            np.load(path / "queries.npy"),
        )


def write(
    path: Path,
    name: str,
    vectors: Floats,
    queries: Floats,
    payloads: Sequence[Payload],
    filters: Mapping[str, Filter],
) -> None:
    """Raises ValueError where a filter lets nothing through."""
    path.mkdir(parents=True, exist_ok=True)
    rows, asked = _normalised(vectors), _normalised(queries)
    truth: dict[str, Any] = {"tenth": _tenth(rows, asked)}
    fields: dict[str, str] = {}
    for filter_name, wanted in filters.items():
        needed = list(conditions(wanted))
        matching = np.array([row for row, payload in enumerate(payloads) if all(one.holds(payload) for one in needed)])
        if not len(matching):
            raise ValueError(f"filter {filter_name} lets nothing through")
        truth[f"rows_{filter_name}"] = matching
        truth[f"tenth_{filter_name}"] = _tenth(rows[matching], asked)
        for one in needed:
            example = one.value[0] if isinstance(one.value, list) else one.value
            fields[one.key] = "keyword" if isinstance(example, str) else "integer"
    np.save(path / "vectors.npy", rows)
    np.save(path / "queries.npy", asked)
    np.savez(path / "truth.npz", **truth)
    with (path / "payloads.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(payload, ensure_ascii=False) + "\n" for payload in payloads)
    about = {"name": name, "fields": fields, "filters": filters}
    (path / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _normalised(rows: Floats) -> Floats:
    norms: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, dtype=np.float32)


def _tenth(rows: Floats, asked: Floats) -> Floats:
    """The score of the tenth best row of each query, or of the worst where there are fewer."""
    k = min(K, len(rows))
    parts = [
        np.partition(asked[start : start + _QUERIES_AT_ONCE] @ rows.T, -k, axis=1)[:, -k]
        for start in range(0, len(asked), _QUERIES_AT_ONCE)
    ]
    return np.concatenate(parts)
