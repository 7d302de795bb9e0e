"""RabbitMQ through FastStream: one connection, one queue that must exist, messages into a `Session`.

FastStream's connection would reconnect by itself, to the same address and without a word. Here a connection that is
lost is closed, and our own loop goes on to the next address.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from socket import gaierror
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ProbableAuthenticationError
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionClosed,
    ConnectionNotAllowed,
)
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from image_syncer.config.model import QueueSettings
from image_syncer.queues.quiet import quiet
from image_syncer.queues.session import BrokerTrouble, QueueSession

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 5.0
_NEVER_SECONDS: Final = 1e9
_LOGGERS: Final = ("aio_pika", "aiormq")
_PHRASES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ProbableAuthenticationError, "it does not take the login"),
    (ConnectionNotAllowed, "it does not let the login use the virtual host, or has none of that name"),
    (ChannelNotFoundEntity, "the queue does not exist; it is never made here"),
    (ChannelAccessRefused, "the login may not read the queue"),
    (ChannelLockedResource, "the queue belongs to another connection alone"),
    (ConnectionClosed, "it closed the connection"),
    (TimeoutError, "no answer in time"),
    (gaierror, "its name does not exist"),
    (ssl.SSLCertVerificationError, "its certificate cannot be trusted"),
    (ssl.SSLError, "TLS is not spoken there"),
)


class RabbitDelivery:
    """A message of RabbitMQ; what becomes of it is told with a bound."""

    def __init__(self, message: RabbitMessage) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        """What it says, as it came: no header of the sender's decides how it is read."""
        return self._message.raw_message.body

    async def ack(self) -> None:
        """Settle it: it is done."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.ack()

    async def give_back(self) -> None:
        """Return it to its queue."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.nack(requeue=True)

    async def reject(self) -> None:
        """Settle it: to the dead-letter exchange of the queue, where it has one."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.reject(requeue=False)


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and consume the queue; `BrokerTrouble` if that fails."""
    session = QueueSession()

    def lost(_connection: object, error: BaseException | None) -> None:
        session.end(_phrase(error))

    broker = RabbitBroker(
        url,
        timeout=_CONNECT_SECONDS,
        reconnect_interval=_NEVER_SECONDS,
        on_close=[lost],
        default_channel=Channel(prefetch_count=settings.prefetch),
        ack_policy=AckPolicy.MANUAL,
        decoder=_as_it_is,
        apply_types=False,
        logger=None,
    )
    with quiet(*_LOGGERS):
        async with _translated(2 * _CONNECT_SECONDS):
            connection = await broker.connect()
        try:
            async with _translated(_ANSWER_SECONDS):
                await _consume(broker, settings.queue, session)
            yield session
        finally:
            await _close(connection)


async def _consume(broker: RabbitBroker, name: str, session: QueueSession) -> None:
    """Let the messages of the queue *name* go to *session*."""

    async def deliver(message: RabbitMessage) -> None:
        session.deliver(RabbitDelivery(message))

    def cancelled(_frame: object) -> None:
        session.end("the broker took the queue away")

    queue = RabbitQueue(name, declare=False)  # Passively: it is looked for, never made or changed.
    broker.subscriber(queue, no_reply=True)(deliver)
    channel: Any = await (await broker.declare_queue(queue)).channel.get_underlay_channel()
    channel.on_consumer_cancel_callbacks.add(cancelled)
    await broker.start()


async def _close(connection: AbstractConnection) -> None:
    """Close the connection, and with it all that it holds: what we have not settled goes back to its queue.

    The broker's own `stop` would first ask for the end of the subscription, and wait for that on a lost connection.
    """
    # One that breaks or is silent now is closed as well.
    with suppress(*CONNECTION_EXCEPTIONS):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


@asynccontextmanager
async def _translated(seconds: float) -> AsyncGenerator[None]:
    """Give what happens inside *seconds*, and turn what the library raises into `BrokerTrouble`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerTrouble(_phrase(error)) from error


async def _as_it_is(message: RabbitMessage) -> RabbitMessage:
    """Return the message itself: it is read by our own bounded parser."""
    return message


def _phrase(error: BaseException | None) -> str:
    """Return what happened, in our words: the library's may hold the address, which has a login in it."""
    cause = error.__cause__ if error is not None else None
    if isinstance(cause, OSError):
        error = cause  # The library puts an error of its own around that of the socket, which says more.
    known = next((text for kind, text in _PHRASES if isinstance(error, kind)), None)
    if known is None and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return known or f"the connection failed ({type(error).__name__})"
