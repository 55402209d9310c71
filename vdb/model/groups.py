"""Hits in groups: the best points for each value of a field."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from vdb.model.decode import AnotherNameOf, convert_part
from vdb.model.json_path import parse_path
from vdb.model.points import ShardKey, refuse_shard_key
from vdb.model.queries import CountFromOne, QueryStage, WithPayload, WithVector, check_depth

GROUPS_DEFAULT: Final = 10
GROUP_SIZE_DEFAULT: Final = 3

GroupBy = Annotated[str, msgspec.Meta(min_length=1)]


class WithLookup(msgspec.Struct, frozen=True, kw_only=True):
    """The points of another collection whose ids are the values of the groups."""

    collection: str
    with_payload: WithPayload | None = True
    with_vectors: WithVector | None = None
    with_vector: Annotated[UnsetType, AnotherNameOf("with_vectors")] = UNSET


if TYPE_CHECKING:
    WithLookupInterface: TypeAlias = WithLookup
else:

    class WithLookupInterface(metaclass=ABCMeta):  # noqa: B024 (msgspec asks isinstance, and `register` answers)
        """A collection's name, or an object with more than that."""

        alternatives: ClassVar[tuple[Any, ...]] = (str, WithLookup)

        @classmethod
        def decode(cls, value: Any) -> WithLookup:
            return WithLookup(collection=value) if isinstance(value, str) else convert_part(value, WithLookup)

    WithLookupInterface.register(WithLookup)


class QueryGroupsRequest(QueryStage, frozen=True, kw_only=True):
    """``limit`` counts groups, ``group_size`` the hits in each."""

    group_by: GroupBy
    group_size: CountFromOne | None = None
    limit: CountFromOne | None = None
    with_vector: WithVector | None = None
    with_vectors: Annotated[UnsetType, AnotherNameOf("with_vector")] = UNSET
    with_payload: WithPayload | None = None
    with_lookup: WithLookupInterface | None = None
    shard_key: ShardKey | None = None

    def __post_init__(self) -> None:
        refuse_shard_key(self.shard_key)
        parse_path(self.group_by)
        check_depth(self)
