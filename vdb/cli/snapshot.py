"""``vdb snapshot``: archives of a collection, or of the whole storage, on a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from vdb.cli.client import BLOCK_BYTES, Client, Server, ServerError, SupportsRead, collection_path, server_options
from vdb.cli.output import json_option, print_json, print_table, progress, size_text

_collection_option: Final = click.option(
    "-c", "--collection", help="Of this collection; without it, of the whole storage."
)


@click.group()
def snapshot() -> None:
    """Create, restore, list, download and delete snapshots."""


@snapshot.command()
@_collection_option
@server_options
@json_option
def create(collection: str | None, server: Server, as_json: bool) -> None:
    """Make a snapshot on the server, and print its name."""
    with server.connect() as client:
        made = client.call("POST", _path(collection), wait="true")
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made['name']}  {size_text(made['size'])}")


@snapshot.command("list")
@_collection_option
@server_options
@json_option
def list_snapshots(collection: str | None, server: Server, as_json: bool) -> None:
    """List the snapshots that the server keeps."""
    with server.connect() as client:
        found: list[dict[str, Any]] = client.get(_path(collection))
    if as_json:
        print_json(found)
        return
    print_table(
        ["snapshot", "created", "size"],
        [(one["name"], one.get("creation_time"), size_text(one["size"])) for one in found],
    )


@snapshot.command()
@click.argument("name")
@_collection_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; NAME in this folder otherwise.")
@server_options
def download(name: str, collection: str | None, output: Path | None, server: Server) -> None:
    """Copy the snapshot NAME from the server."""
    target = output or Path(Path(name).name)
    part = target.with_name(target.name + ".part")
    try:
        with (
            server.connect() as client,
            client.stream(f"{_path(collection)}/{quote(name, safe='')}") as (content, size),
            part.open("wb") as file,
            progress(name, quiet=False, size_in_bytes=True) as bar,
        ):
            done = 0
            while block := content.read(BLOCK_BYTES):
                file.write(block)
                done += len(block)
                bar(done, size)
            if size is not None and done < size:
                raise ServerError(f"{server.url} closed the connection after {done} of {size} bytes")
        part.replace(target)
    except OSError as error:
        raise click.ClickException(f"{target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"{target}  {size_text(target.stat().st_size)}")


@snapshot.command()
@click.argument("source")
@click.option("-c", "--collection", required=True, help="The collection to restore; made where it is missing.")
@click.option("--checksum", help="SHA-256 that the snapshot must have.")
@server_options
def restore(source: str, collection: str, checksum: str | None, server: Server) -> None:
    """Restore a collection from SOURCE: a file here, a snapshot that the server keeps, or a URL.

    A file is uploaded. A name that `vdb snapshot list` shows is taken where it is. URLs (http, https, file) are read by
    the server, if it is allowed to.
    """
    file = Path(source)
    with server.connect() as client:
        if "://" in source:
            body = {"location": source, "checksum": checksum}
            given = {key: value for key, value in body.items() if value}
            client.call("PUT", f"{collection_path(collection)}/snapshots/recover", given, wait="true")
        elif file.is_file():
            with file.open("rb") as content:
                _upload(client, collection, file.name, content, file.stat().st_size, checksum)
        else:
            _restore_kept(server, client, collection, source, checksum)
    click.echo(f"restored {collection}")


def _restore_kept(server: Server, client: Client, collection: str, name: str, checksum: str | None) -> None:
    """Through here and back: only the server's administrator knows the path that REST would take instead."""
    path = f"{collection_path(collection)}/snapshots"
    try:
        with server.connect() as other, other.stream(f"{path}/{quote(name, safe='')}") as (content, size):
            if size is None:
                raise ServerError(f"{server.url} does not say how long {name} is: download it, and restore the file")
            _upload(client, collection, name, content, size, checksum)
    except ServerError as error:
        if error.status != 404:
            raise
        message = f"{name} is no file here, and no snapshot of `{collection}` on {client.url}"
        raise ServerError(message, error.status) from error


def _upload(client: Client, collection: str, name: str, content: SupportsRead, size: int, checksum: str | None) -> None:
    query = "?wait=true&priority=snapshot" + (f"&checksum={quote(checksum)}" if checksum else "")
    with progress(name, quiet=False, size_in_bytes=True) as bar:
        client.upload(f"{collection_path(collection)}/snapshots/upload{query}", name, content, size, bar)


@snapshot.command()
@click.argument("name")
@_collection_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def delete(name: str, collection: str | None, yes: bool, server: Server) -> None:
    """Delete the snapshot NAME from the server."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete {name}?", abort=True)
    with server.connect() as client:
        client.call("DELETE", f"{_path(collection)}/{quote(name, safe='')}", wait="true")
    click.echo(f"deleted {name}")


def _path(collection: str | None) -> str:
    return "/snapshots" if collection is None else f"{collection_path(collection)}/snapshots"
