"""What would make a server faster: field indexes that slow reads would have needed.

A read that took longer than ``service.slow_query_secs`` and filtered by fields without a fitting index is an issue for
each of them. It is gone once the index or the collection is, or when somebody clears the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from vdb.api.routing import Call, Routes
from vdb.api.strict_mode import schemas_of
from vdb.model.conditions import Filter
from vdb.model.field_index import PayloadFieldSchema, schema_type
from vdb.model.needed_indexes import NeededIndex, missing_indexes
from vdb.query.view import View
from vdb.registry import Registry

routes = Routes("Beta")

ISSUES_MAX: Final = 256  # the oldest make room
_CODE: Final = "UNINDEXED_FIELD"


class IssueAction(msgspec.Struct, frozen=True, kw_only=True):
    """The request that solves an issue."""

    method: str
    uri: str
    headers: dict[str, str]
    body: dict[str, Any]


class ImmediateSolution(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    action: IssueAction


class IssueSolution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of both: what to do, or several things of which one is to be done."""

    immediate: ImmediateSolution | None = None
    immediate_choice: list[ImmediateSolution] | None = None


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    description: str
    solution: IssueSolution
    timestamp: datetime
    related_collection: str


class IssuesReport(msgspec.Struct, frozen=True):
    issues: list[Issue]


@dataclass(slots=True)
class Issues:
    """Owned by the application: fields that were missed, by collection and need, with the time of the newest query."""

    _missed: dict[tuple[str, NeededIndex], datetime] = field(default_factory=dict)

    def note(self, collection: str, view: View, filters: Iterable[Filter]) -> None:
        """A slow read of a collection with these filters."""
        for needed in missing_indexes(filters, schemas_of(view)):
            self._missed.pop((collection, needed), None)
            self._missed[collection, needed] = datetime.now(UTC)
            if len(self._missed) > ISSUES_MAX:
                del self._missed[next(iter(self._missed))]

    def report(self, registry: Registry) -> list[Issue]:
        """The issues that are not solved."""
        for collection, needed in list(self._missed):
            if not _is_missing(registry, collection, needed):
                del self._missed[collection, needed]
        return [_issue(collection, needed, at) for (collection, needed), at in self._missed.items()]

    def clear(self) -> None:
        self._missed.clear()


def _is_missing(registry: Registry, collection: str, needed: NeededIndex) -> bool:
    running = registry.running(collection) if registry.exists(collection) else None
    if running is None or running.collection is None:
        return False
    schema = schemas_of(running.collection.view).get(needed.path)
    return schema is None or not needed.served_by(schema)


def _issue(collection: str, needed: NeededIndex, at: datetime) -> Issue:
    solutions = [_solution(collection, needed, schema) for schema in needed.schemas]
    return Issue(
        id=f"{_CODE}/{collection}/{needed.path}",
        description=f"Unindexed field '{needed.path}' is slowing down queries in collection '{collection}'",
        solution=IssueSolution(immediate=solutions[0])
        if len(solutions) == 1
        else IssueSolution(immediate_choice=solutions),
        timestamp=at,
        related_collection=collection,
    )


def _solution(collection: str, needed: NeededIndex, schema: PayloadFieldSchema) -> ImmediateSolution:
    return ImmediateSolution(
        message=f"Create an index of type `{schema_type(schema)}` on field '{needed.path}' "
        f"in collection '{collection}'",
        action=IssueAction(
            method="PUT",
            uri=f"/collections/{quote(collection, safe='')}/index",
            headers={"content-type": "application/json"},
            body={"field_name": str(needed.path), "field_schema": msgspec.to_builtins(schema)},
        ),
    )


@routes.add("GET", "/issues", summary="What would make the server faster", access="manage", result=IssuesReport)
async def get_issues(call: Call) -> IssuesReport:
    return IssuesReport(call.services.observer.issues.report(call.services.registry))


@routes.add("DELETE", "/issues", summary="Forget all issues", access="manage")
async def clear_issues(call: Call) -> bool:
    call.services.observer.issues.clear()
    return True
