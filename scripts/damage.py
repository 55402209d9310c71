"""The long version of the damage test: ``python scripts/damage.py --mutations 1000 --seed 7``.

Damages one derived file after another of a collection (bits, tails, lengths, places, versions), opens it, and compares
all answers; see `tests/damage/damage_loop.py`. Exits with 1 at the first damage that went unnoticed or changed an
answer, and leaves the folder for a look.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.damage.damage_loop import DamageLoop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vdb-damage-"))
    loop = DamageLoop(folder, arguments.seed, lambda line: print(line, flush=True))
    try:
        trio.run(loop.run, arguments.mutations)
    except (AssertionError, ExceptionGroup) as error:
        traceback.print_exception(error)
        print(f"seed {arguments.seed}: the collection is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"{arguments.mutations} mutations, all noticed, no answer changed: {loop.noticed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
