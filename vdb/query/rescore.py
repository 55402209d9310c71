"""Prefetched points with the scores that a formula gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson

from vdb.errors import BadRequest
from vdb.model.query_kinds import FormulaQuery
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.filter import PointFacts
from vdb.query.formula import Candidate, compile_formula
from vdb.query.hits import Hits
from vdb.query.selection import text_indexes
from vdb.segment.fields.bitmaps import bitmap_of, nums_of, union
from vdb.storage import points

_BLOCK_POINTS: Final = 1_000  # points whose payloads are read at once; between two such blocks the deadline is asked
_ANY_ID: Final = 0  # of a point whose id no condition looks at


def score_by_formula(source: Source, query: FormulaQuery, found: Sequence[Hits], deadline: Deadline) -> Hits:
    """All points of ``found``, the largest score first. Raises BadRequest and DeadlineExceeded."""
    view = source.view
    formula = compile_formula(query.formula, query.defaults, text_indexes(view))
    scores_of = [dict(zip(hits.nums.tolist(), hits.scores.tolist(), strict=True)) for hits in found]
    holders = [(name, view.nums_with_vector(name)) for name in view.spaces() if formula.needs_vectors]
    nums = nums_of(union(bitmap_of(hits.nums) for hits in found))
    scored: list[tuple[int, float]] = []
    for start in range(0, len(nums), _BLOCK_POINTS):
        deadline.check()
        block = nums[start : start + _BLOCK_POINTS].tolist()
        stored = source.describe(block) if formula.needs_id else {}
        payloads = source.read_payloads(block)
        for num in block:
            text = payloads.get(num)
            point_id = stored[num].id if num in stored else _ANY_ID
            payload = orjson.loads(text) if text else {}
            names = [name for name, with_it in holders if num in with_it]
            scores = [by_num.get(num) for by_num in scores_of]
            try:
                scored.append((num, formula.evaluate(Candidate(PointFacts(point_id, payload, names), scores))))
            except BadRequest:
                if points.read_points(source.connection, [num], with_payload=False):
                    raise
                # Deleted since the View was taken, and its payload with it.
    with np.errstate(over="ignore"):
        values = np.array([value for _, value in scored], dtype=np.float32)
    if not np.isfinite(values).all():
        raise BadRequest("The expression formula produced a non-finite number as float32")
    ranked = np.array([num for num, _ in scored], dtype=np.uint32)
    order = np.lexsort((ranked, -values))
    return Hits(ranked[order], values[order])
