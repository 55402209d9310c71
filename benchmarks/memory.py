"""What each way of keeping vectors takes of memory: ``python benchmarks/memory.py``; Linux only.

For each mode a fresh server answers 1,000 queries. ``anon`` is its anonymous memory (``RssAnon``) then: what the kernel
cannot take back. ``file`` is what it has mapped and touched, which is given back where memory is short. Then a server
inside a memory cgroup of ``anon`` + 64 MiB answers the same queries: what it is as fast as when nothing else fits.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.served import Figures, Served, data_of, parser_of, report
from scripts.vdb_process import ServerFailed, serving

MIB: Final = 2**20
SPARE_BYTES: Final = 64 * MIB
MODES: Final[dict[str, Figures]] = {
    "all in RAM": {
        "vectors": {"": {"on_disk": False}},
        "hnsw_config": {"memory": "pinned"},
        "quantization_config": "Disabled",
    },
    "int8 in RAM, originals on disk": {
        "vectors": {"": {"on_disk": True}},
        "hnsw_config": {"memory": "cached"},
        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    },
    "binary in RAM, originals on disk": {
        "vectors": {"": {"on_disk": True}},
        "hnsw_config": {"memory": "cached"},
        "quantization_config": {"binary": {"always_ram": True}},
    },
    "all on disk": {
        "vectors": {"": {"on_disk": True}},
        "hnsw_config": {"memory": "cold"},
        "quantization_config": "Disabled",
    },
}


def main() -> None:
    arguments = parser_of(__doc__, 100_000, 768).parse_args()
    data = data_of(arguments)
    float32_mib = data.vectors.nbytes / MIB
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="vdb-bench-") as name:
        folder, storage = Path(name), Path(name) / "storage"
        for mode, change in MODES.items():
            with serving(storage) as server:
                served = Served(server, data, folder)
                if not rows:
                    served.fill({"optimizers_config": {"default_segment_number": 1, "max_segment_size": 10**9}})
                served.change(change)
                server.stop()
            with serving(storage) as server:
                served = Served(server, data, folder)
                served.load(8, 0)
                anon, file = _resident_bytes(server.process.pid)
                row = {
                    "mode": mode,
                    "anon MiB": anon / MIB,
                    "× float32": anon / MIB / float32_mib,
                    "file MiB": file / MIB,
                    "q/s": served.load(8, arguments.seconds)["per_second"],
                    "recall@10": served.recall({}),
                }
                server.stop()
            rows.append(row | {"in a cgroup q/s": _confined(storage, served, folder, anon, arguments.seconds)})
    report(
        f"Memory, {len(data.vectors)} × {data.vectors.shape[1]} = {float32_mib:.0f} MiB of float32",
        rows,
        arguments.json,
    )


def _resident_bytes(pid: int) -> tuple[int, int]:
    """Anonymous and file-backed resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    return int(kib["RssAnon"]) * 1024, int(kib["RssFile"]) * 1024


def _confined(storage: Path, former: Served, folder: Path, anon: int, seconds: float) -> str:
    """Queries a second inside a cgroup, or why there are none."""
    try:
        with _memory_cgroup(anon + SPARE_BYTES) as processes:
            joined = ("sh", "-c", f'echo $$ > {processes} && exec "$0" "$@"', sys.executable, "-m", "vdb", "serve")
            with serving(storage, command=joined) as server:
                served = Served(server, former.data, folder)
                served.load(8, 0)
                answered = served.load(8, seconds)["per_second"]
                server.stop()
                return f"{answered:.0f}"
    except (OSError, ServerFailed) as error:
        return f"not measured: {str(error).splitlines()[0]}"


@contextmanager
def _memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """A new cgroup, v2 or v1, with that much memory; the file that takes its processes. Raises OSError."""
    unified, legacy = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
    parent, limit = (legacy, "memory.limit_in_bytes") if legacy.is_dir() else (unified, "memory.max")
    group = parent / f"vdb-bench-{os.getpid()}-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        (group / limit).write_text(str(limit_bytes))
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
