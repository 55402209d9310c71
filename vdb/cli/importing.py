"""``vdb import``: points into a collection, from a file or from another server."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import click

from vdb.cli.client import Server, server_options
from vdb.cli.copying import BATCH_POINTS, CONNECTIONS, Source, copy_into, report, state_beside
from vdb.cli.output import json_option

_STATE_SUFFIX: Final = ".vdb-import.json"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-c", "--collection", required=True, help="The collection to fill; made where it is missing.")
@server_options
@click.option("--from-url", help="Copy from this server instead of a file: vdb or Qdrant.")
@click.option("--from-api-key", envvar="VDB_FROM_API_KEY", help="Its API key.")
@click.option("--from-collection", help="Its collection; the same name unless told otherwise.")
@click.option("--distance", default="Cosine", show_default=True, help="Of a new collection that no file describes.")
@click.option("--batch-size", default=BATCH_POINTS, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--connections", default=CONNECTIONS, show_default=True, type=click.IntRange(1, 64))
@click.option("--resume", is_flag=True, help="Go on where an interrupted import stopped.")
@json_option
def import_points(
    file: Path | None,
    collection: str,
    server: Server,
    from_url: str | None,
    from_api_key: str | None,
    from_collection: str | None,
    distance: str,
    batch_size: int,
    connections: int,
    resume: bool,
    as_json: bool,
) -> None:
    """Copy points into a collection: from FILE (.jsonl, .jsonl.gz, .parquet, .npy), or from another server.

    A copy from a server, or from what `vdb export` wrote, brings the configuration with it: vectors, indexes, and all
    other settings. A collection that is there already keeps its own. Points that are there are replaced.
    """
    from vdb.cli.collection_settings import DISTANCES

    if (file is None) == (from_url is None):
        raise click.UsageError("give either FILE or --from-url")
    if distance not in DISTANCES:
        raise click.UsageError(f"--distance is one of {', '.join(DISTANCES)}")
    with ExitStack() as stack:
        if file is not None:
            source = file_source(file, batch_size)
            where = file
        else:
            assert from_url is not None
            other = Server(from_url, from_api_key)
            source = server_source(stack, other, from_collection or collection, batch_size)
            where = Path(_UNSAFE.sub("_", collection))
        key = {"from": source.name if file is None else str(file.resolve()), "to": f"{server.url} {collection}"}
        copied = copy_into(
            source,
            server,
            collection,
            state_beside(where, _STATE_SUFFIX, key),
            connections=connections,
            resume=resume,
            distance=distance,
            quiet=as_json,
        )
    report(copied, collection, as_json)


def file_source(file: Path, batch_size: int) -> Source:
    """Raises Misconfigured."""
    from vdb.cli import collection_settings
    from vdb.cli.formats import reader_for

    reader = reader_for(file)
    settings = collection_settings.load(file)
    return Source(str(file), settings, reader.points, partial(reader.batches, size=batch_size))


def server_source(stack: ExitStack, server: Server, collection: str, batch_size: int) -> Source:
    """Raises ServerError. The connection is closed with ``stack``."""
    from vdb.cli import server_points
    from vdb.cli.collection_settings import read_settings

    client = stack.enter_context(server.connect())
    settings, points = read_settings(client, collection)
    read = partial(server_points.batches, client, collection, size=batch_size)
    return Source(f"{server.url} {collection}", settings, points, read)
