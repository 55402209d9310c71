"""The quantised copy of a sealed segment's rows: ranks many of them without reading an original."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Floats
from vdb.segment.code import Codec
from vdb.segment.rows import RowNumbers

_RANK_ROWS: Final = 4_096  # codes compared at once, fewer where they are long
_RANK_BYTES: Final = 1 << 21
_ESTIMATE_ROWS: Final = 1_024  # at once: what codes stand for is up to 128 times as large as they are


class QuantisedRows:
    """Codes ``(rows, width)`` and how to read them. Immutable; safe to read from any thread."""

    def __init__(self, codec: Codec, codes: NDArray[Any], factors: Floats | None) -> None:
        self._codec = codec
        self._codes = codes
        self._factors = factors

    @property
    def coarse(self) -> bool:
        return self._codec.code.coarse

    @property
    def binary(self) -> bool:
        return self._codec.code.dtype == "b1"

    @property
    def row_bytes(self) -> int:
        return self._codec.width * self._codec.dtype.itemsize

    def rank(self, query: Floats, rows: RowNumbers | None = None) -> Floats:
        """Numbers that order all rows, or ``rows``, by about how near they are: larger is nearer."""
        compare = self._codec.rank(query)
        count = len(self._codes) if rows is None else len(rows)
        step = max(1, min(_RANK_ROWS, _RANK_BYTES // self.row_bytes))
        values = np.empty(count, dtype=np.float32)
        for start in range(0, count, step):
            chosen = slice(start, start + step) if rows is None else rows[start : start + step]
            values[start : start + step] = compare(self._codes[chosen])
        return values

    def estimate(self, query: Floats, rows: RowNumbers) -> Floats:
        """``goodness`` of ``rows`` as far as their codes tell, compared with the query as it is."""
        if len(rows) <= _ESTIMATE_ROWS:
            return self._estimate(query, rows)
        starts = range(0, len(rows), _ESTIMATE_ROWS)
        return np.concatenate([self._estimate(query, rows[start : start + _ESTIMATE_ROWS]) for start in starts])

    def _estimate(self, query: Floats, rows: RowNumbers) -> Floats:
        factors = None if self._factors is None else self._factors[rows]
        return self._codec.estimate(query, self._codes[rows], factors)
