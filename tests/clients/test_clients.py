"""Clients that others wrote, unchanged, from the public registries: ``pytest -m clients``. Not part of a normal run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clients.run import CLIENTS, JS, use
from tests.http.running_server import serving

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_stores_and_searches(name: str, tmp_path: Path) -> None:
    if name == JS and not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not on the PATH")
    with serving(tmp_path / "storage") as server:
        use(name, server.url, tmp_path / "environments")
