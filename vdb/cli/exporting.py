"""``vdb export``: a collection into a file, or to another server."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from vdb.cli.client import Client, Server, server_options
from vdb.cli.copying import BATCH_POINTS, CONNECTIONS, copy_into, report, state_beside
from vdb.cli.output import json_option, print_json, progress, size_text
from vdb.cli.resume import StateFile
from vdb.errors import Misconfigured, VdbError

_STATE_SUFFIX: Final = ".vdb-export.json"


@click.command("export")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-c", "--collection", required=True, help="The collection to copy.")
@server_options
@click.option("--to-url", help="Copy to this server instead of a file: vdb or Qdrant.")
@click.option("--to-api-key", envvar="VDB_TO_API_KEY", help="Its API key.")
@click.option("--to-collection", help="Its collection; the same name unless told otherwise.")
@click.option("--batch-size", default=BATCH_POINTS, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--connections", default=CONNECTIONS, show_default=True, type=click.IntRange(1, 64))
@click.option("--resume", is_flag=True, help="Go on where an interrupted export stopped.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@json_option
def export_points(
    file: Path | None,
    collection: str,
    server: Server,
    to_url: str | None,
    to_api_key: str | None,
    to_collection: str | None,
    batch_size: int,
    connections: int,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Copy a collection out: to FILE (.jsonl, .jsonl.gz, .parquet, .npy), or to another server.

    The configuration goes along: to NAME.collection.json beside FILE, or to the other server. Points are read page by
    page in the order of their ids: what is written meanwhile may be in the copy or not.
    """
    if (file is None) == (to_url is None):
        raise click.UsageError("give either FILE or --to-url")
    if file is not None:
        with server.connect() as client:
            _to_file(client, collection, file, batch_size, resume=resume, force=force, as_json=as_json)
        return
    from vdb.cli.importing import server_source

    assert to_url is not None
    other, name = Server(to_url, to_api_key), to_collection or collection
    with ExitStack() as stack:
        source = server_source(stack, server, collection, batch_size)
        key = {"from": source.name, "to": f"{other.url} {name}"}
        state = state_beside(Path(name.replace("/", "_")), _STATE_SUFFIX, key)
        copied = copy_into(
            source, other, name, state, connections=connections, resume=resume, distance="Cosine", quiet=as_json
        )
    report(copied, name, as_json)


def _to_file(
    client: Client, collection: str, file: Path, batch_size: int, *, resume: bool, force: bool, as_json: bool
) -> None:
    from vdb.cli import collection_settings
    from vdb.cli.collection_settings import read_settings, settings_path
    from vdb.cli.formats import writer_for
    from vdb.cli.server_points import read_pages

    settings, total = read_settings(client, collection)
    state = StateFile(
        file.with_name(file.name + _STATE_SUFFIX), {"from": f"{client.url} {collection}", "to": str(file.resolve())}
    )
    kept: dict[str, Any] = state.read() if resume else {"next": None, "points": 0}
    taken = [path for path in (file, settings_path(file)) if path.exists()]
    if taken and not resume and not force:
        raise Misconfigured(f"{taken[0]} is there already: --force overwrites it, --resume goes on with it")
    began = time.perf_counter()
    try:
        writer = writer_for(file, settings, fresh=not resume)
        collection_settings.save(file, settings)
        if resume:
            writer.resume(kept["written"])
    except OSError as error:
        raise VdbError(f"{file}: {error.strerror or error}") from error
    done, before = kept["points"], kept["points"]
    complete = hopeless = False
    try:
        with progress(f"{collection} → {file}", quiet=as_json) as advance:
            for page in read_pages(client, collection, kept["next"], batch_size):
                writer.append(page.points)
                done += len(page.points)
                advance(done, total)
                kept = {"next": page.next, "points": done, "written": writer.flush()}
                if page.next is not None:
                    state.keep(kept)
        complete = True
    except Misconfigured:
        hopeless = True  # going on would meet the same point again
        raise
    except OSError as error:
        raise VdbError(f"{file}: {error.strerror or error}") from error
    finally:
        writer.close()
        if hopeless:
            for path in (*writer.paths, settings_path(file), state.path):
                path.unlink(missing_ok=True)
        elif not complete and "written" in kept:
            state.keep(kept, now=True)
            click.echo(f"{kept['points']} points are in the file; --resume goes on", err=True)
    state.remove()
    seconds = time.perf_counter() - began
    _report(done - before, seconds, collection, [*writer.paths, settings_path(file)], as_json)


def _report(points: int, seconds: float, collection: str, paths: list[Path], as_json: bool) -> None:
    size_bytes = sum(path.stat().st_size for path in paths)
    if as_json:
        print_json(
            {
                "collection": collection,
                "points": points,
                "seconds": round(seconds, 3),
                "bytes": size_bytes,
                "files": [str(path) for path in paths],
            }
        )
    else:
        names = ", ".join(str(path) for path in paths)
        click.echo(f"{points:,} points in {seconds:.1f} s, {size_text(size_bytes)} → {names}")
