"""The distances between sampled points: for each of them the nearest others of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.model.ids import PointId, id_columns
from vdb.model.matrix import NEIGHBOURS_DEFAULT, SAMPLE_DEFAULT, SearchMatrixRequest
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Distance, Floats
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.pipeline import Pipeline, sample
from vdb.query.points_json import array, float_texts, id_text
from vdb.query.scroll import ROWS_MAX
from vdb.query.searchable import Gathered
from vdb.query.selection import select
from vdb.segment.distance import to_score, top


@dataclass(frozen=True, slots=True)
class Matrix:
    """``rows`` and ``columns`` are ``(m,)`` places in ``ids``, ``scores`` ``(m,)`` float32; row by row, best first."""

    ids: Sequence[PointId]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: Floats


def matrix_pairs(source: Source, request: SearchMatrixRequest, deadline: Deadline) -> str:
    """Pairs of ids with their scores: a JSON object."""
    matrix = sampled_matrix(source, request, deadline)
    ids = [id_text(point_id) for point_id in matrix.ids]
    pairs = [
        f'{{"a":{ids[row]},"b":{ids[column]},"score":{score}}}'
        for row, column, score in zip(
            matrix.rows.tolist(), matrix.columns.tolist(), float_texts(matrix.scores), strict=True
        )
    ]
    return f'{{"pairs":{array(pairs)}}}'


def matrix_offsets(source: Source, request: SearchMatrixRequest, deadline: Deadline) -> str:
    """Positions with their scores, and the ids at these positions: a JSON object."""
    matrix = sampled_matrix(source, request, deadline)
    answer = {
        "offsets_row": matrix.rows,
        "offsets_col": matrix.columns,
        "scores": matrix.scores,
        "ids": list(matrix.ids),
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def sampled_matrix(source: Source, request: SearchMatrixRequest, deadline: Deadline) -> Matrix:
    """Samples points that have the vector; raises UnknownVectorName and DeadlineExceeded."""
    name = request.using or UNNAMED
    vectors = Pipeline(source, deadline).searchable(name)
    among = source.view.nums_with_vector(name)
    if request.filter is not None:
        among = among & select(source.view, source.connection, request.filter, deadline)
    count = min(SAMPLE_DEFAULT if request.sample is None else request.sample, ROWS_MAX)
    chosen = sorted(source.view.identities.describe(sample(among, count)), key=lambda point: id_columns(point.id))
    gathered = vectors.gather(np.array([point.num for point in chosen], dtype=np.uint32))
    ids = [chosen[position].id for position in gathered.positions.tolist()]
    neighbours = NEIGHBOURS_DEFAULT if request.limit is None else request.limit
    return _matrix(vectors.distance, ids, gathered, neighbours, deadline)


def _matrix(
    distance: Distance, ids: Sequence[PointId], gathered: Gathered[Any], neighbours: int, deadline: Deadline
) -> Matrix:
    """Each point is searched for among the others; sparse ones may have fewer neighbours, or none."""
    columns: list[NDArray[np.int64]] = []
    scores: list[Floats] = []
    for row in range(len(ids)):
        deadline.check()
        values = gathered.neighbours(row)
        values[row] = -np.inf
        nearest = top(values, neighbours)
        nearest = nearest[np.isfinite(values[nearest])]
        columns.append(nearest)
        scores.append(values[nearest])
    rows = np.repeat(np.arange(len(ids)), [len(nearest) for nearest in columns])
    empty = np.empty(0, dtype=np.int64)
    values = np.concatenate([*scores, empty.astype(np.float32)])
    return Matrix(ids, rows, np.concatenate([*columns, empty]), to_score(distance, values))
