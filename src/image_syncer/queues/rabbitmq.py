"""RabbitMQ over aio-pika: one connection that consumes one existing queue.

The connection is a plain one, not aio-pika's robust connection: that would reconnect silently, and only to the same
address. Here a lost connection ends the session, and the consumer loop opens the next address.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

from aio_pika import connect
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ProbableAuthenticationError
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionClosed,
    ConnectionNotAllowed,
)

from image_syncer.config.model import QueueSettings
from image_syncer.queues.session import QueueSession, explain_failure, muted, translated

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 5.0
_LOGGERS: Final = ("aio_pika", "aiormq")
_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ProbableAuthenticationError, "login refused"),
    (ConnectionNotAllowed, "the login may not use the virtual host, or that does not exist"),
    (ChannelNotFoundEntity, "the queue does not exist; image-syncer never creates one"),
    (ChannelAccessRefused, "the login may not read the queue"),
    (ChannelLockedResource, "another connection has exclusive use of the queue"),
    (ConnectionClosed, "the broker closed the connection"),
)


class RabbitDelivery:
    """A message of RabbitMQ. Each settlement is bounded in time."""

    def __init__(self, message: AbstractIncomingMessage) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        """The content as it arrived: no header of the sender decides how it is read."""
        return self._message.body

    async def ack(self) -> None:
        """Settle it: done."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.ack()

    async def give_back(self) -> None:
        """Return it to its queue."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.nack(requeue=True)

    async def reject(self) -> None:
        """Settle it as unusable: RabbitMQ sends it to the queue's dead-letter exchange, if there is one."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.reject(requeue=False)


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and consume the queue; `BrokerUnavailable` on failure."""
    session = QueueSession()
    with muted(*_LOGGERS):
        async with _translated(2 * _CONNECT_SECONDS):
            connection = await connect(url, timeout=_CONNECT_SECONDS)
        try:
            async with _translated(_ANSWER_SECONDS):
                await _consume(connection, settings, session)
            yield session
        finally:
            await _close(connection)


async def _consume(connection: AbstractConnection, settings: QueueSettings, session: QueueSession) -> None:
    """Subscribe *session* to the queue, and end it when connection, channel or subscription end."""

    def on_close(_sender: object, error: BaseException | None) -> None:
        session.end(_explain(error))

    def on_cancel(_frame: object) -> None:
        session.end("the broker cancelled the subscription")

    async def on_message(message: AbstractIncomingMessage) -> None:
        session.deliver(RabbitDelivery(message))

    connection.close_callbacks.add(on_close)
    channel = connection.channel(publisher_confirms=False)
    await channel.initialize()
    channel.close_callbacks.add(on_close)
    await channel.set_qos(prefetch_count=settings.prefetch)
    underlay: Any = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(on_cancel)
    # Passive: the declaration only checks that the queue exists, which needs no more than the right to read it.
    queue = await channel.declare_queue(settings.queue, passive=True)
    await queue.consume(on_message)


async def _close(connection: AbstractConnection) -> None:
    """Close the connection, which returns all unsettled messages to their queue.

    There is no orderly end of the subscription first: on a lost connection it would wait for an answer.
    """
    with suppress(*CONNECTION_EXCEPTIONS):  # It may be broken or silent.
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


def _translated(seconds: float) -> AbstractAsyncContextManager[None]:
    return translated(seconds, CONNECTION_EXCEPTIONS, _explain)


def _explain(error: BaseException | None) -> str:
    cause = error.__cause__ if error is not None else None
    # The library wraps the socket's error, which is the more precise one.
    return explain_failure(cause if isinstance(cause, OSError) else error, _CAUSES)
