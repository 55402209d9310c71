"""``python -m vdb`` is ``vdb``."""

from __future__ import annotations

from vdb.cli import main

if __name__ == "__main__":
    main(prog_name="vdb")
