"""``vdb repair``: makes damaged derived files go, so that the next start makes them again."""

from __future__ import annotations

from pathlib import Path

import click

from vdb.cli.output import json_option, print_json
from vdb.cli.storage_folder import CATALOG, check_storage, storage_options


@click.command()
@click.option("-c", "--collection", help="Repair this one only.")
@click.option("--segments", is_flag=True, help="Also rebuild all segments, damaged or not.")
@click.option("--fields", is_flag=True, help="Also rebuild all field indexes, damaged or not.")
@storage_options
@json_option
@click.pass_context
def repair(
    ctx: click.Context, collection: str | None, segments: bool, fields: bool, storage: Path, as_json: bool
) -> None:
    """Remove damaged segments and field-index files, so that the next start makes them again from the databases.

    Only while no server runs on the folder. The databases themselves are never repaired: exit code 1 names those that
    have to come back from a backup.
    """
    from vdb.collection.repair import rebuild_segments, remove_field_files, repair_collection
    from vdb.errors import Misconfigured
    from vdb.files import StorageLock

    if not storage.is_dir():
        raise Misconfigured(f"{storage} is no storage folder")
    done: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    with StorageLock(storage):
        for one in check_storage(storage, collection, content=True):
            truth = [f"{finding.path}: {finding.what}" for finding in one.findings if finding.kind == "truth"]
            if truth:
                lost[one.name] = truth
            if truth or one.name == CATALOG:
                continue
            lines = repair_collection(Path(one.folder), one.findings)
            if segments:
                lines += rebuild_segments(Path(one.folder))
            if fields:
                lines += remove_field_files(Path(one.folder))
            if lines:
                done[one.name] = lines
    if as_json:
        print_json({"storage": str(storage), "done": done, "truth_damaged": lost})
    else:
        for name, lines in done.items():
            for line in lines:
                click.echo(f"{name}: {line}")
        if not done and not lost:
            click.echo(f"{storage} is whole: nothing to repair")
        for name, lines in lost.items():
            for line in lines:
                click.echo(f"{name}: {line}", err=True)
        if lost:
            click.echo("Databases are damaged: put a backup in their place (docs/operations.md)", err=True)
    ctx.exit(1 if lost else 0)
