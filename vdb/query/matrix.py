"""The distances between sampled points: for each of them the nearest others of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from vdb.model.ids import PointId, id_columns
from vdb.model.matrix import NEIGHBOURS_DEFAULT, SAMPLE_DEFAULT, SearchMatrixRequest
from vdb.model.vector_params import UNNAMED
from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.pipeline import sample
from vdb.query.points_json import array, float_texts, id_text
from vdb.query.scroll import ROWS_MAX
from vdb.query.selection import select
from vdb.query.similarity import gather, similarities
from vdb.segment.distance import to_score, top

_BLOCK_ROWS: Final = 64  # rows of the matrix that are computed at once


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
    vector = source.view.vector(request.using or UNNAMED)
    among = source.view.nums_with_vector(vector.space.name)
    if request.filter is not None:
        among = among & select(source.view, source.connection, request.filter, deadline)
    count = min(SAMPLE_DEFAULT if request.sample is None else request.sample, ROWS_MAX)
    chosen = sorted(source.view.identities.describe(sample(among, count)), key=lambda point: id_columns(point.id))
    positions, vectors = gather(vector, np.array([point.num for point in chosen], dtype=np.uint32))
    order = np.argsort(positions)
    ids = [chosen[position].id for position in positions[order]]
    neighbours = min(NEIGHBOURS_DEFAULT if request.limit is None else request.limit, max(len(ids) - 1, 0))
    return _matrix(vector.space, ids, vectors[order], neighbours, deadline)


def _matrix(space: VectorSpace, ids: Sequence[PointId], vectors: Floats, neighbours: int, deadline: Deadline) -> Matrix:
    columns = np.empty((len(ids), neighbours), dtype=np.int64)
    scores = np.empty((len(ids), neighbours), dtype=np.float32)
    for start in range(0, len(ids) if neighbours else 0, _BLOCK_ROWS):
        deadline.check()
        block = similarities(space, vectors[start : start + _BLOCK_ROWS], vectors)
        if space.distance is Distance.EUCLID:
            block = -np.sqrt(-block)
        for offset, values in enumerate(block):
            row = start + offset
            others = np.where(np.arange(len(ids)) == row, -np.inf, values)
            columns[row] = top(others, neighbours)
            scores[row] = values[columns[row]]
    rows = np.repeat(np.arange(len(ids)), neighbours)
    return Matrix(ids, rows, columns.ravel(), to_score(space.distance, scores.ravel()))
