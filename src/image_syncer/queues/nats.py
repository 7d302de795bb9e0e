"""NATS JetStream: a durable consumer that must exist, asked for a handful of messages at a time.

The client is used directly: FastStream's broker would reconnect by itself, and makes consumers that it does not find.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from socket import gaierror
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import Address
from image_syncer.queues.hand import Hand
from image_syncer.queues.session import BrokerTrouble, Session

_PORT: Final = 4222
_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 5.0
_FETCH_SECONDS: Final = 5.0
_REST_SECONDS: Final = 10.0
_PHRASES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (NotFoundError, "the stream or its consumer does not exist; neither is ever made here"),
    (ServiceUnavailableError, "JetStream is not served there"),
    (TimeoutError, "no answer in time"),
    (gaierror, "its name does not exist"),
    (ssl.SSLCertVerificationError, "its certificate cannot be trusted"),
    (ssl.SSLError, "TLS is not spoken there"),
)


class NatsDelivery:
    """A message of a stream."""

    def __init__(self, message: Msg, hand: Hand) -> None:
        self._message = message
        self._hand = hand

    @property
    def body(self) -> bytes:
        """What it says."""
        return self._message.data

    async def ack(self) -> None:
        """Settle it: it is done, and the server has said that it knows."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.ack_sync()
        self._hand.put_down()

    async def give_back(self) -> None:
        """Return it to the stream, to come again after a rest."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.nak(_REST_SECONDS)
        self._hand.put_down()

    async def reject(self) -> None:
        """Settle it: it is terminated, which the server tells in an advisory."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.term()
        self._hand.put_down()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[Session]:
    """Connect to *url* and take messages from the consumer; `BrokerTrouble` if that fails."""
    session, client, address = Session(), Client(), Address.parse(url, port=_PORT)

    async def lost() -> None:
        session.end("the connection was lost")

    async def ignore(_error: Exception) -> None:
        """Say nothing: what follows from it is told where it is met."""

    try:
        async with _translated(2 * _CONNECT_SECONDS):
            await client.connect(
                address.without_login,
                user=address.user,
                password=address.password,
                name="image-syncer",
                allow_reconnect=False,
                connect_timeout=_CONNECT_SECONDS,
                closed_cb=lost,
                error_cb=ignore,
            )
            subscription = await _subscription(client, settings.queue)
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(_pump(subscription, session, settings.prefetch))
            yield session
            pump.cancel()
    finally:
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.close()


async def _subscription(client: Client, queue: str) -> JetStreamContext.PullSubscription:
    stream, _, consumer = queue.rpartition("/")
    jetstream = JetStreamContext(client, timeout=_ANSWER_SECONDS)
    await jetstream.consumer_info(stream, consumer)
    return await jetstream.pull_subscribe_bind(consumer, stream)


async def _pump(subscription: JetStreamContext.PullSubscription, session: Session, count: int) -> None:
    hand = Hand()
    while not session.has_ended:
        await hand.empty()
        messages: Sequence[Msg] = ()
        try:
            messages = await subscription.fetch(count, timeout=_FETCH_SECONDS)
        except TimeoutError:
            continue  # There was none.
        except (NatsError, OSError) as error:
            session.end(_phrase(error))
        hand.take(len(messages))
        for message in messages:
            session.deliver(NatsDelivery(message, hand))


@asynccontextmanager
async def _translated(seconds: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except (NatsError, OSError, TimeoutError) as error:
        raise BrokerTrouble(_phrase(error)) from error


def _phrase(error: BaseException) -> str:
    """Return what happened, in our words: the library's may hold the address, which has a login in it."""
    if isinstance(error, NatsError) and "authorization" in str(error).lower():
        return "it does not take the login"
    known = next((text for kind, text in _PHRASES if isinstance(error, kind)), None)
    return known or f"the connection failed ({type(error).__name__})"
