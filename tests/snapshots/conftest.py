"""One server for all tests of snapshots; a test has its own collections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.client import Collection
from tests.http.running_server import serving
from tests.snapshots.keeper import Keeper


@pytest.fixture(scope="session")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    folder = tmp_path_factory.mktemp("snapshots")
    path = folder / "snapshots"
    with serving(
        folder / "storage",
        VDB__STORAGE__SNAPSHOTS_PATH=str(path),
        VDB__STORAGE__SNAPSHOTS_ALLOW_HTTP="true",
        VDB__STORAGE__SNAPSHOTS_MAX_SIZE_MB="64",
    ) as server:
        keeper = Keeper(server, path)
        yield keeper
        keeper.close()


@pytest.fixture(scope="session")
def collection(keeper: Keeper) -> Collection:
    """What hostile archives are uploaded over."""
    return keeper.filled(points=30, name="attacked")


@pytest.fixture(scope="session")
def good(keeper: Keeper, collection: Collection) -> bytes:
    """A snapshot as it was made."""
    made = keeper.create(collection.name)
    return keeper.download(f"{collection.path}/snapshots/{made['name']}")
