"""The command line. Errors are one line on stderr: exit code 1, or 2 where the command line itself is wrong.

Every command is a module of its own that is imported when it is asked for, and imports what takes long when it runs:
the builders start for every segment and index, and completion for every press of a key.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from vdb import __version__
from vdb.errors import VdbError

# name → what the list of commands says
_COMMANDS: Final = {
    "serve": "Serve the REST API until SIGTERM or Ctrl+C.",
    "collections": "List the collections of a server.",
    "info": "Show one collection, or the server.",
    "import": "Copy points into a collection: from a file or another server.",
    "export": "Copy a collection out: to a file or another server.",
    "snapshot": "Create, restore, list, download and delete snapshots.",
    "check": "Verify a storage folder; changes nothing.",
    "repair": "Remove damaged derived files, so that they are made again.",
    "bench": "A quick look at what this machine can do.",
    "completion": "Print the completion script of a shell.",
}
_INTERRUPTED: Final = 130  # as shells report a process that Ctrl+C ended


class LazyGroup(click.Group):
    """Imports a command when it is run; reports vdb's own errors as one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except VdbError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted", err=True)
            sys.exit(_INTERRUPTED)


def _load(name: str) -> click.Command | None:
    """The command of that name. Imports are written out, so that what packs an executable finds them."""
    match name:
        case "serve":
            from vdb.cli.serve import serve as command
        case "collections":
            from vdb.cli.collections import collections as command
        case "info":
            from vdb.cli.collections import info as command
        case "import":
            from vdb.cli.importing import import_points as command
        case "export":
            from vdb.cli.exporting import export_points as command
        case "snapshot":
            from vdb.cli.snapshot import snapshot as command
        case "check":
            from vdb.cli.check import check as command
        case "repair":
            from vdb.cli.repair import repair as command
        case "bench":
            from vdb.cli.bench import bench as command
        case "completion":
            from vdb.cli.completion import completion as command
        case "build-segment":
            from vdb.cli.builders import build_segment as command
        case "build-index":
            from vdb.cli.builders import build_index as command
        case _:
            return None
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="vdb", message="%(prog)s %(version)s")
def main() -> None:
    """A vector database that speaks Qdrant's REST API."""
