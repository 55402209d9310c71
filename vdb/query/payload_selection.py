"""Which parts of a payload an answer shows: ``with_payload`` with keys to include or to exclude.

A value is included where a path leads to it, or through it; it is excluded where a path leads to it. Inside an array
only ``[]`` leads anywhere: single positions are not selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vdb.model.json_path import JsonPath, Step, parse_path
from vdb.model.queries import PayloadSelectorExclude, PayloadSelectorInclude, WithPayload


class PayloadSelection:
    """``wanted`` is False where no payload is answered; ``whole`` is True where all of it is."""

    def __init__(self, selector: WithPayload | None, default: bool) -> None:
        """Raises InvalidJsonPath."""
        self._include: list[tuple[Step, ...]] | None = None
        self._exclude: list[tuple[Step, ...]] = []
        match default if selector is None else selector:
            case bool() as wanted:
                self.wanted = wanted
            case list() as paths:
                self.wanted, self._include = True, _steps(paths)
            case PayloadSelectorInclude(paths):
                self.wanted, self._include = True, _steps(paths)
            case PayloadSelectorExclude(paths):
                self.wanted, self._exclude = True, _steps(paths)
        self.whole = self.wanted and self._include is None and not self._exclude

    def apply(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The selected parts of ``payload``, which stays as it is."""
        if self._include is not None:
            return {
                key: _included(value, tuple(rest))
                for key, value in payload.items()
                if (rest := [path[1:] for path in self._include if path[0] == key])
            }
        return {
            key: _excluded(value, [path[1:] for path in self._exclude if path[0] == key])
            for key, value in payload.items()
            if (key,) not in self._exclude
        }


def _steps(paths: Sequence[str]) -> list[tuple[Step, ...]]:
    parsed: list[JsonPath] = [parse_path(path) for path in paths]
    return [path.steps for path in parsed]


def _included(value: Any, paths: Sequence[tuple[Step, ...]]) -> Any:
    """``value``, reached by ``paths``: what is left of each to go."""
    if () in paths:
        return value
    if isinstance(value, dict):
        return {
            key: _included(item, rest)
            for key, item in value.items()
            if (rest := [path[1:] for path in paths if path[0] == key])
        }
    if isinstance(value, list):
        rest = [path[1:] for path in paths if path[0] is None]
        return [_included(item, rest) for item in value] if rest else []
    return value


def _excluded(value: Any, paths: Sequence[tuple[Step, ...]]) -> Any:
    if not paths:
        return value
    if isinstance(value, dict):
        return {
            key: _excluded(item, [path[1:] for path in paths if path[0] == key])
            for key, item in value.items()
            if (key,) not in paths
        }
    if isinstance(value, list):
        if (None,) in paths:
            return []
        rest = [path[1:] for path in paths if path[0] is None]
        return [_excluded(item, rest) for item in value]
    return value
