"""What is built from the checkout: the wheel's files, and the unit that starts the executable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network where hatchling is installed; skipped elsewhere."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: no wheel is built here")
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / built.stdout.split()[-1]


def test_what_ships_is_found_in_a_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "from vdb.files import resource; print(resource('config.yaml')); print(resource('migrations/collection'))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    resources = tmp_path / "vdb" / "_resources"
    assert found == [str(resources / "config.yaml"), str(resources / "migrations" / "collection")]
    for path in (ROOT / "migrations").rglob("*.sql"):
        assert (resources / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


def test_a_wheel_holds_the_program_and_nothing_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].removesuffix(".dist-info") for name in names} == {"vdb", wheel.name.rsplit("-", 3)[0]}


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: packaging/vdb.service was not verified")
    text = (ROOT / "packaging" / "vdb.service").read_text(encoding="utf-8")
    assert "ExecStart=/usr/local/bin/vdb serve" in text
    unit = tmp_path / "vdb.service"
    unit.write_text(text.replace("/usr/local/bin/vdb", sys.executable), encoding="utf-8")
    verified = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    # What it says of other units of this machine does not matter.
    said = [line for line in verified.stderr.splitlines() if "vdb.service" in line]
    assert said == []


def test_everything_that_the_container_is_made_of_reaches_its_build() -> None:
    """The ignore file keeps all out that it does not name."""
    kept = (ROOT / "packaging" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "constraints.txt"]
    for name in [*needed, "pyproject.toml"]:
        assert f"!{name}" in kept
        assert (ROOT / name).exists()
