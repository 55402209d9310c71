"""The long version of the model test: ``python scripts/model_run.py --seeds 0-99 --steps 2000 --minutes 30``.

Random operations, builds, restarts, kills and damage on a collection, compared with a dictionary again and again; see
`tests/model_run/run.py`. At the first difference it leaves the trace of that seed, one step a line, and exits with 1;
``--replay TRACE`` takes the same steps once more.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.model_run.run import COMPARE_EVERY, replay, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-9", help="one seed, or the first and the last one (default: 0-9)")
    parser.add_argument("--steps", type=int, default=1_000, help="of each seed (default: 1000)")
    parser.add_argument(
        "--compare-every",
        type=int,
        default=COMPARE_EVERY,
        help="steps; comparing costs as much as ten of them (default: %(default)d)",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no seed begins after so long")
    parser.add_argument("--replay", type=Path, metavar="TRACE", help="take the steps of a trace again")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # damage is named there, and half of the starts here find some
    folder = Path(tempfile.mkdtemp(prefix="vdb-model-"))
    if arguments.replay is not None:
        lines = arguments.replay.read_text(encoding="utf-8").splitlines()
        replay(folder / "lives", [json.loads(line) for line in lines])
        shutil.rmtree(folder)
        print(f"{len(lines) - 1} steps: everything as it must be")
        return 0
    first, _, last = arguments.seeds.partition("-")
    began, done = time.monotonic(), 0
    for seed in range(int(first), int(last or first) + 1):
        if time.monotonic() - began > arguments.minutes * 60:
            break
        trace = folder / f"seed-{seed}.jsonl"
        try:
            run_seed(folder / "lives", seed, arguments.steps, trace, arguments.compare_every)
        except Exception:
            traceback.print_exc()
            print(f"seed {seed} failed after {sum(1 for _ in trace.open()) - 1} steps: {trace}", file=sys.stderr)
            return 1
        shutil.rmtree(folder / "lives")
        trace.unlink()  # a long run would fill the disk with traces of what went well
        done += 1
        print(f"seed {seed}: {arguments.steps} steps, {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(folder)
    print(f"{done} seeds of {arguments.steps} steps: everything as it must be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
