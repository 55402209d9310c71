"""vdb beside what people would take instead, one command: ``python benchmarks/compare.py [--data NPZ --filters JSON]``.

Peers run one at a time, each in a virtual environment of its own below ``--cache``, over the same points. What cannot
be installed or fails stands in the table with its reason, and the run goes on. The results of each peer are a JSON file
in ``--results``: a run goes on where the last one stopped; ``--only NAME,… --fresh`` repeats some. In the end the
table, the plots and their part of docs/benchmarks.md are written from those files; ``--render`` does that alone.

Without ``--data`` it makes up clustered vectors (``--points`` × ``--dim``), and filters over their numbers. ``--sizes``
also measures how ingest, memory, disk and search grow. Linux only: memory and flushes come from /proc and strace.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import dataset_folder, machine, processes, report
from benchmarks.peers.environments import NotInstalled, python_of, version_of
from benchmarks.peers.registry import PEERS, REQUIREMENTS, Entry
from scripts.dataset import Dataset, generate, load

ROOT: Final = Path(__file__).resolve().parents[1]
QUERIES: Final = 500
RECALL_QUERIES: Final = 200
COLD_STARTS: Final = 3
CRASH_ACKNOWLEDGED: Final = 1_500  # points before the kill, fewer where there are fewer
CRASH_MAX_S: Final = 60.0
REAP_MAX_S: Final = 20.0  # in which a worker notices that its server is dead
SHARES: Final = {"half": 0.5, "five": 0.05, "half_percent": 0.005}

Figures = dict[str, Any]


class PhaseFailed(Exception):
    """A worker ended badly or not in time; the message is its last line."""


class Runner:
    """Phases of one peer over one data set."""

    def __init__(self, entry: Entry, python: Path, data: Path, arguments: argparse.Namespace) -> None:
        self.entry = entry
        self.python = python
        self.data = data
        self.seconds: float = arguments.seconds
        self.limit_s: float = arguments.limit
        self.cache: Path = arguments.cache

    def start(self, phase: str, folder: Path) -> subprocess.Popen[str]:
        job = {
            "peer": self.entry.name,
            "phase": phase,
            "folder": str(folder),
            "data": str(self.data),
            "seconds": self.seconds,
            "recall_queries": RECALL_QUERIES,
            "spawned_at": time.monotonic(),
        }
        path = folder.with_name(f"{folder.name}.{phase}.json")
        path.write_text(json.dumps(job), encoding="utf-8")
        errors = path.with_suffix(".err").open("w")
        with errors:
            return subprocess.Popen(
                [str(self.python), "-m", "benchmarks.peers.worker", str(path)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def phase(self, phase: str, folder: Path) -> Figures:
        """Raises PhaseFailed. Nothing that it started is left behind."""
        began = time.perf_counter()
        worker = self.start(phase, folder)
        try:
            output, _ = worker.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            raise PhaseFailed(f"{phase} did not end within {self.limit_s:g} s") from None
        finally:
            if worker.poll() is None:
                processes.kill_all([worker.pid])
                worker.communicate()
            else:
                _kill_session(worker.pid)
        if worker.returncode:
            lines = folder.with_name(f"{folder.name}.{phase}.err").read_text(errors="replace").strip().splitlines()
            raise PhaseFailed(f"{phase}: {lines[-1][:300] if lines else f'exit code {worker.returncode}'}")
        try:
            figures: Figures = json.loads(output.strip().splitlines()[-1])
        except (IndexError, ValueError):
            raise PhaseFailed(f"{phase}: ended with {output[-300:]!r}") from None
        print(f"  {phase} {time.perf_counter() - began:.1f} s", flush=True)
        return figures

    def crash(self, folder: Path) -> Figures:
        """Kills whatever holds the database while it is written to, and counts what is there afterwards."""
        worker = self.start("crash", folder)
        watchdog = threading.Timer(CRASH_MAX_S, processes.kill_all, [[worker.pid]])
        watchdog.start()
        acknowledged, pids = 0, [worker.pid]
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                try:
                    said = json.loads(line)
                except ValueError:
                    continue  # a library talks
                pids = said.get("pids", pids)
                acknowledged = said.get("acknowledged", acknowledged)
                if acknowledged >= CRASH_ACKNOWLEDGED:
                    break
        finally:
            processes.kill_all(pids)
            try:
                rest, _ = worker.communicate(timeout=REAP_MAX_S)
            except subprocess.TimeoutExpired:
                processes.kill_all([worker.pid])
                rest, _ = worker.communicate()
            watchdog.cancel()
            _kill_session(worker.pid)
        for line in rest.splitlines():  # acknowledged while the signal was on its way
            if line.startswith('{"acknowledged"'):
                acknowledged = json.loads(line)["acknowledged"]
        if not acknowledged:
            raise PhaseFailed("crash: nothing was acknowledged")
        try:
            found = self.phase("count", folder)["found"]
        except PhaseFailed as failed:
            return {"acknowledged": acknowledged, "found": 0, "reason": str(failed)}
        return {"acknowledged": acknowledged, "found": found}

    def whole(self) -> Figures:
        """Everything that the tables show of one peer, without growth."""
        figures: Figures = {}
        with self.folders() as folder:
            figures |= self.phase("fill", folder / "main")
            figures |= self.phase("measure", folder / "main")
            if self.entry.name != "floor":
                starts = [self.phase("cold", folder / "main")["first_answer_s"] for _ in range(COLD_STARTS)]
                figures["first_answer_s"] = sorted(starts)[len(starts) // 2]
                shutil.rmtree(folder / "main", ignore_errors=True)
                figures["writes"] = self._or_reason("writes", folder / "writes")
                figures["crash"] = self._or_reason("crash", folder / "crash")
        return figures

    def size(self) -> Figures:
        """What growth is told from."""
        with self.folders() as folder:
            return self.phase("fill", folder / "main") | self.phase("brief", folder / "main")

    def _or_reason(self, phase: str, folder: Path) -> Figures:
        """A failure of these two leaves the other figures standing."""
        try:
            return self.crash(folder) if phase == "crash" else self.phase(phase, folder)
        except PhaseFailed as failed:
            return {"failed": str(failed)}

    def folders(self) -> _Scratch:
        return _Scratch(self.cache)


class _Scratch:
    """A folder that is gone afterwards; open to the user that PostgreSQL runs as."""

    def __init__(self, cache: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
        self._folder.chmod(0o755)

    def __enter__(self) -> Path:
        return self._folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _kill_session(leader: int) -> None:
    """What a worker left behind: servers whose parent died."""
    left = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            left.append(int(path.name))
    processes.kill_all(left)


def filters_of(data: Dataset, path: Path | None) -> dict[str, Any]:
    """From the file, or over the number that made-up payloads have."""
    if path is not None:
        found: dict[str, Any] = json.loads(path.read_bytes())["filters"]
        return {name: wanted for name, wanted in found.items() if wanted}
    if data.payloads is None or "size" not in data.payloads[0]:
        return {}
    count = len(data.vectors)
    return {name: {"must": [{"key": "size", "range": {"lt": int(count * share)}}]} for name, share in SHARES.items()}


def write_data(arguments: argparse.Namespace, count: int) -> tuple[Path, str]:
    """The first ``count`` points as files that every environment can read; their folder, and the name of the set."""
    if arguments.data is not None:
        data = load(arguments.data)
        if count > len(data.vectors):
            raise SystemExit(f"{arguments.data} has {len(data.vectors)} points, not {count}")
    else:
        data = generate(count, arguments.dim, QUERIES)
    name = f"{arguments.data.stem if arguments.data else 'generated'}-{count}x{data.vectors.shape[1]}"
    folder: Path = arguments.cache / "data" / name
    payloads = data.payloads[:count] if data.payloads is not None else [{} for _ in range(count)]
    filters = filters_of(data, arguments.filters)
    dataset_folder.write(folder, name, data.vectors[:count], data.queries[:QUERIES], payloads, filters)
    return folder, name


def prepare(entry: Entry, cache: Path) -> tuple[Path, str]:
    """Interpreter and version; raises NotInstalled."""
    python = Path(sys.executable)
    if entry.requirements is not None:
        python = python_of(cache, entry.name, entry.requirements)
    return python, version_of(python, entry.package)


def run(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """What is missing. A failure is a result too: it is tried again with ``--fresh``."""
    sizes = [arguments.points, *(size for size in arguments.sizes if size != arguments.points)]
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        main_part = size == arguments.points
        wanted = [name for name in names if not (PEERS[name].name == "floor" and not main_part)]
        paths = {name: results / (f"{name}.json" if main_part else f"{name}-{size}.json") for name in wanted}
        data, data_name = write_data(arguments, size)
        missing = [name for name in wanted if arguments.fresh or not _is_of(paths[name], data_name)]
        for name in missing:
            print(f"{name}, {data_name}", flush=True)
            write_json(paths[name], one(PEERS[name], data, data_name, size, main_part, arguments))


def _is_of(path: Path, data_name: str) -> bool:
    """Whether there are results, of that data set."""
    return path.exists() and json.loads(path.read_bytes())["data"] == data_name


def one(entry: Entry, data: Path, data_name: str, size: int, main_part: bool, arguments: argparse.Namespace) -> Figures:
    """The figures of one peer at one size, or why there are none."""
    began = time.perf_counter()
    figures: Figures = {
        "peer": entry.name,
        "data": data_name,
        "points": size,
        "machine": machine.describe(),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    try:
        python, figures["version"] = prepare(entry, arguments.cache)
        runner = Runner(entry, python, data, arguments)
        figures |= runner.whole() if main_part else runner.size()
    except (NotInstalled, PhaseFailed) as failed:
        figures["failed"] = str(failed)
        print(f"  failed: {failed}", flush=True)
    figures["took_s"] = time.perf_counter() - began
    return figures


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def render(arguments: argparse.Namespace) -> None:
    """Table, plots and the marked part of the page, from the results that are there."""
    results = report.read(arguments.results)
    if not report.main_results(results):
        raise SystemExit(f"there are no whole results in {arguments.results}")
    text = report.markdown(results, os.path.relpath(arguments.images, arguments.page.parent))
    (arguments.results / "table.md").write_text(text, encoding="utf-8")
    python = python_of(arguments.cache, "plots", REQUIREMENTS / "plots.txt")
    plots = [str(python), "-m", "benchmarks.peers.plots", str(arguments.results), str(arguments.images)]
    subprocess.run(plots, cwd=ROOT, check=True, env={**os.environ, "MPLBACKEND": "agg"})
    report.rewrite(arguments.page, text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz of vectors and queries; see scripts/dataset.py")
    parser.add_argument(
        "--filters", type=Path, help='JSON with {"filters": {name: filter}}, for the payloads of --data'
    )
    parser.add_argument("--points", type=int, default=20_000, help="how many points the tables are about")
    parser.add_argument("--dim", type=int, default=384, help="of made-up vectors")
    parser.add_argument("--sizes", default="", help="comma-separated numbers of points for growth, such as 10000,50000")
    parser.add_argument("--only", default="", help=f"these alone, of {', '.join(PEERS)}")
    parser.add_argument("--fresh", action="store_true", help="measure again what there are results of")
    parser.add_argument("--render", action="store_true", help="measure nothing; write table, plots and page")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a phase of a peer is given up")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vdb-compare")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "peers" / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(PEERS)
    if unknown := set(names) - set(PEERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    arguments.sizes = [int(size) for size in arguments.sizes.split(",") if size]
    arguments.cache = arguments.cache.absolute()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    if not arguments.render:
        run(arguments, names)
    render(arguments)


if __name__ == "__main__":
    main()
