"""Codes by themselves: they keep what they promise about the values that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.segment.segments import clustered, space_of
from vdb.model.vectors import Distance, Floats, prepare_block
from vdb.segment.binary import SignCodec, centre_of
from vdb.segment.code import CastCodec, Code, Codec, IntCodec, choose_code, scalar_code
from vdb.segment.distance import goodness
from vdb.segment.product import ProductCodec, codebook_shape, train

DIM = 50  # no multiple of eight, nor of any group
ROWS = 1_500


def codecs(distance: Distance, block: Floats) -> dict[str, tuple[Codec, Floats | None]]:
    """Each codec with the factors that belong to it."""
    space = space_of(distance, DIM)
    signs = SignCodec(space, centre_of(block))
    found: dict[str, tuple[Codec, Floats | None]] = {
        "bf16": (CastCodec(space), None),
        "i8": (IntCodec(space, scalar_code(space, block, 0.999)), None),
        "b1": (signs, signs.factors(block)),
    }
    for compression in (4, 8, 16, 32, 64):
        found[f"x{compression}"] = (ProductCodec(space, train(block, compression, lambda: None)), None)
    return found


@pytest.mark.parametrize("distance", Distance)
def test_estimates_follow_the_truth_as_closely_as_their_bytes_allow(distance: Distance) -> None:
    space = space_of(distance, DIM)
    block = prepare_block(space, clustered(ROWS, DIM, offset=1.0))
    query = prepare_block(space, clustered(1, DIM, seed=5, offset=1.0))[0]
    truth = goodness(space, query, block)
    least = {"bf16": 0.999, "i8": 0.999, "b1": 0.8, "x4": 0.999, "x8": 0.98, "x16": 0.92, "x32": 0.88, "x64": 0.8}
    for name, (codec, factors) in codecs(distance, block).items():
        codes = codec.encode(block)
        assert codes.dtype == codec.dtype
        assert codes.shape == (ROWS, codec.width)
        estimated = codec.estimate(query, codes, factors)
        assert np.corrcoef(truth, estimated)[0, 1] > least[name], name
        # The scores themselves are meant, not only their order: off by a fraction of how far they spread.
        assert abs(float(np.mean(estimated - truth))) < 0.7 * float(truth.std()), name
        ranked = codec.rank(query)(codes)
        assert np.corrcoef(truth, ranked)[0, 1] > least[name] - 0.2, name


def test_few_rows_and_many_rows_are_summed_alike() -> None:
    block = clustered(ROWS, DIM)
    codec = ProductCodec(space_of(Distance.DOT, DIM), train(block, 16, lambda: None))
    codes, rank = codec.encode(block), codec.rank(block[0])
    np.testing.assert_allclose(rank(codes)[:100], rank(codes[:100]), rtol=1e-5)


@pytest.mark.parametrize(("compression", "width"), [(4, 50), (8, 25), (16, 13), (32, 7), (64, 4)])
def test_product_codes_are_as_small_as_they_are_called(compression: int, width: int) -> None:
    assert codebook_shape(DIM, compression) == (width, 256, compression // 4)


def test_a_codebook_of_fewer_rows_than_centroids_is_exact() -> None:
    block = clustered(40, DIM)
    space = space_of(Distance.EUCLID, DIM)
    codec = ProductCodec(space, train(block, 32, lambda: None))
    estimated = codec.estimate(block[3], codec.encode(block), None)
    np.testing.assert_allclose(estimated, goodness(space, block[3], block), atol=1e-2)


def test_quantile_leaves_outliers_outside_the_range() -> None:
    sample = clustered(ROWS, DIM)
    sample[0, 0] = 1_000.0
    space = space_of(Distance.DOT, DIM)
    whole, clipped = scalar_code(space, sample, None), scalar_code(space, sample, 0.99)
    assert whole.scale == pytest.approx(0.127)
    assert clipped.scale > 20 * whole.scale
    inside = np.abs(IntCodec(space, clipped).encode(sample[1:])) < 127
    assert inside.mean() == pytest.approx(0.99, abs=0.02)


def test_values_far_from_zero_keep_their_differences() -> None:
    space = space_of(Distance.EUCLID, DIM)
    block = clustered(ROWS, DIM, offset=10_000.0)
    codec = IntCodec(space, scalar_code(space, block, None))
    truth, estimated = goodness(space, block[0], block), codec.estimate(block[0], codec.encode(block), None)
    assert np.corrcoef(truth, estimated)[0, 1] > 0.99


def test_constant_vectors_have_codes_too() -> None:
    for distance in Distance:
        space = space_of(distance, DIM)
        for value in (0.0, 3.0):
            block = prepare_block(space, np.full((20, DIM), value, dtype=np.float32))
            for name, (codec, factors) in codecs(distance, block).items():
                estimated = codec.estimate(block[0], codec.encode(block), factors)
                assert np.isfinite(estimated).all(), name
                np.testing.assert_allclose(estimated, goodness(space, block[0], block), rtol=0.02, atol=0.02)


def test_int8_is_not_taken_where_it_would_lose_neighbours() -> None:
    space = space_of(Distance.DOT, DIM)
    block = clustered(ROWS, DIM)
    assert choose_code(space, block).dtype == "i8"
    skewed = np.where(np.arange(DIM) < 2, 1e-4 * block, block * 1e-4)
    skewed[:, 0] += 1_000.0
    assert choose_code(space, skewed.astype(np.float32)) == Code("bf16")
