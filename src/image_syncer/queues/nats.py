"""NATS JetStream: a durable consumer that must exist, asked for a handful of messages at a time.

The client is used directly: FastStream's broker would reconnect by itself, and makes consumers that it does not find.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from socket import gaierror
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import Address
from image_syncer.queues.hand import InFlight
from image_syncer.queues.session import BrokerTrouble, QueueSession

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
    (FileNotFoundError, "the file of its CA does not exist"),
)
_UNFIT: Final = (
    "the consumer is none that is pulled and takes an acknowledgement of each message (--pull --ack explicit)"
)


class NatsDelivery:
    """A message of a stream."""

    def __init__(self, message: Msg, hand: InFlight) -> None:
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


class _Tls(ssl.SSLContext):
    """What we trust. It knows whether it was used: the client goes on in the clear where the server asks for no TLS."""

    used = False

    def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
        """Begin a handshake."""
        self.used = True
        return super().wrap_bio(*args, **keywords)


@dataclass(frozen=True, slots=True)
class _Consumer:
    """The durable consumer *name* of *stream*."""

    jetstream: JetStreamContext
    stream: str
    name: str

    async def check(self) -> None:
        """Return if it is there and fit: under any other policy a message is gone before its event is durable."""
        config = (await self.jetstream.consumer_info(self.stream, self.name)).config
        if config.ack_policy != AckPolicy.EXPLICIT or config.deliver_subject is not None:
            raise BrokerTrouble(_UNFIT)


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and take messages from the consumer; `BrokerTrouble` if that fails."""
    session, client, address = QueueSession(), Client(), Address.parse(url, port=_PORT)

    async def lost() -> None:
        session.end("the connection was lost")

    async def ignore(_error: Exception) -> None:
        """Say nothing: what follows from it is told where it is met."""

    async with _translated(_ANSWER_SECONDS):
        security = _security(address)
    try:
        async with _translated(2 * _CONNECT_SECONDS):
            await client.connect(
                address.without_login,
                **security,
                name="image-syncer",
                allow_reconnect=False,
                connect_timeout=_CONNECT_SECONDS,
                closed_cb=lost,
                error_cb=ignore,
            )
            stream, _, name = settings.queue.rpartition("/")
            consumer = _Consumer(JetStreamContext(client, timeout=_ANSWER_SECONDS), stream, name)
            await consumer.check()
            subscription = await consumer.jetstream.pull_subscribe_bind(name, stream)
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(_pump(consumer, subscription, session, settings.prefetch))
            yield session
            pump.cancel()
        await _return_leftovers(session)
    finally:
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.close()


def _security(address: Address) -> dict[str, Any]:
    """Return the login and what is trusted. The login is told once TLS is there, if the address asks for that."""
    tls = _Tls(ssl.PROTOCOL_TLS_CLIENT)
    if address.cafile is None:
        tls.load_default_certs()
    else:
        tls.load_verify_locations(address.cafile)

    def guarded(secret: str) -> str:
        if address.scheme == "tls" and not tls.used:
            raise ssl.SSLError
        return secret

    user, password = address.user, address.password
    if user is not None and password is None:
        return {"tls": tls, "token": lambda: guarded(user)}  # NATS writes a token in the place of a user.
    return {"tls": tls, "user": user, "password": None if password is None else lambda: guarded(password)}


async def _return_leftovers(session: QueueSession) -> None:
    """Give back what waited behind the last message, which would else come again only after the `ack_wait`."""
    with suppress(BrokerTrouble):  # It comes again anyhow, after the `ack_wait`.
        for delivery in session.leftovers() if session.reason is None else ():
            await delivery.give_back()


async def _pump(
    consumer: _Consumer, subscription: JetStreamContext.PullSubscription, session: QueueSession, count: int
) -> None:
    hand = InFlight()
    while not session.has_ended:
        await hand.empty()
        messages: Sequence[Msg] = ()
        try:
            messages = await subscription.fetch(count, timeout=_FETCH_SECONDS)
        except TimeoutError:
            await _look_after(consumer, session)  # There was none: it may also be gone, of which nobody tells us.
        except (NatsError, OSError) as error:
            session.end(_phrase(error))
        hand.take(len(messages))
        for message in messages:
            session.deliver(NatsDelivery(message, hand))


async def _look_after(consumer: _Consumer, session: QueueSession) -> None:
    try:
        async with _translated(_ANSWER_SECONDS):
            await consumer.check()
    except BrokerTrouble as error:
        session.end(str(error))


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
