"""The seam between the consumer loop and a broker: what one connection delivers.

A broker is a function like `rabbitmq.open_session`. It connects, passes each message to `QueueSession.deliver`, and
reports the end of the connection by `QueueSession.end`.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from socket import gaierror
from typing import Final, Protocol

from image_syncer.config.model import QueueSettings
from image_syncer.errors import ImageSyncerError

_COMMON_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TimeoutError, "timed out"),
    (gaierror, "unknown host name"),
    (ssl.SSLCertVerificationError, "untrusted TLS certificate"),
    (ssl.SSLError, "the server does not speak TLS"),
    (FileNotFoundError, "the CA file (cafile) does not exist"),
)


class BrokerUnavailable(ImageSyncerError):
    """The broker cannot be used, or no longer. The message never contains its address, which may hold a login."""

    retryable = True


class QueueDelivery(Protocol):
    """An unsettled message. The broker redelivers it unless we settle it. Methods may raise `BrokerUnavailable`."""

    @property
    def body(self) -> bytes:
        """The message's content."""
        ...

    async def ack(self) -> None:
        """Settle it: done."""
        ...

    async def give_back(self) -> None:
        """Return it to the queue, for us or for another consumer."""
        ...

    async def reject(self) -> None:
        """Settle it as unusable: the broker dead-letters it where that is configured, and drops it otherwise."""
        ...


class QueueSession:
    """The messages of one connection. The broker's prefetch limit bounds how many wait here."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[QueueDelivery | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self.reason: str | None = None

    def deliver(self, delivery: QueueDelivery) -> None:
        """Add a message of the broker."""
        self._arrived.put_nowait(delivery)

    def end(self, reason: str | None = None) -> None:
        """End the session. *reason* is the failure, None for a wanted stop. Only the first call has an effect."""
        if not self._ended.is_set():
            self.reason = reason
            self._ended.set()
            self._arrived.put_nowait(None)

    @property
    def has_ended(self) -> bool:
        """Whether no further message is taken from it."""
        return self._ended.is_set()

    async def next(self) -> QueueDelivery | None:
        """Return the oldest message; None once the session has ended, so that the rest goes back to the broker."""
        return None if self.has_ended else await self._arrived.get()

    def take_leftovers(self) -> Sequence[QueueDelivery]:
        """Remove and return the messages that `next` has not returned."""
        waiting = (self._arrived.get_nowait() for _ in range(self._arrived.qsize()))
        return [delivery for delivery in waiting if delivery is not None]

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*, or until the session ends."""
        await wait_for(self._ended, seconds)


OpenSession = Callable[[str, QueueSettings], AbstractAsyncContextManager[QueueSession]]
"""Connects to an address (`BrokerUnavailable` on failure). Closing takes a bounded time."""


class InFlight:
    """Counts unsettled messages of a broker that has to be polled: the next batch is polled when the count is 0."""

    def __init__(self) -> None:
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, count: int) -> None:
        """Add *count* messages."""
        self._count += count
        if self._count:
            self._empty.clear()

    def remove(self) -> None:
        """Remove one message: it was settled or given back."""
        self._count -= 1
        if not self._count:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Return once the count is 0."""
        await self._empty.wait()


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait until *event* is set, for at most *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


@contextmanager
def muted(*loggers: str) -> Generator[None]:
    """Keep the library *loggers* off stderr inside the block: they log addresses, which may hold logins."""
    handlers = {name: logging.NullHandler() for name in loggers}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, handler in handlers.items():
            logging.getLogger(name).removeHandler(handler)


@asynccontextmanager
async def translated(
    seconds: float, errors: tuple[type[BaseException], ...], explain: Callable[[BaseException], str]
) -> AsyncGenerator[None]:
    """Bound the block to *seconds*, and raise *errors*, `OSError` and the timeout as `BrokerUnavailable`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (*errors, OSError) as error:  # `TimeoutError` is an `OSError`.
        raise BrokerUnavailable(explain(error)) from error


def explain_failure(error: BaseException | None, causes: Sequence[tuple[type[BaseException], str]] = ()) -> str:
    """Return a message for *error* that holds no address: that of *causes*, of the network, or the error's type."""
    known = next((text for kind, text in (*causes, *_COMMON_CAUSES) if isinstance(error, kind)), None)
    if known is None and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return known or f"the connection failed ({type(error).__name__})"
