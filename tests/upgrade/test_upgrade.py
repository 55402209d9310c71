"""Storage folders that earlier versions wrote are opened, answer as they did, take writes, and are found whole."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scripts.make_upgrade_fixture import ANSWERS_NAME, FIXTURES, STORAGE_NAME, ask, describe
from scripts.vdb_process import serving

FOLDERS = sorted(path for path in FIXTURES.glob("storage-v*") if path.is_dir())


def test_there_is_a_folder_to_open() -> None:
    assert FOLDERS, "scripts/make_upgrade_fixture.py writes it"


@pytest.mark.parametrize("fixture", FOLDERS, ids=lambda path: path.name)
def test_a_folder_of_an_earlier_version_answers_as_it_did(tmp_path: Path, fixture: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    with tarfile.open(fixture / STORAGE_NAME) as archive:
        archive.extractall(storage, filter="data")
    expected = json.loads((fixture / ANSWERS_NAME).read_text(encoding="utf-8"))
    for _ in range(2):  # what the first start migrates, the second one finds
        with serving(storage) as server:
            server.wait_until_green("main")
            for name, answer in ask(server).items():
                assert answer == expected["questions"][name], name
            assert describe(server) == expected["collections"]
            assert "damaged" not in server.log_text()
            assert server.stop() == 0
    checked = subprocess.run(
        [sys.executable, "-m", "vdb", "check", "--storage-path", str(storage)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with serving(storage) as server:
        point = {"id": 1_000, "vector": {"dense": [1.0] * 8}, "payload": {"word": "new"}}
        server.call("PUT", "/collections/other/points?wait=true", {"points": [point]})
        count = server.call("POST", "/collections/main/points/count", {})["count"]
        assert count == expected["collections"]["main"]["points"] + 1
        assert server.stop() == 0
