"""Reads: one hop into a search thread, with the request's deadline."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from vdb.api.routing import Call, Encoded
from vdb.query.deadline import Deadline
from vdb.query.examples import Source
from vdb.query.execute import NO_LOOKUPS, Lookups
from vdb.query.view import View

ReadWork = Callable[[View, sqlite3.Connection, Deadline], str]


class LookupWork(Protocol):
    """Work that reads other collections too."""

    def __call__(self, view: View, connection: sqlite3.Connection, deadline: Deadline, *, lookups: Lookups) -> str: ...


async def read(call: Call, work: ReadWork) -> Encoded:
    """Runs ``work`` on the collection's newest View; its JSON text. It stops at the deadline of the request."""
    collection = call.collection()
    deadline = Deadline.after(call.params.timeout)

    def job(view: View, connection: sqlite3.Connection) -> Encoded:
        deadline.check()
        if call.meter is None:
            return Encoded(work(view, connection, deadline).encode())
        with call.meter.searching():
            return Encoded(work(view, connection, deadline).encode())

    # What a client may see is decided on the View, and shown from the database.
    return await collection.read(job, of_one_moment=call.only is not None)


async def read_with_lookups(call: Call, names: Collection[str], work: LookupWork) -> Encoded:
    """``read``, with the collections of ``names`` at hand, of those that exist."""
    if not names:
        return await read(call, partial(work, lookups=NO_LOOKUPS))
    registry = call.services.registry
    for name in names:
        call.access.check_whole("read", name, registry.resolve)
    own = call.collection()
    others = {name: registry.get(name) for name in names if registry.exists(name)}

    def looking_up(view: View, connection: sqlite3.Connection, deadline: Deadline) -> str:
        with ExitStack() as stack:
            lookups = {
                name: Source(view, connection) if other is own else Source(*stack.enter_context(other.reader()))
                for name, other in others.items()
            }
            return work(view, connection, deadline, lookups=lookups)

    return await read(call, looking_up)
