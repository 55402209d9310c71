"""How far a copy has come, in a small JSON file, so that ``--resume`` goes on there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import orjson

from vdb.errors import Misconfigured, VdbError
from vdb.files import write_atomically

_INTERVAL_S: Final = 1.0  # what is sent twice after a kill costs no more than this


class StateFile:
    """``key`` says what is copied where: a state of another copy is refused."""

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path = path
        self._key = key
        self._written_at = time.monotonic()

    def read(self) -> dict[str, Any]:
        """The position that was kept; raises Misconfigured where there is none, or that of another copy."""
        try:
            state = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            raise Misconfigured(f"nothing to resume: {self.path} does not exist") from None
        except ValueError as error:
            raise Misconfigured(f"{self.path} is not a state file") from error
        if state.get("copy") != self._key:
            raise Misconfigured(f"{self.path} belongs to another copy; remove it, or start without --resume")
        position: dict[str, Any] = state["position"]
        return position

    def keep(self, position: dict[str, Any], *, now: bool = False) -> None:
        """Writes the position, at most once a second unless ``now``."""
        if now or time.monotonic() - self._written_at >= _INTERVAL_S:
            content = orjson.dumps({"copy": self._key, "position": position}, option=orjson.OPT_INDENT_2)
            try:
                write_atomically(self.path, content + b"\n")
            except OSError as error:
                raise VdbError(f"{self.path}: {error.strerror or error}") from error
            self._written_at = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
