"""Kafka: an existing topic, read in batches as a member of a consumer group.

Kafka keeps one offset per partition instead of an acknowledgement per record. So the records of a partition are settled
in order, and a record that cannot be recorded ends the session: reading resumes at the committed offset.
"""

# The library has no types of its own.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from image_syncer.config.model import QueueSettings
from image_syncer.queues.address import BrokerAddress
from image_syncer.queues.session import (
    BrokerUnavailable,
    InFlight,
    QueueSession,
    explain_failure,
    muted,
    translated,
)

_PORT: Final = 9092
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_FETCH_SECONDS: Final = 5.0
_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (AuthenticationFailedError, "login refused"),
    (IllegalSaslStateError, "the broker expects no login on this port"),
    (UnsupportedSaslMechanismError, "the broker does not support this SASL mechanism"),
    (TopicAuthorizationFailedError, "the login may not read the topic"),
    (GroupAuthorizationFailedError, "the login may not use the group"),
)
_NO_TOPIC: Final = "the topic does not exist; image-syncer never creates one"


class Record(Protocol):
    """The attributes of a record of the client."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class _Topic:
    """A topic, the consumer *group* that reads it, and the client's *options* for the connection."""

    name: str
    group: str
    address: BrokerAddress
    options: dict[str, Any] = field(repr=False)

    @property
    def dead_letters(self) -> str:
        """The topic for poison. It is used only if it exists."""
        return f"{self.name}.dead"

    @property
    def server(self) -> str:
        """The bootstrap server, `host:port`."""
        return self.address.without_login.partition("//")[2]


@dataclass(frozen=True, slots=True)
class _Subscription:
    """The running consumer of a topic. *has_dead_letters*: the topic for poison exists."""

    topic: _Topic
    consumer: AIOKafkaConsumer
    session: QueueSession
    in_flight: InFlight
    has_dead_letters: bool


class KafkaDelivery:
    """A record of a partition."""

    def __init__(self, subscription: _Subscription, record: Record) -> None:
        self._subscription = subscription
        self._record = record

    @property
    def body(self) -> bytes:
        """The value; empty for a tombstone."""
        return self._record.value or b""

    async def ack(self) -> None:
        """Commit its offset. All earlier records of the partition were settled before."""
        partition = TopicPartition(self._record.topic, self._record.partition)
        async with _translated(_ANSWER_SECONDS):
            await self._subscription.consumer.commit({partition: OffsetAndMetadata(self._record.offset + 1, "")})
        self._subscription.in_flight.remove()

    async def give_back(self) -> None:
        """End the session, since committing a later record of the partition would settle this one too."""
        self._subscription.session.end("a record could not be stored; it will be read again")

    async def reject(self) -> None:
        """Settle it as unusable: copy it to the topic `NAME.dead`, if that exists."""
        if self._subscription.has_dead_letters:
            await _dead_letter(self._subscription.topic, self._record)
        await self.ack()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and read the topic; `BrokerUnavailable` on failure."""
    name, _, group = settings.queue.rpartition("/")
    address, session = BrokerAddress.parse(url, port=_PORT), QueueSession()
    with muted("aiokafka"):
        async with _translated(_ANSWER_SECONDS):
            topic = _Topic(name, group, address, _connection_options(address))
        async with _consumer(topic) as consumer:
            async with _translated(2 * _CONNECT_SECONDS):
                topics: set[str] = await consumer.topics()
            if name not in topics:
                raise BrokerUnavailable(_NO_TOPIC)
            consumer.subscribe([name])
            subscription = _Subscription(topic, consumer, session, InFlight(), topic.dead_letters in topics)
            async with asyncio.TaskGroup() as tasks:
                polling = tasks.create_task(_poll(subscription, settings.prefetch))
                yield session
                polling.cancel()


@asynccontextmanager
async def _consumer(topic: _Topic) -> AsyncGenerator[AIOKafkaConsumer]:
    """Connect, and leave the group at the end. A new group starts at the oldest record, so that it skips none."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=topic.server,
        group_id=topic.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **topic.options,
    )
    try:
        async with _translated(2 * _CONNECT_SECONDS):
            await _check_login(topic)
            await consumer.start()
        yield consumer
    finally:
        # In a separate task, since the library cancels its caller while it stops.
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS), asyncio.TaskGroup() as tasks:
                tasks.create_task(_stop(consumer))


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, OSError):
        await consumer.stop()


async def _check_login(topic: _Topic) -> None:
    """Log in once and disconnect: the consumer reports every failure to connect with the same error."""
    connection = await create_conn(topic.address.host, topic.address.port, **topic.options)
    connection.close()


async def _poll(subscription: _Subscription, count: int) -> None:
    session = subscription.session
    while not session.has_ended:
        await subscription.in_flight.wait_until_empty()
        try:
            records = await _fetch(subscription, count)
            if not records:
                await _check_topic(subscription)
        except BrokerUnavailable as error:
            session.end(str(error))
            return
        subscription.in_flight.add(len(records))
        for record in records:
            session.deliver(KafkaDelivery(subscription, record))


async def _fetch(subscription: _Subscription, count: int) -> list[Record]:
    """Return the next records; none if there are none yet, or while the group rebalances."""
    try:
        async with asyncio.timeout(2 * _FETCH_SECONDS):
            found: Mapping[Any, Sequence[Record]] = await subscription.consumer.getmany(
                timeout_ms=int(_FETCH_SECONDS * 1000), max_records=count
            )
    except TimeoutError:
        return []
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(_explain(error)) from error
    return [record for batch in found.values() for record in batch]


async def _check_topic(subscription: _Subscription) -> None:
    """Raise `BrokerUnavailable` if the connection or the topic is gone: the client reports neither by itself."""
    async with _translated(_ANSWER_SECONDS):
        topics: set[str] = await subscription.consumer.topics()
    if subscription.topic.name not in topics:
        raise BrokerUnavailable(_NO_TOPIC)


async def _dead_letter(topic: _Topic, record: Record) -> None:
    """Copy *record* to the dead-letter topic, over a connection of its own, since poison is rare."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=topic.server, acks="all", **topic.options)
    async with _translated(_ANSWER_SECONDS):
        try:
            await producer.start()
            await producer.send_and_wait(topic.dead_letters, record.value, key=record.key, headers=list(record.headers))
        finally:
            await producer.stop()


def _connection_options(address: BrokerAddress) -> dict[str, Any]:
    """Return the client's options for TLS and login."""
    encrypted, login = address.scheme == "kafkas", address.user is not None
    options: dict[str, Any] = {
        "client_id": "image-syncer",
        "request_timeout_ms": int(_ANSWER_SECONDS * 1000),
        "security_protocol": ("SASL_" if login else "") + ("SSL" if encrypted else "PLAINTEXT"),
    }
    if encrypted:
        options["ssl_context"] = ssl.create_default_context(cafile=address.cafile)
    if login:
        options["sasl_mechanism"] = (address.sasl or "plain").upper()
        options["sasl_plain_username"], options["sasl_plain_password"] = address.user, address.password or ""
    return options


def _translated(seconds: float) -> AbstractAsyncContextManager[None]:
    return translated(seconds, (KafkaError,), _explain)


def _explain(error: BaseException) -> str:
    return explain_failure(error, _CAUSES)
