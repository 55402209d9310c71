"""What each kind of quantisation finds: ``python benchmarks/quantization.py [--data PATH.npz]``.

recall@10 over ``oversampling`` 1, 2, 4 and 8 with rescoring, at the default ``hnsw_ef`` and without oversampling being
said; and the smallest ``hnsw_ef`` of a few at which it reaches 0.99, with an oversampling that keeps up with it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.served import Figures, Served, data_of, parser_of, report
from scripts.vdb_process import serving

KINDS: Final[dict[str, Figures | str]] = {
    "none": "Disabled",
    "int8": {"scalar": {"type": "int8", "always_ram": True}},
    "int8, quantile 0.99": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "binary": {"binary": {"always_ram": True}},
    **{f"product {ratio}": {"product": {"compression": ratio, "always_ram": True}} for ratio in ("x4", "x8", "x16")},
    **{f"product {ratio}": {"product": {"compression": ratio, "always_ram": True}} for ratio in ("x32", "x64")},
}
OVERSAMPLING: Final = (1, 2, 4, 8)
WIDTHS: Final = (32, 64, 128, 256, 512, 1_024)
ENOUGH: Final = 0.99


def main() -> None:
    arguments = parser_of(__doc__, 50_000, 384).parse_args()
    data = data_of(arguments)
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as folder, serving(Path(folder) / "storage") as server:
        served = Served(server, data, Path(folder))
        served.fill(
            {
                # Also a small set gets a graph, which is what is measured.
                "optimizers_config": {"default_segment_number": 1, "indexing_threshold": 1_000},
                "hnsw_config": {"full_scan_threshold": 10},
            }
        )
        for name, quantization in KINDS.items():
            served.change({"quantization_config": quantization})
            row: Figures = {"kind": name, "default": served.recall({})}
            for factor in OVERSAMPLING:
                row[f"×{factor}"] = served.recall({"quantization": {"oversampling": float(factor)}})
            row[f"ef for {ENOUGH}"] = _width_for(served)
            row["8 clients q/s"] = served.load(8, arguments.seconds)["per_second"]
            rows.append(row)
        server.stop()
    report(
        f"Quantisation, recall@10, {len(data.vectors)} × {data.vectors.shape[1]} ({data.name})", rows, arguments.json
    )


def _width_for(served: Served) -> str:
    for width in WIDTHS:
        params = {"hnsw_ef": width, "quantization": {"oversampling": max(1.0, width / 10)}}
        if served.recall(params) >= ENOUGH:
            return str(width)
    return f"more than {WIDTHS[-1]}"


if __name__ == "__main__":
    main()
