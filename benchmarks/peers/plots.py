"""PNGs of the results: ``python -m benchmarks.peers.plots RESULTS IMAGES``, in the environment of plots.txt."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt

from benchmarks.peers import report
from benchmarks.peers.registry import PEERS

DOTS_PER_INCH: Final = 72  # keeps a plot below 100 kB
MISSED_MIN: Final = 5e-4  # what 200 queries can tell: a recall above 0.9995 is drawn there
RECALLS: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
MARKERS: Final = "osD^v<>pPXh"


def _style(name: str) -> dict[str, Any]:
    """The same colour and mark for a peer in every plot; vdb stands out."""
    place = list(PEERS).index(name)
    entry = PEERS[name]
    return {
        "label": f"{entry.title} ({entry.kind})",
        "color": "black" if name == "vdb" else plt.get_cmap("tab10")((place - 1) % 10),
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": ":" if entry.limit else "-",
        "linewidth": 2.5 if name == "vdb" else 1.2,
        "markersize": 5,
    }


def recall(results: Sequence[report.Figures], path: Path) -> None:
    """8 clients; the axis of recall is logarithmic in what was missed. Exact peers are a point, the floor is a line."""
    figure, axes = plt.subplots(figsize=(10, 5.5))
    for one in report.main_results(results):
        if "failed" in one:
            continue
        style = _style(one["peer"])
        if one["peer"] == "floor":
            axes.axhline(one["defaults"]["many"]["per_second"], color="grey", linestyle=":", label=style["label"])
            continue
        points = one["curve"] or [one["defaults"]]
        missed = [max(1 - point["recall"], MISSED_MIN) for point in points]
        axes.plot(missed, [point["many"]["per_second"] for point in points], **style)
    axes.set(xscale="log", yscale="log", xlabel="recall@10", ylabel="searches a second, 8 clients")
    axes.set_xticks([1 - share for share in RECALLS], [f"{share:g}" for share in RECALLS])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_title("Up and right is better")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=DOTS_PER_INCH)


def growth(grown: Mapping[str, Mapping[int, report.Figures]], path: Path) -> None:
    """What more points cost, on logarithmic axes."""
    figure, places = plt.subplots(2, 2, figsize=(9, 6.4))
    titles = ("Ingest and indexing, s", "Memory, MiB", "Disk, MiB", "Searches a second, 8 clients")
    for axes, title in zip(places.flat, titles, strict=True):
        axes.set(xscale="log", yscale="log", title=title, xlabel="points")
        axes.grid(alpha=0.3, which="both")
    for name, by_size in grown.items():
        sizes = sorted(by_size)
        found = [by_size[size] for size in sizes]
        rows = (
            [one["ingest_s"] + one["green_s"] for one in found],
            [one["memory_bytes"] / report.MIB for one in found],
            [one["disk_bytes"] / report.MIB for one in found],
            [one["many"]["per_second"] for one in found],
        )
        for axes, values in zip(places.flat, rows, strict=True):
            axes.plot(sizes, values, **_style(name))
    lines, labels = places.flat[0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.legend(lines, labels, fontsize=7, loc="lower center", ncols=4)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def main() -> None:
    results = report.read(Path(sys.argv[1]))
    images = Path(sys.argv[2])
    images.mkdir(parents=True, exist_ok=True)
    recall(results, images / "recall.png")
    if grown := report.growth(results):
        growth(grown, images / "growth.png")


if __name__ == "__main__":
    main()
