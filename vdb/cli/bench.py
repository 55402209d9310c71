"""``vdb bench``: how fast is this machine? A minute's look, not a benchmark to compare databases by."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from vdb.cli.client import Server, ServerError, collection_path
from vdb.cli.output import json_option, print_facts, print_json, progress
from vdb.cli.sending import Batch, Sender
from vdb.errors import VdbError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COLLECTION: Final = "vdb-bench"
_BATCH: Final = 500
_QUERIES: Final = 200  # different vectors that are searched for, again and again
_CLUSTERS: Final = 200  # embeddings come in clusters; uniform vectors would make every graph look bad
_SPREAD: Final = 0.6
_LIMIT: Final = 10
_POLL_S: Final = 0.1
_GREEN_S: Final = 600.0


@click.command()
@click.option("--points", default=20_000, show_default=True, type=click.IntRange(1_000, 10_000_000))
@click.option("--dim", default=384, show_default=True, type=click.IntRange(2, 65_536))
@click.option("--connections", default=4, show_default=True, type=click.IntRange(1, 64), help="Clients that search.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1, 600), help="Of searching.")
@click.option("--url", help="A running server; otherwise one is started on a temporary folder.")
@click.option("--api-key", envvar=["VDB_API_KEY", "QDRANT_API_KEY"], help="Its API key.")
@json_option
def bench(
    points: int, dim: int, connections: int, seconds: float, url: str | None, api_key: str | None, as_json: bool
) -> None:
    """Writes made-up vectors, waits for the index, searches, and prints how fast each was.

    The collection `vdb-bench` is made for it and deleted afterwards.
    """
    with contextlib.ExitStack() as stack:
        if url is None:
            from vdb.cli.own_server import serving

            server = stack.enter_context(serving())
        else:
            server = Server(url, api_key)
        figures = _measure(stack, server, points, dim, connections, seconds, quiet=as_json)
    if as_json:
        print_json(figures)
        return
    print_facts(
        [
            ("vectors", f"{points:,} × {dim}, made up"),
            ("written", f"{figures['points_per_second']:,.0f} points a second, every batch of {_BATCH} durable"),
            ("indexed after", f"{figures['green_after_s']:.1f} s"),
            ("searches", f"{figures['searches_per_second']:,.0f} a second with {connections} connections"),
            ("latency", f"{figures['p50_ms']:.1f} ms median, {figures['p99_ms']:.1f} ms at the 99th percentile"),
            ("recall@10", f"{figures['recall']:.3f}"),
        ]
    )


def _measure(
    stack: contextlib.ExitStack,
    server: Server,
    points: int,
    dim: int,
    connections: int,
    seconds: float,
    *,
    quiet: bool,
) -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    centres = random.normal(size=(_CLUSTERS, dim)).astype(np.float32)

    def made_up(count: int) -> NDArray[np.float32]:
        noise = random.standard_normal((count, dim), dtype=np.float32)
        rows: NDArray[np.float32] = centres[random.integers(0, _CLUSTERS, count)] + np.float32(_SPREAD) * noise
        return rows

    path = collection_path(_COLLECTION)
    with server.connect() as client:
        try:
            client.call("PUT", path, {"vectors": {"size": dim, "distance": "Cosine"}})
        except ServerError as error:
            if error.status == 409:
                raise VdbError(f"{server.url} has a collection `{_COLLECTION}` already: delete it first") from error
            raise
        stack.callback(_remove, server)
        with progress("writing", quiet=quiet) as advance:
            sender = Sender(server, _COLLECTION, 2, lambda done: advance(done, points))
            began = time.perf_counter()
            sender.send_all(_batches(made_up, points))
            writing_s = time.perf_counter() - began
        began = time.perf_counter()
        while client.get(path)["status"] != "green":
            if time.perf_counter() - began > _GREEN_S:
                raise VdbError(f"{server.url} did not finish its index within {_GREEN_S:.0f} s")
            time.sleep(_POLL_S)
        green_s = time.perf_counter() - began
        bodies = _queries(made_up(_QUERIES))
        recall = sum(_recall(client.call, path, body) for body in bodies[:50]) / 50
    latencies, elapsed = _search(server, f"{path}/points/query", bodies, connections, seconds, quiet=quiet)
    latencies.sort()
    return {
        "points": points,
        "dim": dim,
        "points_per_second": round(points / writing_s, 1),
        "green_after_s": round(green_s, 2),
        "searches_per_second": round(len(latencies) / elapsed, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
        "recall": round(recall, 4),
    }


def _remove(server: Server) -> None:
    with contextlib.suppress(ServerError), server.connect() as client:
        client.call("DELETE", collection_path(_COLLECTION))


def _batches(made_up: Any, points: int) -> Iterator[Batch]:
    import orjson

    for start in range(0, points, _BATCH):
        end = min(start + _BATCH, points)
        batch = {"ids": list(range(start, end)), "vectors": list(made_up(end - start))}
        body = orjson.dumps({"batch": batch}, option=orjson.OPT_SERIALIZE_NUMPY)
        yield Batch(body, end - start, {}, f"points {start} to {end - 1}")


def _queries(rows: NDArray[np.float32]) -> list[bytes]:
    import orjson

    return [orjson.dumps({"query": row, "limit": _LIMIT}, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows]


def _recall(call: Any, path: str, body: bytes) -> float:
    """Of one query: the share of the exact answer that the index finds."""
    exact = body[:-1] + b',"params":{"exact":true}}'
    found, right = ({hit["id"] for hit in call("POST", f"{path}/points/query", one)["points"]} for one in (body, exact))
    return len(found & right) / len(right)


def _search(
    server: Server, path: str, bodies: list[bytes], connections: int, seconds: float, *, quiet: bool
) -> tuple[list[float], float]:
    """Seconds that each search took, and how long all took together."""
    latencies: list[list[float]] = [[] for _ in range(connections)]
    failures: list[VdbError] = []
    began = time.perf_counter()

    def run(mine: list[float], first: int) -> None:
        try:
            with server.connect() as client:
                number = first
                while (start := time.perf_counter()) - began < seconds:
                    client.call_raw("POST", path, bodies[number % len(bodies)])
                    mine.append(time.perf_counter() - start)
                    number += 1
        except VdbError as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(mine, number * 17), daemon=True) for number, mine in enumerate(latencies)
    ]
    with progress("searching", quiet=quiet) as advance:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL_S)
                advance(round(time.perf_counter() - began), round(seconds))
    if failures:
        raise failures[0]
    return [one for mine in latencies for one in mine], time.perf_counter() - began
