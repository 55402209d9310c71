"""``vdb build-segment``: what a server starts for every segment that it builds."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import click


@click.command("build-segment", hidden=True)
@click.argument("job", type=click.Path(path_type=Path))
@click.pass_context
def build_segment(ctx: click.Context, job: Path) -> None:
    """Build one segment as the job file says; the server calls this in a child process."""
    from vdb.segment import builder

    threading.Thread(target=_leave_with_the_server, daemon=True).start()
    ctx.exit(builder.main(str(job)))


def _leave_with_the_server() -> None:
    """Ends the process when its standard input does: a build that nobody waits for would keep a CPU and the disk."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
