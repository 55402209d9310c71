"""How widely a graph is searched, and how many of what codes choose go on to originals.

The rules are the same for dense vectors and for the tokens of multivectors.
"""

from __future__ import annotations

import math
from typing import Final

from vdb.config import HnswConfig
from vdb.model.queries import SearchParams
from vdb.segment.rows import RowsView

RESCORE_FACTOR: Final = 2  # a graph of codes finds so many times the limit, and float32 rows choose among them
COARSE_OVERSAMPLING: Final = 4  # the same for binary and product codes, where the client does not say
COARSE_FACTOR: Final = 2  # a graph of bits is searched so many times as widely, as bits order only roughly
# A filter that leaves out every other row asks for more than twice the width: what stays is thinner in places.
FILTER_WIDENING: Final = 1.5
# Of a graph search where the client does not say: one graph holds what others split over several.
_WIDTH_MIN: Final = 128
_CANDIDATES_MAX: Final = 2**31  # more rows than a segment has; a client's oversampling has no bound


def width_of(params: SearchParams, hnsw: HnswConfig) -> int:
    """Of a search without a filter, in a graph that nobody has deleted from."""
    return params.hnsw_ef or max(hnsw.ef_construct, _WIDTH_MIN)


def oversampled(count: int, oversampling: float) -> int:
    """How many are looked at for the ``count`` that are wanted."""
    return math.ceil(min(oversampling * count, _CANDIDATES_MAX))


def standing_in(segment: RowsView, count: int) -> int:
    """How many rows the codes of a graph choose where they only stand in for originals.

    Those of a quantised copy may be clipped by a quantile, and have to choose more.
    """
    return (RESCORE_FACTOR if segment.rows.quantised is None else COARSE_OVERSAMPLING) * count


def is_worth_a_graph(segment: RowsView, hnsw: HnswConfig) -> bool:
    """False below ``full_scan_threshold`` (KiB of float32), where comparing with every row is as fast."""
    return segment.alive_count * segment.rows.space.dim * 4 >= hnsw.full_scan_threshold * 1024
