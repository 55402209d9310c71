"""What a client may do: everything, read everything, or what its token grants collection by collection.

Guarantees: an Access is immutable. Names are resolved when something is asked for, so that an alias that moves takes
what was granted by its name along, and every name of a collection gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from vdb.api.routing import AccessKind
from vdb.errors import Forbidden
from vdb.model.conditions import Filter

# The collection that a name or alias stands for; a name that nothing has stands for itself.
Resolve = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Grant:
    """Reading one collection, or writing it too; ``only``, where it is given, matches the points that this is about."""

    collection: str
    writes: bool = False
    only: Filter | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """``level`` is ``manage`` (everything), ``read`` (read everything), or ``granted``: what ``grants`` say."""

    level: Literal["manage", "read", "granted"]
    grants: tuple[Grant, ...] = ()

    def check(self, kind: AccessKind, collection: str | None, resolve: Resolve) -> Filter | None:
        """Raises Forbidden for what may not be done; else the points that it may be done to, None for all.

        ``collection`` is the name in the request. Of several grants for it the first that suffices counts.
        """
        if self.level == "manage" or kind in ("open", "listed") or (kind == "read" and self.level == "read"):
            return None
        if kind == "manage":
            raise Forbidden("Global manage access is required" if self.level == "read" else "Global access is required")
        if collection is None:
            raise Forbidden("Global access is required")
        name = resolve(collection)
        grants = [grant for grant in self.grants if resolve(grant.collection) == name]
        for grant in grants:
            if grant.writes or kind == "read":
                return grant.only
        needed = "Write access" if grants or self.level == "read" else "Access"
        raise Forbidden(f"{needed} to collection {collection} is required")

    def check_whole(self, kind: AccessKind, collection: str, resolve: Resolve) -> None:
        """``check`` for what cannot be done to some points only."""
        if self.check(kind, collection, resolve) is not None:
            raise Forbidden(f"Access to all points of collection {collection} is required")

    def lists(self, collection: str, resolve: Resolve) -> bool:
        """Whether the client may know of the collection of that name."""
        return self.level != "granted" or any(resolve(grant.collection) == collection for grant in self.grants)


# Of the API key, and of everybody where there is none.
MANAGE: Final = Access("manage")

# Of the read-only API key.
READ: Final = Access("read")
