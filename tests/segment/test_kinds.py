"""Every kind of datatype and quantisation that the API names: it finds what is near, or is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.collection.conftest import config_of
from tests.segment.segments import World, clustered, configured, space_of
from vdb.errors import BadRequest
from vdb.model.vectors import Datatype, Distance

DIM = 32
ROWS = 600
WORKING: list[dict[str, Any]] = [
    {"scalar": {"type": "int8"}},
    {"scalar": {"type": "int8", "quantile": 0.95, "always_ram": True}},
    *({"binary": {"query_encoding": encoding}} for encoding in (None, "default", "binary")),
    {"binary": {"encoding": "one_bit", "memory": "cold"}},
    *({"product": {"compression": compression}} for compression in ("x4", "x8", "x16", "x32", "x64")),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        ({"binary": {"encoding": encoding}}, f"Binary quantization with encoding `{encoding}`")
        for encoding in ("two_bits", "one_and_half_bits")
    ),
    *(
        ({"binary": {"query_encoding": encoding}}, f"Binary quantization with query encoding `{encoding}`")
        for encoding in ("scalar4bits", "scalar8bits")
    ),
    *(({"turbo": {"bits": bits}}, "Quantization `turbo`") for bits in (None, "bits1", "bits1_5", "bits2", "bits4")),
]


@pytest.mark.parametrize("quantization", WORKING, ids=str)
@pytest.mark.parametrize("distance", list(Distance))
def test_every_quantisation_that_is_accepted_finds_what_is_near(
    tmp_path: Path, quantization: dict[str, Any], distance: Distance
) -> None:
    space, block = space_of(distance, DIM), clustered(ROWS, DIM)
    world = World(tmp_path / "segment", space, block, configured(space, quantization_config=quantization))
    assert world.segment.rows[0].quantised is not None
    assert world.recall(block[:20], 5, quantization={"oversampling": 8.0}) >= 0.9


@pytest.mark.parametrize(("quantization", "name"), REFUSED, ids=str)
def test_every_other_quantisation_is_refused_by_its_name(quantization: dict[str, Any], name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        config_of(quantization_config=quantization)
    assert str(refused.value) == f"{name} is not supported by this server"


@pytest.mark.parametrize("datatype", [Datatype.FLOAT32, Datatype.FLOAT16, Datatype.UINT8])
@pytest.mark.parametrize("distance", list(Distance))
def test_every_datatype_that_is_accepted_finds_what_is_near(
    tmp_path: Path, datatype: Datatype, distance: Distance
) -> None:
    space = space_of(distance, DIM, datatype)
    block = clustered(ROWS, DIM, offset=8) * 12
    world = World(tmp_path / "segment", space, block, configured(space))
    assert world.recall(block[:20], 5) >= 0.95


def test_a_datatype_that_is_not_supported_is_refused_by_its_name() -> None:
    with pytest.raises(BadRequest) as refused:
        config_of(vectors={"size": DIM, "distance": "Dot", "datatype": "turbo4"})
    assert str(refused.value) == "Datatype `turbo4` is not supported by this server"
