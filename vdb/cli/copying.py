"""A copy of points into a server's collection, which is made where it is missing. It can be gone on with."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from vdb.cli.client import Client, Server
from vdb.cli.collection_settings import (
    CollectionSettings,
    create_collection,
    exists,
    finish_collection,
    guess_settings,
)
from vdb.cli.output import print_json, progress
from vdb.cli.resume import StateFile
from vdb.cli.sending import Batch, Position, Sender
from vdb.errors import Misconfigured, VdbError

BATCH_POINTS: Final = 500
CONNECTIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Where points come from. ``settings`` and ``points`` are None where only reading would tell."""

    name: str
    settings: CollectionSettings | None
    points: int | None
    batches: Callable[[Position | None], Iterator[Batch]]


@dataclass(frozen=True, slots=True)
class Copied:
    """How many points this run sent, and how long that took, indexes not counted."""

    points: int
    seconds: float
    created: bool


def copy_into(
    source: Source,
    server: Server,
    collection: str,
    state: StateFile,
    *,
    connections: int,
    resume: bool,
    distance: str,
    quiet: bool,
) -> Copied:
    """Raises ServerError, BatchRefused, Misconfigured; then, and after Ctrl+C, the state says where to go on."""
    kept = state.read() if resume else {}
    start: Position | None = kept.get("position")
    with server.connect() as client:
        batches, created = _prepare(client, source, collection, start, distance)
        created = created or bool(kept.get("created"))
        already = kept.get("points", 0)

        with progress(f"{source.name} → {collection}", quiet=quiet) as advance:

            def reached() -> dict[str, Any]:
                """What the state file keeps."""
                position, points = sender.confirmed or start, already + sender.confirmed_points
                return {"position": position, "created": created, "points": points}

            def on_progress(points: int) -> None:
                advance(already + points, source.points)
                state.keep(reached())

            sender = Sender(server, collection, connections, on_progress)
            began = time.perf_counter()
            try:
                sender.send_all(batches)
            except BaseException as error:
                state.keep(reached(), now=True)
                if isinstance(error, (VdbError, KeyboardInterrupt)):
                    click.echo(f"{sender.points} points are there; --resume goes on", err=True)
                raise
        seconds = time.perf_counter() - began
        if created and source.settings is not None:
            finish_collection(client, collection, source.settings)
    state.remove()
    return Copied(sender.points, seconds, created)


def _prepare(
    client: Client, source: Source, collection: str, start: Position | None, distance: str
) -> tuple[Iterator[Batch], bool]:
    """The batches to send, and whether the collection was made for them."""
    batches = source.batches(start)
    if source.settings is not None:
        return batches, create_collection(client, collection, source.settings)
    if exists(client, collection):
        return batches, False
    first = next(batches, None)
    if first is None:
        raise Misconfigured(f"{source.name} has no points to tell by what collection `{collection}` should be")
    create_collection(client, collection, guess_settings(collection, first.body, distance))
    return itertools.chain([first], batches), True


def report(copied: Copied, collection: str, as_json: bool) -> None:
    """The last line of a copy."""
    rate = copied.points / copied.seconds if copied.seconds else 0.0
    if as_json:
        facts: dict[str, Any] = {
            "collection": collection,
            "created": copied.created,
            "points": copied.points,
            "seconds": round(copied.seconds, 3),
            "points_per_second": round(rate, 1),
        }
        print_json(facts)
    else:
        click.echo(f"{copied.points:,} points in {copied.seconds:.1f} s ({rate:,.0f} a second) → {collection}")


def state_beside(path: Path, suffix: str, key: dict[str, Any]) -> StateFile:
    return StateFile(path.with_name(path.name + suffix), key)
