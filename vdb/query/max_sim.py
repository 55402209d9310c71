"""MaxSim: how alike two multivectors are.

It is the sum, over the tokens of the example, of the best similarity that any of the point's tokens has with it
(Khattab and Zaharia, "ColBERT", 2020). A similarity of two tokens is the cosine, the dot product, the negated *square*
of the Euclidean distance, or the negated Manhattan distance. A Euclidean score is the root of the whole sum, and not a
sum of roots: so Qdrant has it (qdrant issue 6294).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdb.model.vectors import Distance, Floats, VectorSpace
from vdb.query.similarity import VALUES_MAX

_LARGEST: Final = float(np.finfo(np.float32).max)

Positions = NDArray[np.int64]


def max_sim(space: VectorSpace, example: Floats, block: NDArray[Any], firsts: Positions) -> Floats:
    """Compares ``(tokens, dim)`` with points, whose rows begin at ``firsts`` of ``(rows, dim)``: ``(n,)`` float32."""
    if not len(firsts):
        return np.empty(0, dtype=np.float32)
    sums: NDArray[Any] = np.zeros(len(firsts), dtype=np.float64 if space.distance is Distance.EUCLID else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for tokens in some_tokens(example, block):
            sums += np.maximum.reduceat(token_similarities(space, tokens, block), firsts, axis=0).sum(axis=1)
    return finite(sums)


def some_tokens(example: Floats, block: NDArray[Any]) -> Iterator[Floats]:
    """The tokens of an example, as many at once as there is memory to compare with a block: mostly all of them."""
    step = max(1, VALUES_MAX // max(1, len(block)))
    for start in range(0, len(example), step):
        yield example[start : start + step]


def token_similarities(space: VectorSpace, example: Floats, block: NDArray[Any]) -> NDArray[Any]:
    """Each row with each token of the example: ``(rows, tokens)``, Euclidean ones float64, others float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        match space.distance:
            case Distance.DOT | Distance.COSINE:
                rows = block.astype(np.float32, copy=False)
                products: Floats = rows @ example.T
                return (
                    products
                    if space.distance is Distance.DOT or space.normalised
                    else _by_lengths(products, rows, example)
                )
            case Distance.EUCLID:
                # The products of near vectors cancel each other: float64 has digits to spare.
                wide, tokens = block.astype(np.float64), example.astype(np.float64)
                squares = _squares(wide)[:, None] + _squares(tokens) - 2 * (wide @ tokens.T)
                negated: NDArray[np.float64] = -np.maximum(squares, 0)
                return negated
            case Distance.MANHATTAN:
                rows = block.astype(np.float32, copy=False)
                return np.stack([-np.abs(rows - token).sum(axis=1) for token in example], axis=1)


def _by_lengths(products: Floats, rows: Floats, tokens: Floats) -> Floats:
    """Dot products divided by both lengths; a zero vector compares as 0."""
    lengths = np.sqrt(_squares(rows))[:, None] * np.sqrt(_squares(tokens))
    lengths[lengths == 0] = 1.0
    cosines: Floats = products / lengths
    return cosines


def _squares(vectors: NDArray[Any]) -> NDArray[Any]:
    squares: NDArray[Any] = np.einsum("ij,ij->i", vectors, vectors)
    return squares


def goodness_of(distance: Distance, similar: Floats) -> Floats:
    """Sums of similarities as goodness: larger is better."""
    return -np.sqrt(-similar) if distance is Distance.EUCLID else similar


def finite(values: NDArray[Any]) -> Floats:
    """As float32. JSON has no infinity: what float32 cannot hold becomes its largest or smallest number."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32, copy=False)
    if np.isfinite(narrow).all():
        return narrow
    return np.nan_to_num(narrow, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
