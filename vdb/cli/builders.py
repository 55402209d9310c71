"""``vdb build-segment`` and ``vdb build-index``: what a server starts for each segment and index that it builds."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final

import click

_NICENESS: Final = 10  # searches and writes go first


@click.command("build-segment", hidden=True)
@click.argument("job", type=click.Path(path_type=Path))
@click.pass_context
def build_segment(ctx: click.Context, job: Path) -> None:
    """Build one segment as the job file says; the server calls this in a child process."""
    from vdb.segment import builder

    _step_behind_the_server()
    ctx.exit(builder.main(str(job)))


@click.command("build-index", hidden=True)
@click.argument("job", type=click.Path(path_type=Path))
@click.pass_context
def build_index(ctx: click.Context, job: Path) -> None:
    """Build one field index as the job file says; the server calls this in a child process."""
    from vdb.collection import field_builder

    _step_behind_the_server()
    ctx.exit(field_builder.main(job))


def _step_behind_the_server() -> None:
    """Lowers this process's priority, and ends it when its standard input does: a build that nobody waits for would
    keep a CPU and the disk.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
