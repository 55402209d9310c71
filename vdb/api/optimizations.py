"""What the optimizers of a collection do, did and will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from vdb.api.routing import Call, Routes
from vdb.collection.state import SlotView
from vdb.errors import BadRequest
from vdb.hosting import Running
from vdb.model.bounds import Count
from vdb.model.collection_results import (
    Optimization,
    OptimizationSegmentInfo,
    OptimizationsResponse,
    OptimizationsSummary,
    PendingOptimization,
    ProgressTree,
)
from vdb.optimizer.history import Build, Step
from vdb.optimizer.policy import Plan
from vdb.optimizer.worker import Optimizer

routes = Routes("Collections")

COMPLETED_DEFAULT: Final = 16
_PARTS: Final = ("queued", "completed", "idle_segments")


class OptimizationsParams(msgspec.Struct, frozen=True, kw_only=True, rename={"with_": "with"}):
    """``with`` names what is answered beside what runs, separated by commas: queued, completed, idle_segments."""

    with_: str | None = None
    completed_limit: Annotated[Count, msgspec.Meta(description="Completed optimizations to answer at most.")] = (
        COMPLETED_DEFAULT
    )


@routes.add(
    "GET",
    "/collections/{collection_name}/optimizations",
    summary="Optimizations that run, and on demand those that wait and that are done",
    access="read",
    params=OptimizationsParams,
    result=OptimizationsResponse,
)
async def get_optimizations(call: Call) -> OptimizationsResponse:
    params: OptimizationsParams = call.params
    wanted = {part.strip() for part in (params.with_ or "").split(",") if part.strip()}
    for part in sorted(wanted - set(_PARTS)):
        raise BadRequest(f"Unknown part `{part}` in `with`, expected {', '.join(_PARTS)}")
    return describe(call.services.registry.running(call.path["collection_name"]), wanted, params.completed_limit)


def describe(running: Running, wanted: Iterable[str], completed_limit: int) -> OptimizationsResponse:
    """Raises CollectionBroken."""
    collection, optimizer = running.serving(), running.optimizer
    assert optimizer is not None, "a collection that serves has one"
    slots = {slot.number: slot for slot in collection.slots}
    queued = [_segments(plan, slots) for plan in _waiting(optimizer)]
    busy = {segment.number for build in optimizer.history.running for segment in build.inputs}
    busy |= {number for plan in _waiting(optimizer) for number in plan.inputs}
    idle = [info(slot) for slot in slots.values() if slot.number not in busy and slot.points_count]
    completed = optimizer.history.ended[:completed_limit]
    return OptimizationsResponse(
        summary=OptimizationsSummary(
            queued_optimizations=len(queued),
            queued_segments=sum(len(pending.segments) for pending in queued),
            queued_points=sum(segment.points_count for pending in queued for segment in pending.segments),
            idle_segments=len(idle),
        ),
        running=[_optimization(build) for build in optimizer.history.running],
        queued=queued if "queued" in wanted else None,
        completed=[_optimization(build) for build in completed] if "completed" in wanted else None,
        idle_segments=idle if "idle_segments" in wanted else None,
    )


def info(slot: SlotView) -> OptimizationSegmentInfo:
    return OptimizationSegmentInfo(uuid=slot.uuid, points_count=slot.points_count)


def _waiting(optimizer: Optimizer) -> Sequence[Plan]:
    """Plans that wait for a free process, and those that would follow."""
    begun = {segment.number for build in optimizer.history.running for segment in build.inputs}
    return [
        *(plan for plan in optimizer.running if begun.isdisjoint(plan.inputs)),
        *(optimizer.queued_plans() if optimizer.enabled else ()),
    ]


def _segments(plan: Plan, slots: dict[int, SlotView]) -> PendingOptimization:
    segments = [info(slots[number]) for number in plan.inputs if number in slots]
    return PendingOptimization(optimizer=plan.optimizer, segments=segments)


def _optimization(build: Build) -> Optimization:
    return Optimization(
        uuid=build.uuid,
        optimizer=build.optimizer,
        status=build.status,
        segments=[
            OptimizationSegmentInfo(uuid=segment.uuid, points_count=segment.points_count) for segment in build.inputs
        ],
        progress=_tree(build.whole, [_tree(step) for step in build.steps]),
    )


def _tree(step: Step, children: Sequence[ProgressTree] = ()) -> ProgressTree:
    return ProgressTree(
        name=step.name,
        started_at=step.started_at,
        finished_at=step.finished_at,
        duration_sec=step.duration_s,
        children=list(children),
    )
