"""vdb from end to end, through qdrant-client, on real embeddings: ``python scripts/demo.py``.

It starts a server on a temporary folder, uploads, waits until the graph is built, searches, uploads everything again,
kills the server with ``kill -9`` in the middle of that, restarts it, verifies that every batch that was acknowledged is
there and the one in flight whole or not at all, and searches again. Exits with 1 when anything was lost or recall@10 is
below 0.98.

Without arguments it takes the 2,000 package descriptions in `scripts/demo_data`. `--data PATH.npz` takes another set
(see `scripts/dataset.py`). `--url` uses a server that runs already, which is not killed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qdrant_client import QdrantClient
from qdrant_client.models import (
    CollectionStatus,
    Distance,
    HnswConfigDiff,
    OptimizersConfigDiff,
    PointStruct,
    VectorParams,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.dataset import TRUTH_K, Dataset, load
from scripts.vdb_process import POLL_S, VdbProcess

DATA: Final = Path(__file__).with_name("demo_data") / "debian-packages.npz"
COLLECTION: Final = "vdb-demo"
RECALL_MIN: Final = 0.98
SMALL_POINTS: Final = 10_000  # below this, sizes from which graphs are built and used are lowered, so that one is
SMALL_KIB: Final = 1_000
BATCHES: Final = 40  # of one upload, at least
BATCH_MAX: Final = 500
GREEN_MAX_S: Final = 300.0
KILL_DELAY_S: Final = 0.01  # into the batch that follows the middle of the second upload
EXAMPLES: Final = 3

console = Console()


@dataclass(slots=True)
class Outcome:
    """What the demo ends by saying."""

    recall: list[float] = field(default_factory=list)
    queries_per_second: list[float] = field(default_factory=list)
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.lost and min(self.recall) >= RECALL_MIN


class Demo:
    """One run. ``server`` is None for one that somebody else has started."""

    def __init__(self, data: Dataset, url: str | None, folder: Path) -> None:
        self.data = data
        self.storage = folder / "storage"
        self.server = None if url else VdbProcess(self.storage)
        self.client = self._connect(url)
        self.batch = max(1, min(BATCH_MAX, len(data.vectors) // BATCHES))
        self.outcome = Outcome()

    def _connect(self, url: str | None = None) -> QdrantClient:
        return QdrantClient(url=url or self._own().wait_until_listening(), timeout=60)

    def _own(self) -> VdbProcess:
        assert self.server is not None
        return self.server

    def run(self) -> Outcome:
        try:
            self._create()
            self._upload()
            self._wait_until_green()
            self._search("first")
            if self.server is not None:
                self._upload_again_and_kill()
                self._wait_until_green()
                self._search("after kill -9")
            self._show()
        finally:
            if self.server is None:
                self.client.delete_collection(COLLECTION)
            self.client.close()
            if self.server is not None:
                self.server.kill()
        return self.outcome

    def _create(self) -> None:
        small = len(self.data.vectors) < SMALL_POINTS
        self.client.create_collection(
            COLLECTION,
            vectors_config=VectorParams(size=self.data.vectors.shape[1], distance=Distance.COSINE),
            optimizers_config=OptimizersConfigDiff(indexing_threshold=SMALL_KIB) if small else None,
            hnsw_config=HnswConfigDiff(full_scan_threshold=SMALL_KIB) if small else None,
        )

    def _point(self, row: int, upload: int) -> PointStruct:
        payload = {} if self.data.payloads is None else self.data.payloads[row]
        return PointStruct(id=row, vector=self.data.vectors[row].tolist(), payload={**payload, "upload": upload})

    def _upload(self) -> None:
        with _progress() as progress:
            task = progress.add_task("uploading", total=len(self.data.vectors))

            def points() -> Iterator[PointStruct]:
                for row in range(len(self.data.vectors)):
                    yield self._point(row, 1)
                    progress.advance(task)

            self.client.upload_points(COLLECTION, points(), batch_size=self.batch, wait=True)

    def _wait_until_green(self) -> None:
        deadline = time.monotonic() + GREEN_MAX_S
        with console.status("waiting until every segment has its graph"):
            while self.client.get_collection(COLLECTION).status != CollectionStatus.GREEN:
                if time.monotonic() > deadline:
                    raise SystemExit(f"the collection did not become green within {GREEN_MAX_S:g} s")
                time.sleep(POLL_S)

    def _search(self, when: str) -> None:
        found: list[list[int]] = []
        names: list[list[str]] = []
        with _progress() as progress:
            task = progress.add_task(f"searching, {when}", total=len(self.data.queries))
            started = time.perf_counter()
            for query in self.data.queries:
                hits = self.client.query_points(COLLECTION, query.tolist(), limit=TRUTH_K, with_payload=["name"]).points
                found.append([int(hit.id) for hit in hits])
                names.append([str((hit.payload or {}).get("name")) for hit in hits])
                progress.advance(task)
            elapsed = time.perf_counter() - started
        self.outcome.recall.append(self.data.recall(found))
        self.outcome.queries_per_second.append(len(found) / elapsed)
        if len(self.outcome.recall) == 1:
            for text, hits_names in list(zip(self.data.texts or (), names, strict=False))[:EXAMPLES]:
                console.print(f"  [bold]{text}[/] → {', '.join(hits_names[:3])}")

    def _upload_again_and_kill(self) -> None:
        """The same points with another payload, until the server is gone; then what it kept is compared."""
        starts = range(0, len(self.data.vectors), self.batch)
        middle = len(starts) // 2
        done = 0
        with _progress() as progress:
            task = progress.add_task("uploading again, and kill -9", total=len(self.data.vectors))
            try:
                for number, start in enumerate(starts):
                    if number == middle:
                        threading.Timer(KILL_DELAY_S, self._own().process.kill).start()
                    points = [self._point(row, 2) for row in self._rows(start)]
                    self.client.upsert(COLLECTION, points, wait=True)
                    done += 1
                    progress.advance(task, len(points))
            except Exception as error:
                progress.console.print(
                    f"  the server is gone after {done} acknowledged batches ({type(error).__name__})"
                )
        self._own().kill()
        self.client.close()
        self.outcome.acknowledged = done
        with console.status("restarting"):
            self.server = VdbProcess(self.storage)
            self.client = self._connect()
            elapsed = time.perf_counter() - self.server.started_at
        console.print(f"  restarted, listening after {elapsed:.2f} s")
        self._verify(list(starts), done)

    def _rows(self, start: int) -> range:
        return range(start, min(start + self.batch, len(self.data.vectors)))

    def _verify(self, starts: Sequence[int], acknowledged: int) -> None:
        lost = self.outcome.lost
        count = self.client.count(COLLECTION).count
        if count != len(self.data.vectors):
            lost.append(f"{count} points are there, not {len(self.data.vectors)}")
        for number, start in enumerate(starts):
            rows = self._rows(start)
            uploads = self._uploads_of(rows)
            if number < acknowledged:
                expected = [[2] * len(rows)]
            elif number == acknowledged:  # it was in flight: whole, or not at all
                expected = [[1] * len(rows), [2] * len(rows)]
            else:
                expected = [[1] * len(rows)]
            if uploads not in expected:
                lost.append(f"batch {number} (points {rows[0]}–{rows[-1]}) is not as it was acknowledged")

    def _uploads_of(self, rows: range) -> list[Any]:
        """Which upload each point shows, in the order of ``rows``; None where its payload is not what was sent."""
        records = self.client.retrieve(COLLECTION, list(rows), with_payload=True, with_vectors=False)
        there = {int(record.id): dict(record.payload or {}) for record in records}
        uploads = []
        for row in rows:
            payload = there.get(row, {})
            upload = payload.pop("upload", None)
            sent = {} if self.data.payloads is None else self.data.payloads[row]
            uploads.append(upload if payload == sent else None)
        return uploads

    def _show(self) -> None:
        info = self.client.get_collection(COLLECTION)
        outcome = self.outcome
        table = Table(title=f"vdb demo: {self.data.name}")
        table.add_column("")
        table.add_column("", justify="right")
        table.add_row("points stored", f"{info.points_count or 0:,}")
        table.add_row("vectors in graphs", f"{info.indexed_vectors_count or 0:,}")
        table.add_row("segments", str(info.segments_count))
        if self.server is not None:
            size = sum(path.stat().st_size for path in self.storage.rglob("*") if path.is_file())
            table.add_row("on disk", f"{size / 2**20:.1f} MiB")
            table.add_row("batches acknowledged before kill -9", str(outcome.acknowledged))
            table.add_row("lost or half applied", "nothing" if not outcome.lost else f"[red]{len(outcome.lost)}[/]")
        for what, recall, rate in zip(
            ("first", "after kill -9"), outcome.recall, outcome.queries_per_second, strict=False
        ):
            table.add_row(f"recall@{TRUTH_K}, {what}", f"{recall:.4f}")
            table.add_row(f"queries per second, {what}", f"{rate:,.0f}")
        console.print(table)
        for line in outcome.lost:
            console.print(f"[red]{line}[/]")
        if min(outcome.recall) < RECALL_MIN:
            console.print(f"[red]recall@{TRUTH_K} is below {RECALL_MIN}[/]")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="npz of vectors and queries")
    parser.add_argument("--url", help="of a running server; its collection `vdb-demo` is made and deleted")
    parser.add_argument("--keep", type=Path, help="move the storage folder there at the end, to look into it")
    arguments = parser.parse_args()
    data = load(arguments.data)
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vdb-demo-")))
        demo = Demo(data, arguments.url, folder)
        outcome = demo.run()
        if arguments.keep and arguments.url is None:
            shutil.move(demo.storage, arguments.keep)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
