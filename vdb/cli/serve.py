"""``vdb serve``: the server in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARN", "ERROR")


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port of the REST API; 0 takes a free one.")
@click.option("--storage-path", help="Folder that holds everything.")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), help="What goes to stderr.")
def serve(
    host: str | None, port: int | None, storage_path: str | None, config: Path | None, log_level: str | None
) -> None:
    """Serve the REST API until SIGTERM or Ctrl+C."""
    import logging

    from vdb import telemetry
    from vdb.config import load_settings, without_effect
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
    telemetry.configure_logging(settings.log_level, settings.logger.format)
    for line in without_effect(os.environ):
        logging.getLogger("vdb.config").warning(line)

    from vdb import server

    server.leave(server.run(settings))
