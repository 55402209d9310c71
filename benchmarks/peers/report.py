"""From results to the tables of docs/benchmarks.md. Pure: files in, text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.registry import PEERS

BEGIN: Final = "<!-- compare.py writes from here"
END: Final = "<!-- to here -->"
MIB: Final = 2**20
DASH: Final = "–"

Figures = Mapping[str, Any]


def read(folder: Path) -> list[Figures]:
    """All results, in the order of the registry and by size. Files of other peers are left out."""
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    order = {name: number for number, name in enumerate(PEERS)}
    return sorted((one for one in found if one["peer"] in order), key=lambda one: (order[one["peer"]], one["points"]))


def main_results(results: Sequence[Figures]) -> list[Figures]:
    """The whole ones, which the tables are about, and the failed ones of the same data."""
    whole = [one for one in results if "curve" in one]
    names = {one["data"] for one in whole}
    return [one for one in results if "curve" in one or ("failed" in one and one["data"] in names)]


def growth(results: Sequence[Figures]) -> dict[str, dict[int, Figures]]:
    """By peer and number of points. The whole results are one of the sizes."""
    grown: dict[str, dict[int, Figures]] = {}
    for one in results:
        many = one.get("many") or one.get("defaults", {}).get("many")
        if many is None or one["peer"] == "floor":
            continue
        recall = one["recall"] if "recall" in one else one["defaults"]["recall"]
        grown.setdefault(one["peer"], {})[one["points"]] = {**one, "many": many, "recall": recall}
    return {name: by_size for name, by_size in grown.items() if len(by_size) > 1}


def markdown(results: Sequence[Figures], images: str = "images") -> str:
    """What stands between the two marks, for a page from which the plots lie in the folder ``images``."""
    main = main_results(results)
    working = [one for one in main if "failed" not in one]
    parts = [_about(main)]
    sections: list[tuple[str, Callable[[Sequence[Figures]], str]]] = [
        ("Searching, at the defaults of each", _defaults),
        ("Searching, with recall@10 of at least 0.99", _enough),
        ("Searching with a filter", _filters),
        ("Writing and keeping", _keeping),
    ]
    for title, section in sections:
        parts.append(f"### {title}\n\n{section(working)}")
    failed = [one for one in main if "failed" in one]
    if failed:
        parts.append("### Not measured\n\n" + _table(["", "why"], ([_title(one), one["failed"]] for one in failed)))
    parts.append(f"![Searches a second against recall]({images}/recall.png)")
    grown = growth(results)
    if grown:
        parts.append(f"### Growth\n\n{_growth(grown)}\n\n![Cost against size]({images}/growth.png)")
    return "\n\n".join(parts) + "\n"


def rewrite(page: Path, text: str) -> None:
    """Replaces what stands between the marks; raises ValueError where the page has none."""
    content = page.read_text(encoding="utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the tables: {BEGIN} … {END}")
    mark = rest.partition("\n")[0]
    page.write_text(f"{before}{BEGIN}{mark}\n\n{text}\n{END}{after}", encoding="utf-8")


def _about(main: Sequence[Figures]) -> str:
    first = main[0]
    machine = first["machine"]
    loads = [one["machine"]["load_before"] for one in main]
    cores = f", which it calls {machine['cores']} cores" if machine["cores"] else ""
    return (
        f"Measured from {min(one['at'] for one in main)} to {max(one['at'] for one in main)}, on {machine['cpu']}, "
        f"{machine['cpus']} CPUs{cores}, {machine['memory_gib']:g} GiB of memory, {machine['kernel']}, Python "
        f"{machine['python']}. Data: `{first['data']}`, {first['points']:,} points. "
        f"Other programs were running: before each peer the load average was {min(loads):g} to {max(loads):g} "
        "(0 is a machine with nothing else to do)."
    )


def _title(one: Figures) -> str:
    return f"{_name(one['peer'])} {one.get('version', '')}".strip()


def _name(peer: str) -> str:
    title = PEERS[peer].title
    return f"**{title}**" if peer == "vdb" else title


def _kind(one: Figures) -> str:
    entry = PEERS[one["peer"]]
    return f"{entry.kind}{', limit' if entry.limit else ''}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += [f"| {' | '.join(cell.replace('|', '¦').replace(chr(10), ' ') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, thousands apart."""
    if value is None:
        return DASH
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):g}"


def _recall(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _times(load: Figures | None) -> str:
    """p50 / p95 / p99."""
    return DASH if load is None else " / ".join(number(load[f"{name}_ms"], 2) for name in ("p50", "p95", "p99"))


def _rate(load: Figures | None) -> str:
    return DASH if load is None else number(load["per_second"])


_LOAD_HEAD: Final = ("1 client, /s", "p50 / p95 / p99 ms", "8 clients, /s", "p50 / p95 / p99 ms", "CPU ms")


def _load_cells(one: Figures | None, many: Figures | None) -> list[str]:
    return [_rate(one), _times(one), _rate(many), _times(many), number(None if many is None else many.get("cpu_ms"), 2)]


def _defaults(working: Sequence[Figures]) -> str:
    def row(one: Figures) -> list[str]:
        point = one["defaults"]
        cells = [_title(one), _kind(one), _recall(point["recall"]), *_load_cells(point["one"], point["many"])]
        return [*cells, number(one["machine"]["load_before"], 2)]

    return _table(["", "kind", "recall", *_LOAD_HEAD, "load before"], map(row, working))


def _enough(working: Sequence[Figures]) -> str:
    def row(one: Figures) -> list[str]:
        point = one["enough"]
        batch = number(one["batch"]["queries_per_second"]) if one["batch"] else DASH
        if point is None:
            best = max((found["recall"] for found in one["curve"]), default=one["defaults"]["recall"])
            return [_title(one), f"at most {_recall(best)}", DASH, *_load_cells(None, None), batch]
        width = f"{one['width_name']} {point['width']}" if point["width"] is not None else "exact"
        return [_title(one), width, _recall(point["recall"]), *_load_cells(point["one"], point["many"]), batch]

    databases = [one for one in working if one["peer"] != "floor"]
    return _table(["", "parameter", "recall", *_LOAD_HEAD, "batches of 100, queries/s"], map(row, databases))


def _filters(working: Sequence[Figures]) -> str:
    names = list(dict.fromkeys(name for one in working for name in one["filters"]))

    def row(one: Figures) -> list[str]:
        cells = [_title(one)]
        for name in names:
            found = one["filters"].get(name)
            cells += [DASH, DASH] if found is None else [_rate(found["many"]), _recall(found["recall"])]
        return cells

    head = ["", *(cell for name in names for cell in (f"{name}, /s", "recall"))]
    return _table(head, (row(one) for one in working if one["peer"] != "floor"))


def survival(crash: Figures | None) -> str:
    """What a kill -9 left of what was acknowledged."""
    if crash is None or "failed" in crash:
        return "not measured" if crash is None else f"not measured: {crash['failed']}"
    if crash["found"] >= crash["acknowledged"]:
        return "yes"
    reason = f" ({crash['reason']})" if "reason" in crash else ""
    return f"no: {crash['found']:,} of {crash['acknowledged']:,}{reason}"


def flushes(writes: Figures | None) -> str:
    """Calls for each acknowledged write."""
    count = None if writes is None else writes.get("flushes_per_write")
    return "not measured" if count is None else number(count, 2)


def _keeping(working: Sequence[Figures]) -> str:
    def row(one: Figures) -> list[str]:
        writes = one.get("writes")
        return [
            _title(one),
            number(one["points_per_second"]),
            number(round(one["green_s"], 2), 2),
            number(writes.get("singles_per_second") if writes else None),
            flushes(writes),
            survival(one.get("crash")),
            number(one["memory_bytes"] / MIB),
            number(one["disk_bytes"] / MIB),
            number(one.get("first_answer_s"), 2),
        ]

    head = [
        "",
        "ingest, points/s",
        "until indexed, s",
        "single writes/s",
        "flushes a write",
        "survives kill -9",
        "memory, MiB",
        "disk, MiB",
        "cold start, s",
    ]
    return _table(head, (row(one) for one in working if one["peer"] != "floor"))


def _growth(grown: Mapping[str, Mapping[int, Figures]]) -> str:
    rows = []
    for name, by_size in grown.items():
        for points, one in sorted(by_size.items()):
            rows.append(
                [
                    _name(name),
                    f"{points:,}",
                    number(one["points_per_second"]),
                    number(round(one["green_s"], 2), 2),
                    number(one["memory_bytes"] / MIB),
                    number(one["disk_bytes"] / MIB),
                    _rate(one["many"]),
                    _recall(one["recall"]),
                    number(one["machine"]["load_before"], 2),
                ]
            )
    head = ["", "points", "ingest, points/s", "until indexed, s", "memory, MiB", "disk, MiB", "8 clients, /s", "recall"]
    return _table([*head, "load before"], rows)
