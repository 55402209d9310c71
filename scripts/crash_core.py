"""kill -9 on the storage core, without a server: ``python scripts/crash_core.py --rounds 10000 --seed 7``.

Every round is a process that recovers a collection, compares all of it with what was acknowledged, writes, and is
killed; see `tests/crash/core_loop.py`. A seed repeats the operations, the fail points and how long each kill waits.
Exits with 1 at the first difference and leaves what that round began with for a look. Linux and macOS only: it forks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# A process that forks must not have threads, and numpy's linear algebra would start some.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from tests.crash.core_loop import CoreLoop
from tests.crash.core_record import LIFE_ROUNDS

SAY_EVERY = 100  # rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help=f"the round to begin with; every {LIFE_ROUNDS}th begins a new collection"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for every round")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vdb-crash-core-"))
    said = 0
    began = time.monotonic()

    def say(line: str) -> None:
        nonlocal said
        said += 1
        if arguments.verbose or said % SAY_EVERY == 0:
            print(f"{time.monotonic() - began:.0f} s: {line}", flush=True)

    loop = CoreLoop(folder, arguments.seed, say)
    try:
        loop.run(arguments.rounds, arguments.first // LIFE_ROUNDS * LIFE_ROUNDS)
    except AssertionError as error:
        print(f"{error}\nwhat the round began with is in {loop.before}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    for end, times in sorted(loop.ends.items()):
        print(f"{times:7} {end}")
    seconds = time.monotonic() - began
    print(
        f"{arguments.rounds} rounds in {seconds:.0f} s, {loop.written} acknowledged writes, {loop.settled} more that "
        "were in flight: nothing lost, nothing half applied, nothing made up"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
