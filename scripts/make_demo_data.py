"""Makes the small data set of the demo from a large one: ``make_demo_data.py PATH.npz QUERIES.json [--out FOLDER]``.

Takes vectors and queries at even distances, so that every part of the large set is there, with short payloads only.
The outcome depends on the input alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.dataset import load

VECTORS: Final = 2_000
QUERIES: Final = 100
FIELDS: Final = ("name", "section", "installed_size", "architecture")
NAME: Final = "debian-packages"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path, help="vectors and queries, with *payload.jsonl.gz in the same folder")
    parser.add_argument("texts", type=Path, help="JSON with the texts of the queries under `queries`")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("demo_data"))
    arguments = parser.parse_args()
    whole = load(arguments.npz)
    if whole.payloads is None:
        parser.error("no payloads beside the vectors")
    texts = json.loads(arguments.texts.read_bytes())["queries"]
    rows = np.linspace(0, len(whole.vectors) - 1, VECTORS).astype(int)
    asked = np.linspace(0, len(whole.queries) - 1, QUERIES).astype(int)
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Uncompressed: the low bits of embeddings do not shrink.
    np.savez(
        arguments.out / f"{NAME}.npz",
        vectors=whole.vectors[rows].astype(np.float16),
        queries=whole.queries[asked].astype(np.float16),
    )
    payloads = [{field: whole.payloads[row].get(field) for field in FIELDS} for row in rows]
    lines = ",\n".join(json.dumps(payload, ensure_ascii=False) for payload in payloads)
    (arguments.out / f"{NAME}.payload.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    questions = json.dumps([texts[row] for row in asked], ensure_ascii=False, indent=0)
    (arguments.out / f"{NAME}.queries.json").write_text(questions + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
