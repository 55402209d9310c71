"""Points in the order of a field's values."""

from __future__ import annotations

from abc import ABCMeta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec

from vdb.model.decode import convert_part


class OrderBy(msgspec.Struct, frozen=True, kw_only=True):
    """``start_from`` is a number, or a datetime as text."""

    key: str
    direction: Literal["asc", "desc"] | None = None
    start_from: int | float | str | None = None


if TYPE_CHECKING:
    OrderByInterface: TypeAlias = OrderBy
else:

    class OrderByInterface(metaclass=ABCMeta):  # noqa: B024
        """A field's path, or an object with more than that."""

        alternatives: ClassVar[tuple[Any, ...]] = (str, OrderBy)

        @classmethod
        def decode(cls, value: Any) -> OrderBy:
            return OrderBy(key=value) if isinstance(value, str) else convert_part(value, OrderBy)

    OrderByInterface.register(OrderBy)
