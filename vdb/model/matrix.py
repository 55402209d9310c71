"""The distances between sampled points."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from vdb.model.conditions import Filter
from vdb.model.points import ShardKey, refuse_shard_key
from vdb.model.queries import CountFromOne

SAMPLE_DEFAULT: Final = 10
NEIGHBOURS_DEFAULT: Final = 3


class SearchMatrixRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``limit`` is the number of neighbours of each of the ``sample`` points."""

    filter: Filter | None = None
    sample: Annotated[int, msgspec.Meta(ge=2)] | None = None
    limit: CountFromOne | None = None
    using: str | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
