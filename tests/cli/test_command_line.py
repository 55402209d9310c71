"""The command line: what it prints and how it leaves."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vdb import __version__
from vdb.cli import main


def vdb(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="vdb", env=environment)


def test_version_is_one_line() -> None:
    result = vdb("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"vdb {__version__}\n", "")


def test_the_module_is_the_same_program() -> None:
    ran = subprocess.run([sys.executable, "-m", "vdb", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"vdb {__version__}\n"


def test_help_shows_the_commands_for_people_only() -> None:
    result = vdb("--help")
    assert result.exit_code == 0
    assert "serve" in result.stdout
    assert "build-segment" not in result.stdout


@pytest.mark.parametrize("arguments", [["serve", "--port", "70000"], ["serve", "--log-level", "LOUD"], ["sreve"]])
def test_a_wrong_command_line_leaves_with_2(arguments: list[str]) -> None:
    assert vdb(*arguments).exit_code == 2


def test_a_wrong_setting_is_one_line_on_stderr_and_leaves_with_1() -> None:
    result = vdb("serve", VDB__SERVICE__HTTP_PRT="1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "Error: VDB__SERVICE__HTTP_PRT: unknown setting service.http_prt (did you mean service.http_port?)\n"
    )


def test_a_missing_settings_file_is_one_line_on_stderr_and_leaves_with_1(tmp_path: Path) -> None:
    result = vdb("serve", "--config", str(tmp_path / "absent.yaml"))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path}/absent.yaml: No such file or directory\n"


def test_a_port_in_use_is_one_line_on_stderr_and_leaves_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, "-m", "vdb", "serve", "--port", port, "--storage-path", str(tmp_path / "storage")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use\n")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "storage").exists()


def test_asking_for_the_version_loads_nothing_heavy() -> None:
    program = (
        "import sys, vdb.cli; print([name for name in ('trio', 'numpy', 'usearch', 'quart') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
