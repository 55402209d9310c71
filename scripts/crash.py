"""The long version of the crash test: ``python scripts/crash.py --rounds 200 --seed 7``.

Kills a server with -9 while clients write, at random moments and (every fourth round, or always with ``--fail-point
before-commit:3``) at a named point of the program, restarts it, and compares everything with what the clients
recorded; see `tests/crash/crash_loop.py`. Exits with 1 at the first difference and leaves the storage for a look.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.crash.crash_loop import FAIL_POINTS, CrashLoop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fail-point", metavar="NAME[:N]", help=f"one of {', '.join(FAIL_POINTS)}; N is 1 without")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vdb-crash-"))
    loop = CrashLoop(folder / "storage", arguments.seed, lambda line: print(line, flush=True))
    try:
        if arguments.fail_point is None:
            loop.run(arguments.rounds)
        else:
            name, _, times = arguments.fail_point.partition(":")
            loop.run_at(name, int(times or 1), arguments.rounds)
    except AssertionError as error:
        print(f"seed {arguments.seed}: {error}\nthe storage is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"{arguments.rounds} rounds: nothing lost, nothing half applied, nothing made up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
