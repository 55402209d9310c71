"""Tables of the comparison from made-up results; no peer is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import dataset_folder, load_generator, report
from benchmarks.peers.peer import conditions, sql
from benchmarks.peers.registry import PEERS, REQUIREMENTS

LOAD = {"per_second": 1234.5, "p50_ms": 0.8, "p95_ms": 1.5, "p99_ms": 12.0, "searches": 1000, "cpu_ms": 0.25}
MACHINE = {
    "cpu": "CPU",
    "cpus": 2,
    "cores": 1,
    "memory_gib": 4.0,
    "kernel": "Linux",
    "python": "3.11.7",
    "load_before": 0.1,
}
SECTION = {"key": "section", "match": {"any": ["it's", "text"]}}
SIZE = {"key": "size", "range": {"gte": 3, "lt": 7}}


def whole(peer: str, **more: Any) -> dict[str, Any]:
    point = {"recall": 0.95, "one": LOAD, "many": LOAD}
    return {
        "peer": peer,
        "data": "made-up-20000x8",
        "points": 20_000,
        "machine": MACHINE,
        "at": "2026-01-01 00:00 UTC",
        "version": "1.0",
        "points_per_second": 10_000.0,
        "ingest_s": 2.0,
        "green_s": 3.0,
        "disk_bytes": 5 * report.MIB,
        "memory_bytes": 7 * report.MIB,
        "defaults": point,
        "curve": [{"width": 10, **point}],
        "width_name": "ef",
        "enough": None,
        "batch": None,
        "filters": {"half": {"recall": 0.5, "many": LOAD}},
        "first_answer_s": 0.4,
        "writes": {"singles_per_second": 100.0, "flushes_per_write": 1.03, "flush_calls": {"fdatasync": 103}},
        "crash": {"acknowledged": 1_500, "found": 1_500},
        **more,
    }


def put(folder: Path, name: str, result: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def row_of(text: str, section: str, start: str) -> list[str]:
    table = text.partition(f"### {section}")[2].partition("\n### ")[0]
    line = next(line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_peer_that_never_finds_enough_says_how_much_it_finds(tmp_path: Path) -> None:
    put(tmp_path, "vdb", whole("vdb", enough={"width": 128, "recall": 0.991, "one": LOAD, "many": LOAD}))
    put(tmp_path, "lancedb", whole("lancedb"))
    text = report.markdown(report.read(tmp_path))
    enough = "Searching, with recall@10 of at least 0.99"
    assert row_of(text, enough, "**vdb**")[1:3] == ["ef 128", "0.991"]
    assert row_of(text, enough, "LanceDB")[1:5] == ["at most 0.950", "–", "–", "–"]


def test_a_peer_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path, "vdb", whole("vdb"))
    failed = {key: whole("zvec")[key] for key in ("peer", "data", "points", "machine", "at")}
    put(tmp_path, "zvec", {**failed, "failed": "no wheel | for this machine"})
    text = report.markdown(report.read(tmp_path))
    assert row_of(text, "Not measured", "zvec") == ["zvec", "no wheel ¦ for this machine"]
    assert "zvec" not in text.partition("### Not measured")[0]


def test_what_was_lost_and_what_was_not_measured_is_said() -> None:
    assert report.survival({"acknowledged": 1_500, "found": 1_550}) == "yes"
    assert (
        report.survival({"acknowledged": 1_500, "found": 0, "reason": "it is damaged"})
        == "no: 0 of 1,500 (it is damaged)"
    )
    assert report.survival({"failed": "no answer"}) == "not measured: no answer"
    assert report.flushes({"flushes_per_write": None}) == "not measured"
    assert report.flushes({"flushes_per_write": 0.0}) == "0"


def test_growth_needs_two_sizes_and_takes_the_whole_result_as_one(tmp_path: Path) -> None:
    put(tmp_path, "vdb", whole("vdb"))
    assert report.growth(report.read(tmp_path)) == {}
    brief = {key: value for key, value in whole("vdb").items() if key not in ("curve", "defaults")}
    put(tmp_path, "vdb-50000", {**brief, "points": 50_000, "data": "made-up-50000x8", "many": LOAD, "recall": 0.9})
    results = report.read(tmp_path)
    assert list(report.growth(results)["vdb"]) == [20_000, 50_000]
    assert [one["points"] for one in report.main_results(results)] == [20_000]
    assert row_of(report.markdown(results), "Growth", "**vdb** | 50,000")[6:] == ["1,234", "0.900", "0.1"]


def test_only_what_stands_between_the_marks_is_rewritten(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN} -->\nold\n{report.END}\n\nafter\n", encoding="utf-8")
    for text in ("first", "second"):
        report.rewrite(page, f"{text}\n")
    assert page.read_text(encoding="utf-8") == f"before\n\n{report.BEGIN} -->\n\nsecond\n\n{report.END}\n\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="no place"):
        report.rewrite(page, "text")


def test_latencies_become_shares() -> None:
    figures = load_generator.summary([milliseconds / 1000 for milliseconds in range(1, 101)], 2.0)
    assert figures["per_second"] == 50
    assert [round(figures[name]) for name in ("p50_ms", "p95_ms", "p99_ms")] == [51, 96, 100]


def test_filters_are_written_in_other_languages() -> None:
    assert sql({"must": [SECTION, SIZE]}) == "section IN ('it''s', 'text') AND size >= 3 AND size < 7"
    with pytest.raises(ValueError, match="only `must`"):
        list(conditions({"should": [SECTION]}))
    with pytest.raises(ValueError, match="no peer is asked"):
        list(conditions({"must": [{"key": "place", "geo_radius": {}}]}))


def test_recall_with_a_filter_counts_matching_points_only(tmp_path: Path) -> None:
    vectors = np.eye(30, dtype=np.float32) + 0.01 * np.arange(30, dtype=np.float32)
    payloads = [{"size": row} for row in range(30)]
    dataset_folder.write(tmp_path, "made-up", vectors, vectors[:1], payloads, {"few": {"must": [SIZE]}})
    data = dataset_folder.DatasetFolder.open(tmp_path)
    assert data.fields == {"size": "integer"}
    exact = np.argsort(-(data.vectors @ data.queries[0]))[:10].tolist()
    assert data.recall([exact]) == 1
    assert data.recall([exact[:5]]) == 0.5
    assert data.recall([[3, 4, 5, 6]], "few") == 1
    assert data.recall([[3, 4, 7, 8]], "few") == 0.5
    assert data.payloads() == payloads


def test_every_peer_has_pins() -> None:
    wanted = {entry.requirements.name for entry in PEERS.values() if entry.requirements} | {"plots.txt"}
    assert wanted == {path.name for path in REQUIREMENTS.iterdir()}
    for path in REQUIREMENTS.iterdir():
        assert all("==" in line for line in path.read_text(encoding="utf-8").split()), path
