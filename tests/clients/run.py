"""Runs clients in the wild against a server: ``python -m tests.clients.run [NAME …] [--url URL] [--keep FOLDER]``.

Each client gets an environment of its own from PyPI or npm, in a temporary folder. Without a URL, a server of this
checkout is started for them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.http.running_server import serving

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
JS: Final = "@qdrant/js-client-rest"

# package → module that uses it
CLIENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "langchain-qdrant": "with_langchain",
        "llama-index-vector-stores-qdrant": "with_llama_index",
        "qdrant-haystack": "with_haystack",
        "mcp-server-qdrant": "with_mcp_server",
        JS: "with_js_client",
    }
)

_MINUTES: Final = 60.0
INSTALL_S: Final = 20 * _MINUTES
USE_S: Final = 5 * _MINUTES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*CLIENTS, []], metavar="NAME", help=", ".join(CLIENTS))
    parser.add_argument("--url", help="a running server; a new one otherwise")
    parser.add_argument("--keep", type=Path, help="folder for the environments, used again by the next run")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vdb-clients-")))
        url = arguments.url or stack.enter_context(serving(temporary / "storage")).url
        for name in arguments.names or CLIENTS:
            use(name, url, (arguments.keep or temporary).resolve())
            print(f"{name}: works")
    return 0


def use(name: str, url: str, environments: Path) -> None:
    """Installs ``name`` below ``environments`` if it is not there, and runs its script; raises on any failure."""
    folder = environments / name.replace("/", "-").removeprefix("@")
    if name == JS:
        _use_node(folder, url)
        return
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
        subprocess.run(install, check=True, timeout=INSTALL_S)
    # Nothing here may phone home, and a proxy would not find the server.
    environment = {**os.environ, "NO_PROXY": "*", "HAYSTACK_TELEMETRY_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", f"tests.clients.{CLIENTS[name]}", url]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=USE_S)


def _use_node(folder: Path, url: str) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise FileNotFoundError("node and npm are not on the PATH")
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True)
        install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", JS]
        subprocess.run(install, check=True, timeout=INSTALL_S)
    # Node looks for packages beside the script, not in the working folder.
    script = folder / f"{CLIENTS[JS]}.mjs"
    shutil.copy(HERE / script.name, script)
    subprocess.run([node, script, url], check=True, timeout=USE_S)


if __name__ == "__main__":
    sys.exit(main())
