"""A living collection whose quantisation and places change: every point is found before, during and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import trio

from tests.collection.conftest import opening
from tests.collection.operations import until
from tests.segment.segments import clustered
from vdb.collection.collection import Collection
from vdb.model.collection_config import UpdateCollection, apply_update
from vdb.model.decode import decode_hook
from vdb.model.operations import DeletePoints, Upsert, VectorColumn
from vdb.model.queries import QuantizationSearchParams, QueryRequest, SearchParams
from vdb.model.query_kinds import NearestQuery
from vdb.optimizer.worker import Budget, Optimizer
from vdb.query.deadline import Deadline
from vdb.query.execute import query_points
from vdb.segment.sealed import SealedRows

ROWS: Final = 800
DIM: Final = 24
CONFIG: Final[dict[str, Any]] = {
    "vectors": {"a": {"size": DIM, "distance": "Euclid"}, "b": {"size": DIM, "distance": "Cosine"}},
    "optimizers_config": {"indexing_threshold": 1},
    "hnsw_config": {"full_scan_threshold": 10, "m": 8, "ef_construct": 32},
    "quantization_config": {"binary": {"always_ram": True}},
}


async def patch(collection: Collection, change: dict[str, Any]) -> None:
    update = msgspec.convert(change, UpdateCollection, dec_hook=decode_hook)
    await collection.actor.reconfigure(apply_update(collection.view.config, update))


def upsert(block: Any, first: int = 0) -> Upsert:
    ids = list(range(first, first + len(block)))
    return Upsert(ids, [None] * len(ids), [VectorColumn("a", block), VectorColumn("b", block)])


def sealed_rows(collection: Collection, name: str) -> list[SealedRows]:
    segments = collection.view.vectors[name].segments
    return [segment.rows for segment in segments if isinstance(segment.rows, SealedRows)]


def widths(collection: Collection, name: str) -> set[int | None]:
    """Bytes of a quantised row, None where there is no quantised copy."""
    found = sealed_rows(collection, name)
    assert found
    return {None if rows.quantised is None else rows.quantised.row_bytes for rows in found}


async def check(collection: Collection, block: Any, alive: range) -> None:
    for number in (alive.start, alive.stop - 1):
        ids = await nearest_in_a(collection, block[number].tolist())
        assert ids[0] == number
        everything = await nearest_in_a(collection, block[number].tolist(), limit=10**6)
        assert sorted(everything) == list(alive)


async def nearest_in_a(collection: Collection, query: list[float], limit: int = 5) -> list[Any]:
    """Ids of the points whose vector ``a`` is nearest, best first."""
    params = SearchParams(quantization=QuantizationSearchParams(oversampling=4))
    request = QueryRequest(query=NearestQuery(nearest=query), using="a", limit=limit, params=params)
    text = await collection.read(lambda view, connection: query_points(view, connection, request, Deadline()))
    return [hit["id"] for hit in msgspec.json.decode(text)]


async def test_quantisation_comes_goes_and_survives_merges_and_restarts(tmp_path: Path) -> None:
    block = np.unique(clustered(ROWS, DIM), axis=0)
    block = block[np.random.default_rng(1).permutation(len(block))]
    folder = tmp_path / "collection"
    folder.mkdir()

    async def settled(collection: Collection, optimizer: Optimizer) -> None:
        await until(lambda: bool(sealed_rows(collection, "a")) and optimizer.pending() is None)

    async with opening(folder, **CONFIG) as collection, trio.open_nursery() as nursery:
        optimizer = Optimizer(collection, Budget(trio.CapacityLimiter(1), trio.CapacityLimiter(1), 2))
        nursery.start_soon(optimizer.run)
        await collection.write(upsert(block[: ROWS // 2]))
        await settled(collection, optimizer)
        await collection.write(upsert(block[ROWS // 2 :], ROWS // 2))
        await settled(collection, optimizer)
        assert widths(collection, "a") == widths(collection, "b") == {DIM // 8}
        await check(collection, block, range(ROWS))

        await patch(collection, {"vectors": {"b": {"quantization_config": {"product": {"compression": "x8"}}}}})
        await check(collection, block, range(ROWS))
        await settled(collection, optimizer)
        assert (widths(collection, "a"), widths(collection, "b")) == ({DIM // 8}, {DIM // 2})

        await patch(
            collection,
            {
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}},
                "vectors": {"a": {"on_disk": True}, "b": {"quantization_config": "Disabled"}},
            },
        )
        await collection.write(DeletePoints(list(range(50))))
        await settled(collection, optimizer)
        assert widths(collection, "a") == widths(collection, "b") == {DIM}
        assert all(rows.cold for rows in sealed_rows(collection, "a"))
        await check(collection, block, range(50, ROWS))

        await patch(collection, {"quantization_config": "Disabled", "optimizers_config": {"default_segment_number": 1}})
        await settled(collection, optimizer)
        assert widths(collection, "a") == widths(collection, "b") == {None}
        assert len(sealed_rows(collection, "a")) == 1

        await patch(collection, {"quantization_config": {"binary": {"memory": "pinned"}}})
        await settled(collection, optimizer)
        nursery.cancel_scope.cancel()
    async with opening(folder, **CONFIG) as collection:
        assert widths(collection, "a") == widths(collection, "b") == {DIM // 8}
        await check(collection, block, range(50, ROWS))
