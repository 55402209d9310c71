"""Latency or throughput: ``python benchmarks/segments.py`` sweeps ``default_segment_number`` from 8 down to 1.

One query searches all segments; the fewer there are, the less work it is, and the more there are, the more of it can be
done at once. So: the time of one client's query, the queries a second of eight clients and of one with batches of 100,
and recall@10, at default search parameters.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.served import Figures, Served, data_of, parser_of, report
from scripts.vdb_process import serving

NUMBERS: Final = (8, 4, 2, 1)


def main() -> None:
    arguments = parser_of(__doc__, 100_000, 384).parse_args()
    data = data_of(arguments)
    count, dim = data.vectors.shape
    rows: list[Figures] = []

    def settings(number: int) -> Figures:
        # As much as one of so many segments holds, and some more: they are never quite equal.
        size_kib = count * dim * 4 * 5 // 4 // number // 1024
        # Also what is smaller than the default threshold gets graphs.
        indexed_kib = max(1, min(20_000, count * dim * 4 // 1024 // NUMBERS[0] // 2))
        return {
            "optimizers_config": {
                "default_segment_number": number,
                "max_segment_size": size_kib,
                "indexing_threshold": indexed_kib,
            },
            "hnsw_config": {"full_scan_threshold": 10},
        }

    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder, serving(Path(folder) / "storage") as server:
        served = Served(server, data, Path(folder))
        served.fill(settings(NUMBERS[0]))
        for number in NUMBERS:
            served.change(settings(number))
            served.load(8, 1.0)
            one, eight = served.load(1, arguments.seconds), served.load(8, arguments.seconds)
            rows.append(
                {
                    "default_segment_number": number,
                    "segments": served.segments,
                    "1 client p50 ms": one["p50_ms"],
                    "1 client p99 ms": one["p99_ms"],
                    "8 clients q/s": eight["per_second"],
                    "batches of 100 q/s": served.load_batches(arguments.seconds),
                    "recall@10": served.recall({}),
                }
            )
        server.stop()
    report(f"Segments, {count} × {dim} ({data.name})", rows, arguments.json)


if __name__ == "__main__":
    main()
