"""A virtual environment for each peer, made from its pins and kept in a cache folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

INSTALL_MAX_S: Final = 600.0


class NotInstalled(Exception):
    """pip could not; the message ends with what it said last."""


def python_of(cache: Path, name: str, requirements: Path) -> Path:
    """The interpreter of an environment that has exactly these; made when there is none, or another's."""
    folder = cache / "environments" / name
    python = folder / "bin" / "python"
    mark = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return python
    try:
        venv.create(folder, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotInstalled(f"no virtual environment: {error}") from error
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    try:
        finished = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_MAX_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"pip did not end within {INSTALL_MAX_S:g} s") from None
    if finished.returncode:
        raise NotInstalled(" ".join(finished.stderr.split())[-300:])
    mark.write_text(digest)
    return python


def version_of(python: Path, package: str) -> str:
    """Of an installed package; empty where it is not there."""
    program = (
        f"import importlib.metadata as m\ntry: print(m.version({package!r}))\nexcept m.PackageNotFoundError: print('')"
    )
    return subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout.strip()
