"""The process that builds a segment does not outlive its server, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vdb.files import self_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a named pipe keeps the builder waiting")


def test_a_builder_leaves_when_its_server_is_gone(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    os.mkfifo(job)  # never written: the build goes on for ever
    builder = subprocess.Popen(self_command("build-segment", str(job)), stdin=subprocess.PIPE)
    with builder:
        assert builder.stdin is not None
        builder.stdin.close()  # as the system does for a process that was killed
        assert builder.wait(30) == 1
