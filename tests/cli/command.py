"""The commands as tests call them: in this process, against a server that is another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from vdb.cli import main


def vdb(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="vdb", env=environment)


def succeeds(*arguments: str | Path, **environment: str) -> str:
    """What a command that must leave with 0 prints."""
    result = vdb(*arguments, **environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def tells(*arguments: str | Path) -> Any:
    """The JSON that a command prints."""
    return json.loads(succeeds(*arguments, "--json"))


def fails(*arguments: str | Path, **environment: str) -> str:
    """The one line on stderr of a command that must leave with 1."""
    result = vdb(*arguments, **environment)
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("Error: "), result.stderr
    return lines[-1].removeprefix("Error: ")
