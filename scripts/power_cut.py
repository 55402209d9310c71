"""Cuts the power under a server that writes: ``sudo python scripts/power_cut.py --rounds 200 --synchronous FULL``.

A file system in an image file on a loop device is shut down in flight by its own ioctl, mounted again, served again,
and compared with what clients were told; see `tests/power_cut/`. Linux and root only. Exits with 1 at the first
difference and leaves the image for a look, with 2 where the machine cannot do it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.power_cut.disk import FILE_SYSTEMS, CuttableDisk, NoPowerCut
from tests.power_cut.power_cut_loop import PowerCutLoop


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL")
    parser.add_argument("--file-system", choices=FILE_SYSTEMS, default="ext4")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number + 128))  # what is mounted is unmounted
    folder = Path(tempfile.mkdtemp(prefix="vdb-power-cut-"))
    began = time.monotonic()
    try:
        disk = CuttableDisk(folder, arguments.file_system)
        loop = PowerCutLoop(disk, folder, arguments.seed, arguments.synchronous, lambda line: print(line, flush=True))
        try:
            loop.run(arguments.rounds)
        finally:
            disk.unmount()
        disk.close()
    except NoPowerCut as error:
        print(f"the power cannot be cut here: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"seed {arguments.seed}: {error}\nthe log is in {folder}, the image is {disk.image}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(
        f"{arguments.rounds} power cuts of {arguments.file_system} with synchronous={arguments.synchronous} in "
        f"{time.monotonic() - began:.0f} s: {loop.acknowledged} acknowledged writes, {loop.lost} lost; "
        "nothing half applied, nothing made up"
    )
    if loop.lost:
        print(
            f"lost in {loop.rounds_with_losses} rounds, each time the newest of all writes; the oldest of them was "
            f"acknowledged {loop.oldest_lost_s:.2f} s before the cut"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
