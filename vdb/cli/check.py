"""``vdb check``: is a storage folder whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdb.cli.output import json_option, print_json
from vdb.cli.storage_folder import CATALOG, check_storage, storage_options

if TYPE_CHECKING:
    from vdb.cli.storage_folder import Checked


@click.command()
@click.option("-c", "--collection", help="Look at this one only.")
@click.option("--quick", is_flag=True, help="Hold derived files against their checksums only, not against the data.")
@storage_options
@json_option
@click.pass_context
def check(ctx: click.Context, collection: str | None, quick: bool, storage: Path, as_json: bool) -> None:
    """Verify a storage folder. Changes nothing; a server may run on it meanwhile.

    Databases are checked by SQLite and against themselves; segments and field-index files against their checksums and
    against the databases. Exit code 1 means damage: either of the databases, which are the truth and come back from a
    backup, or of derived files, which a start of the server makes again, as `vdb repair` does.
    """
    checked = []
    for one in check_storage(storage, collection, content=not quick):
        checked.append(one)
        if not as_json:
            _print(one)
    damaged = [one for one in checked if one.findings]
    if as_json:
        print_json(_as_json(storage, checked))
    elif not damaged:
        click.echo(f"{storage} is whole")
    elif any(one.truth_is_damaged for one in damaged):
        click.echo("Databases are damaged: put a backup in their place (docs/operations.md)", err=True)
    else:
        click.echo("Only derived files are damaged: stop the server and run `vdb repair`; nothing is lost", err=True)
    ctx.exit(1 if damaged else 0)


def _print(one: Checked) -> None:
    name = "catalog.sqlite" if one.name == CATALOG else one.name
    if one.name == CATALOG:
        held = f"{one.points:,} collections"
    else:
        held = f"{one.points:,} points, {one.segments} segments, {one.field_files} field-index files"
    if one.truth_is_damaged:
        held = "cannot be counted on"
    click.echo(f"{'DAMAGED' if one.findings else 'ok':<8} {name}: {held}")
    for finding in one.findings:
        kind = "truth" if finding.kind == "truth" else "derived"
        click.echo(f"  {kind:<8} {finding.path}: {finding.what}")


def _as_json(storage: Path, checked: list[Checked]) -> dict[str, object]:
    return {
        "storage": str(storage),
        "whole": not any(one.findings for one in checked),
        "truth_damaged": any(one.truth_is_damaged for one in checked),
        "collections": [
            {
                "name": one.name,
                "folder": one.folder,
                "points": one.points,
                "segments": one.segments,
                "field_files": one.field_files,
                "findings": [
                    {"kind": "truth" if f.kind == "truth" else "derived", "path": f.path, "what": f.what}
                    for f in one.findings
                ],
            }
            for one in checked
            if one.name != CATALOG
        ],
        "catalog": [f.what for one in checked if one.name == CATALOG for f in one.findings],
    }
