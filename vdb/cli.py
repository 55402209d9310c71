"""The command line. Errors are one line on stderr: exit code 1, or 2 where the command line itself is wrong.

Modules that take long to import are imported inside the command that needs them.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from vdb import __version__
from vdb.errors import VdbError

LOG_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")


class OneLineErrors(click.Group):
    """Reports vdb's own errors as one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except VdbError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="vdb", message="%(prog)s %(version)s")
def main() -> None:
    """A vector database that speaks Qdrant's REST API."""


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port of the REST API; 0 takes a free one.")
@click.option("--storage-path", help="Folder that holds everything.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), help="What goes to stderr.")
def serve(
    host: str | None, port: int | None, storage_path: str | None, config: Path | None, log_level: str | None
) -> None:
    """Serve the REST API until SIGTERM or Ctrl+C."""
    from vdb import telemetry
    from vdb.config import load_settings
    from vdb.files import resource

    settings = load_settings(
        [resource("config.yaml"), *([config] if config else [])],
        os.environ,
        {
            "service.host": host,
            "service.http_port": port,
            "storage.storage_path": storage_path,
            "log_level": log_level,
        },
    )
    telemetry.configure_logging(settings.log_level)

    from vdb import server

    server.leave(server.run(settings))


@main.command("build-segment", hidden=True)
@click.argument("job", type=click.Path(path_type=Path))
@click.pass_context
def build_segment(ctx: click.Context, job: Path) -> None:
    """Build one segment as the job file says; the server calls this in a child process."""
    from vdb.segment import builder

    ctx.exit(builder.main(str(job)))
