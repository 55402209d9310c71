"""One server for all congruence tests, beside qdrant-client's own database in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.running_server import serving


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("congruence") / "storage") as server:
        yield server.url
