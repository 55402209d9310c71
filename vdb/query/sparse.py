"""The points with the largest dot product with a sparse vector: exact, over an inverted index."""

from __future__ import annotations

import numpy as np
from pyroaring import BitMap

from vdb.model.sparse import SparseVector
from vdb.query.nearest import Scored
from vdb.query.view import SparseView
from vdb.segment.distance import top


def search_sparse(
    sparse: SparseView, query: SparseVector, count: int, allowed: BitMap | None = None, corpus: BitMap | None = None
) -> Scored:
    """The ``count`` best of the points that share a dimension with ``query``, of ``allowed`` where it is given.

    ``corpus`` is what document frequencies are counted in, all points with such a vector by default.
    """
    nums, scores = sparse.index.scores(weighted(sparse, query, corpus), allowed)
    best = top(scores, count)
    return Scored.best([Scored(nums[best], scores[best])], count)


def weighted(sparse: SparseView, query: SparseVector, corpus: BitMap | None = None) -> SparseVector:
    """The query with its weights multiplied by ``ln((N - df + 0.5) / (df + 0.5) + 1)`` where the space asks for it.

    N is the number of points with such a vector, df the number of those that have the dimension.
    """
    if not sparse.space.idf:
        return query
    total = len(sparse.index.points if corpus is None else sparse.index.points & corpus)
    frequencies = sparse.index.document_frequencies(query.indices, corpus)
    idf = np.log((total - frequencies + 0.5) / (frequencies + 0.5) + 1.0).astype(np.float32)
    return SparseVector(query.indices, query.values * idf)
