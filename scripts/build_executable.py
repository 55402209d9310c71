#!/usr/bin/env python3
"""Build vdb as one executable that needs no Python: ``dist/vdb``, or ``dist/vdb/vdb`` with ``--layout folder``.

Makes a virtual environment of its own with vdb as a wheel and PyInstaller, both at pinned versions, in a temporary
folder. The executable runs on systems whose C library is as new as this one's or newer. See docs/packaging.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PYINSTALLER: Final = "pyinstaller==6.22.3"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=("file", "folder"), default="file", help="one file, or a folder around it")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the result")
    parser.add_argument("--work", type=Path, help="folder to build in, kept for the next build")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
        program = build(arguments.work.resolve(), arguments.output.resolve(), arguments.layout)
    else:
        with tempfile.TemporaryDirectory(prefix="vdb-build-") as work:
            program = build(Path(work), arguments.output.resolve(), arguments.layout)
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{program}: {version}, {program.stat().st_size / 1e6:.1f} MB, built in {time.monotonic() - begun:.0f} s")
    return 0


def build(work: Path, output: Path, layout: str) -> Path:
    """The path of the program, made in ``work``; raises CalledProcessError."""
    environment = work / "venv"
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(environment, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "-c", str(ROOT / "constraints.txt"), PYINSTALLER, str(ROOT)])
    # The version has not changed since the last build in this folder, the code may have.
    _run([*install, "--no-deps", "--force-reinstall", str(ROOT)])
    _run(
        [
            *(str(python), "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
            *("--distpath", str(output), "--workpath", str(work / "pyinstaller")),
            str(ROOT / "packaging" / "vdb.spec"),
        ],
        VDB_LAYOUT=layout,
    )
    name = "vdb.exe" if sys.platform == "win32" else "vdb"
    return output / name if layout == "file" else output / "vdb" / name


def _run(command: list[str], **environment: str) -> None:
    # Elsewhere than in the checkout, whose `vdb` would be found before the installed one.
    subprocess.run(command, check=True, env={**os.environ, **environment}, cwd=tempfile.gettempdir())


if __name__ == "__main__":
    sys.exit(main())
