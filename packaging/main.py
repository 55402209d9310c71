"""Where the executable begins: ``vdb``, around it the care for the folder that it was unpacked to."""

from __future__ import annotations

from vdb.cli import main
from vdb.executable import unpacked

if __name__ == "__main__":
    with unpacked():
        main(prog_name="vdb")
