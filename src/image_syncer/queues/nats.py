"""NATS JetStream: an existing durable consumer, polled for batches of messages."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import BrokerAddress
from image_syncer.queues.session import BrokerUnavailable, InFlight, QueueSession, explain_failure, translated

_PORT: Final = 4222
_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 5.0
_FETCH_SECONDS: Final = 5.0
_REDELIVERY_SECONDS: Final = 10.0
_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (NotFoundError, "the stream or its consumer does not exist; image-syncer never creates one"),
    (ServiceUnavailableError, "the server has no JetStream"),
)
_UNFIT: Final = "the consumer must be a pull consumer with explicit acknowledgements (--pull --ack explicit)"


class NatsDelivery:
    """A message of a stream."""

    def __init__(self, message: Msg, in_flight: InFlight) -> None:
        self._message = message
        self._in_flight = in_flight

    @property
    def body(self) -> bytes:
        """The payload."""
        return self._message.data

    async def ack(self) -> None:
        """Settle it: done, and confirmed by the server."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.ack_sync()
        self._in_flight.remove()

    async def give_back(self) -> None:
        """Return it to the stream, which redelivers it after a pause."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.nak(_REDELIVERY_SECONDS)
        self._in_flight.remove()

    async def reject(self) -> None:
        """Settle it as unusable: the server terminates it and publishes an advisory."""
        async with _translated(_ANSWER_SECONDS):
            await self._message.term()
        self._in_flight.remove()


class _Tls(ssl.SSLContext):
    """A TLS context that records whether a handshake began.

    The client continues in plain text where the server does not ask for TLS.
    """

    used = False

    def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
        """Begin a handshake, and record it."""
        self.used = True
        return super().wrap_bio(*args, **keywords)


@dataclass(frozen=True, slots=True)
class _Consumer:
    """The durable consumer *name* of *stream*."""

    jetstream: JetStreamContext
    stream: str
    name: str

    async def check(self) -> None:
        """Raise `BrokerUnavailable` unless it acknowledges explicitly: any other policy loses unrecorded messages."""
        config = (await self.jetstream.consumer_info(self.stream, self.name)).config
        if config.ack_policy != AckPolicy.EXPLICIT or config.deliver_subject is not None:
            raise BrokerUnavailable(_UNFIT)


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and poll the consumer; `BrokerUnavailable` on failure."""
    session, client, address = QueueSession(), Client(), BrokerAddress.parse(url, port=_PORT)

    async def on_close() -> None:
        session.end("the connection was lost")

    async def ignore(_error: Exception) -> None:
        """Ignore it: its consequence is reported where it happens."""

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
                closed_cb=on_close,
                error_cb=ignore,
            )
            stream, _, name = settings.queue.rpartition("/")
            consumer = _Consumer(JetStreamContext(client, timeout=_ANSWER_SECONDS), stream, name)
            await consumer.check()
            subscription = await consumer.jetstream.pull_subscribe_bind(name, stream)
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(_poll(consumer, subscription, session, settings.prefetch))
            yield session
            polling.cancel()
        await _return_leftovers(session)
    finally:
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await client.close()


def _security(address: BrokerAddress) -> dict[str, Any]:
    """Return the client's options for TLS and login. With `tls://`, the login is sent only after a TLS handshake."""
    tls = _Tls(ssl.PROTOCOL_TLS_CLIENT)
    if address.cafile is None:
        tls.load_default_certs()
    else:
        tls.load_verify_locations(address.cafile)

    def require_tls(secret: str) -> str:
        if address.scheme == "tls" and not tls.used:
            raise ssl.SSLError
        return secret

    user, password = address.user, address.password
    if user is not None and password is None:
        return {"tls": tls, "token": lambda: require_tls(user)}  # NATS puts a token where the user would be.
    return {"tls": tls, "user": user, "password": None if password is None else lambda: require_tls(password)}


async def _return_leftovers(session: QueueSession) -> None:
    """Give back the messages that were not handled, so that they return before their `ack_wait` is over."""
    with suppress(BrokerUnavailable):  # Otherwise they return after the `ack_wait`.
        for delivery in session.take_leftovers() if session.reason is None else ():
            await delivery.give_back()


async def _poll(
    consumer: _Consumer, subscription: JetStreamContext.PullSubscription, session: QueueSession, count: int
) -> None:
    in_flight = InFlight()
    while not session.has_ended:
        await in_flight.wait_until_empty()
        messages: Sequence[Msg] = ()
        try:
            messages = await subscription.fetch(count, timeout=_FETCH_SECONDS)
        except TimeoutError:
            await _check_consumer(consumer, session)  # The server does not report that a consumer was deleted.
        except (NatsError, OSError) as error:
            session.end(_explain(error))
        in_flight.add(len(messages))
        for message in messages:
            session.deliver(NatsDelivery(message, in_flight))


async def _check_consumer(consumer: _Consumer, session: QueueSession) -> None:
    try:
        async with _translated(_ANSWER_SECONDS):
            await consumer.check()
    except BrokerUnavailable as error:
        session.end(str(error))


def _translated(seconds: float) -> AbstractAsyncContextManager[None]:
    return translated(seconds, (NatsError,), _explain)


def _explain(error: BaseException) -> str:
    if isinstance(error, NatsError) and "authorization" in str(error).lower():
        return "login refused"
    return explain_failure(error, _CAUSES)
