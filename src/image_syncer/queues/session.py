"""The seam between our loop and a broker: what arrives over one connection, until that ends.

Another broker is a function like `rabbitmq.open_session`: it connects, hands each message to `Session.deliver`, and
tells the end by `Session.end`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from image_syncer.config.model import QueueSettings
from image_syncer.errors import ImageSyncerError


class BrokerTrouble(ImageSyncerError):
    """The broker can not be used now, or no longer; the message has nothing of its address in it."""

    retryable = True


class QueueDelivery(Protocol):
    """A message in our hand, which the broker gives to somebody else unless we settle it. May raise `BrokerTrouble`."""

    @property
    def body(self) -> bytes:
        """What it says."""
        ...

    async def ack(self) -> None:
        """Settle it: it is done."""
        ...

    async def give_back(self) -> None:
        """Return it to its queue, for us or another consumer."""
        ...

    async def reject(self) -> None:
        """Settle it: nobody can do it; the broker dead-letters it if it was told how, and drops it otherwise."""
        ...


class QueueSession:
    """What arrives over one connection. The broker's limit (prefetch) bounds how much of it waits here."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[QueueDelivery | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self.reason: str | None = None

    def deliver(self, delivery: QueueDelivery) -> None:
        """Add what the broker brings."""
        self._arrived.put_nowait(delivery)

    def end(self, reason: str | None = None) -> None:
        """End it: *reason* says what happened to the connection, None where we want no more. The first call counts."""
        if not self._ended.is_set():
            self.reason = reason
            self._ended.set()
            self._arrived.put_nowait(None)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is taken from it."""
        return self._ended.is_set()

    async def next(self) -> QueueDelivery | None:
        """Return what arrived first, None once the session has ended: what waits then goes back to the broker."""
        return None if self.has_ended else await self._arrived.get()

    def leftovers(self) -> Sequence[QueueDelivery]:
        """Return what has arrived and was not taken, and forget it."""
        waiting = (self._arrived.get_nowait() for _ in range(self._arrived.qsize()))
        return [delivery for delivery in waiting if delivery is not None]

    async def rest(self, seconds: float) -> None:
        """Wait *seconds*, or until the session ends."""
        await wait_for(self._ended, seconds)


OpenSession = Callable[[str, QueueSettings], AbstractAsyncContextManager[QueueSession]]
"""Connects to the address (`BrokerTrouble` if that fails), and closes within a bounded time."""


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait until *event* is set, for at most *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
