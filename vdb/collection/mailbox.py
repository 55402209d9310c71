"""The actor's mailbox: bounded in bytes and in messages.

When it is full a sender waits, and after ``WAIT_MAX_S`` is told to come back later: memory stays bounded whatever
clients do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import outcome
import trio

from vdb.errors import Busy

T = TypeVar("T")

MESSAGES_MAX: Final = 4_096
BYTES_MAX: Final = 128 * 2**20  # four of the largest request bodies
WAIT_MAX_S: Final = 30.0  # the time that a client waits before most of them give up


@dataclass(slots=True)
class Reply(Generic[T]):
    """Where the answer to one message appears. Waiting for it can be abandoned; the work goes on."""

    _answered: trio.Event = field(default_factory=trio.Event)
    _outcome: outcome.Outcome[T] | None = None

    def answer(self, value: T) -> None:
        self._outcome = outcome.Value(value)
        self._answered.set()

    def fail(self, error: BaseException) -> None:
        self._outcome = outcome.Error(error)
        self._answered.set()

    @property
    def answered(self) -> bool:
        return self._outcome is not None

    async def wait(self) -> T:
        """The answer; raises what the actor said."""
        await self._answered.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()


class Mailbox(Generic[T]):
    """Messages with their size in bytes, in order. One receiver; its owner closes it."""

    def __init__(self) -> None:
        self._messages: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._arrived = trio.Event()
        self._room = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._messages)

    async def send(self, message: T, size_bytes: int) -> None:
        """Waits while the mailbox is full; raises Busy after ``WAIT_MAX_S``."""
        if self._is_full():
            with trio.move_on_after(WAIT_MAX_S):
                while self._is_full():
                    await self._room.park()
            if self._is_full():
                raise Busy("The collection has more writes waiting than it can take")
        self.send_nowait(message, size_bytes)

    def send_nowait(self, message: T, size_bytes: int = 0) -> None:
        """For the collection's own messages, which are few: ignores the bound."""
        self._messages.append((message, size_bytes))
        self._bytes += size_bytes
        self._arrived.set()

    async def wait(self, over: Callable[[], bool]) -> None:
        """Returns when there is a message, or when ``over()`` is true after a ``wake``."""
        while not self._messages and not over():
            self._arrived = trio.Event()
            await self._arrived.wait()

    def wake(self) -> None:
        """Makes the receiver look again."""
        self._arrived.set()

    def peek(self) -> T | None:
        return self._messages[0][0] if self._messages else None

    def take(self) -> tuple[T, int]:
        """The oldest message and its size; there must be one."""
        message, size_bytes = self._messages.popleft()
        self._bytes -= size_bytes
        self._room.unpark_all()
        return message, size_bytes

    def _is_full(self) -> bool:
        return len(self._messages) >= MESSAGES_MAX or self._bytes >= BYTES_MAX
