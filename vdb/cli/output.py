"""What commands print: tables and progress for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.progress import Progress

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

Advance = Callable[[int, int | None], None]


def print_json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Plain columns, numbers to the right: readable on a terminal and by ``awk``."""
    from rich.console import Console
    from rich.table import Table

    rows = list(rows)
    table = Table(box=None, pad_edge=False)
    for position, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[position], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # Into a pipe nothing is cut off, however narrow the terminal was.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    facts = list(facts)
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        click.echo(f"{name:<{width}}  {_cell(value)}")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return "" if value is None else str(value)


def size_text(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"


@contextmanager
def progress(what: str, *, quiet: bool, size_in_bytes: bool = False) -> Iterator[Advance]:
    """A bar on stderr while the block runs: call what it yields with how much is done, and of how much if known.

    Nothing is shown where stderr is no terminal, or ``quiet`` is set.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bar(size_in_bytes) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _bar(size_in_bytes: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counted = (DownloadColumn(), TransferSpeedColumn()) if size_in_bytes else (MofNCompleteColumn(),)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), *counted, TimeRemainingColumn(), console=Console(stderr=True)
    )
