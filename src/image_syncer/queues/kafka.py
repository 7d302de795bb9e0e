"""Kafka: a topic that must exist, read as a member of a consumer group, a handful of records at a time.

Kafka keeps a position for each partition instead of an acknowledgement for each record. So records of a partition are
settled in their order, and one that cannot be recorded ends the session: what was not settled is read again.
The client is used directly: FastStream's broker would reconnect by itself, and commits what it has merely read.
"""

# The library has no types of its own.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from socket import gaierror
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
from image_syncer.queues.address import Address
from image_syncer.queues.hand import InFlight
from image_syncer.queues.quiet import quiet
from image_syncer.queues.session import BrokerTrouble, QueueSession

_PORT: Final = 9092
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_FETCH_SECONDS: Final = 5.0
_PHRASES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (AuthenticationFailedError, "it does not take the login"),
    (IllegalSaslStateError, "it asks for no login there"),
    (UnsupportedSaslMechanismError, "it does not take a login in this way"),
    (TopicAuthorizationFailedError, "the login may not read the topic"),
    (GroupAuthorizationFailedError, "the login may not use the group"),
    (TimeoutError, "no answer in time"),
    (gaierror, "its name does not exist"),
    (ssl.SSLCertVerificationError, "its certificate cannot be trusted"),
    (ssl.SSLError, "TLS is not spoken there"),
    (FileNotFoundError, "the file of its CA does not exist"),
)
_NO_TOPIC: Final = "the topic does not exist; it is never made here"


class Record(Protocol):
    """What the client gives us of a record."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A *topic*, the *group* that reads it, and how the brokers are reached."""

    topic: str
    group: str
    address: Address
    ways: dict[str, Any] = field(repr=False)

    @property
    def dead_letters(self) -> str:
        """The topic of what nobody can do; it is used where it exists."""
        return f"{self.topic}.dead"

    @property
    def server(self) -> str:
        """The broker that tells of the others."""
        return self.address.without_login.partition("//")[2]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What reads a topic now; *buries*: there is a topic for dead letters."""

    place: _Place
    consumer: AIOKafkaConsumer
    session: QueueSession
    hand: InFlight
    buries: bool


class KafkaDelivery:
    """A record of a partition."""

    def __init__(self, reading: _Reading, record: Record) -> None:
        self._reading = reading
        self._record = record

    @property
    def body(self) -> bytes:
        """What it says."""
        return self._record.value or b""

    async def ack(self) -> None:
        """Settle it, and all before it in its partition: these were settled already."""
        partition = TopicPartition(self._record.topic, self._record.partition)
        async with _translated(_ANSWER_SECONDS):
            await self._reading.consumer.commit({partition: OffsetAndMetadata(self._record.offset + 1, "")})
        self._reading.hand.put_down()

    async def give_back(self) -> None:
        """End the session: a later record of the partition would settle this one with it."""
        self._reading.session.end("a record could not be written down; it is read again")

    async def reject(self) -> None:
        """Settle it: it is copied to the topic of the same name that ends in `.dead`, where there is one."""
        if self._reading.buries:
            await _bury(self._reading.place, self._record)
        await self.ack()


@asynccontextmanager
async def open_session(url: str, settings: QueueSettings) -> AsyncGenerator[QueueSession]:
    """Connect to *url* and read the topic; `BrokerTrouble` if that fails."""
    topic, _, group = settings.queue.rpartition("/")
    address, session = Address.parse(url, port=_PORT), QueueSession()
    with quiet("aiokafka"):
        async with _translated(_ANSWER_SECONDS):
            place = _Place(topic, group, address, _ways(address))
        async with _consumer(place) as consumer:
            async with _translated(2 * _CONNECT_SECONDS):
                topics: set[str] = await consumer.topics()
            if topic not in topics:
                raise BrokerTrouble(_NO_TOPIC)
            consumer.subscribe([topic])
            reading = _Reading(place, consumer, session, InFlight(), place.dead_letters in topics)
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(_pump(reading, settings.prefetch))
                yield session
                pump.cancel()


@asynccontextmanager
async def _consumer(place: _Place) -> AsyncGenerator[AIOKafkaConsumer]:
    """Connect, and leave the group in the end. A new group begins with the oldest record, so none is passed over."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=place.server,
        group_id=place.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **place.ways,
    )
    try:
        async with _translated(2 * _CONNECT_SECONDS):
            await _greet(place)
            await consumer.start()
        yield consumer
    finally:
        # In a task of its own: what the library cancels while it stops would otherwise cancel us.
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS), asyncio.TaskGroup() as tasks:
                tasks.create_task(_leave(consumer))


async def _leave(consumer: AIOKafkaConsumer) -> None:
    with suppress(KafkaError, OSError):
        await consumer.stop()


async def _greet(place: _Place) -> None:
    """Log in once and go: the client itself would only say that it could not connect, whatever the reason."""
    connection = await create_conn(place.address.host, place.address.port, **place.ways)
    connection.close()


async def _pump(reading: _Reading, count: int) -> None:
    session = reading.session
    while not session.has_ended:
        await reading.hand.empty()
        try:
            records = await _fetch(reading, count)
            if not records:
                await _look_after(reading)
        except BrokerTrouble as error:
            session.end(str(error))
            return
        reading.hand.take(len(records))
        for record in records:
            session.deliver(KafkaDelivery(reading, record))


async def _fetch(reading: _Reading, count: int) -> list[Record]:
    """Return the next records, none where there are none now, or where the group is being arranged anew."""
    try:
        async with asyncio.timeout(2 * _FETCH_SECONDS):
            found: Mapping[Any, Sequence[Record]] = await reading.consumer.getmany(
                timeout_ms=int(_FETCH_SECONDS * 1000), max_records=count
            )
    except TimeoutError:
        return []
    except (KafkaError, OSError) as error:
        raise BrokerTrouble(_phrase(error)) from error
    return [record for batch in found.values() for record in batch]


async def _look_after(reading: _Reading) -> None:
    """Ask for the topics: there was nothing to read, and of a lost connection or topic the client does not tell."""
    async with _translated(_ANSWER_SECONDS):
        topics: set[str] = await reading.consumer.topics()
    if reading.place.topic not in topics:
        raise BrokerTrouble(_NO_TOPIC)


async def _bury(place: _Place, record: Record) -> None:
    """Copy *record* to the topic of dead letters. Poison is rare, so the connection is made for it alone."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=place.server, acks="all", **place.ways)
    async with _translated(_ANSWER_SECONDS):
        try:
            await producer.start()
            await producer.send_and_wait(place.dead_letters, record.value, key=record.key, headers=list(record.headers))
        finally:
            await producer.stop()


def _ways(address: Address) -> dict[str, Any]:
    """Return how the brokers are reached: with TLS or without, and with which login."""
    encrypted, login = address.scheme == "kafkas", address.user is not None
    ways: dict[str, Any] = {
        "client_id": "image-syncer",
        "request_timeout_ms": int(_ANSWER_SECONDS * 1000),
        "security_protocol": ("SASL_" if login else "") + ("SSL" if encrypted else "PLAINTEXT"),
    }
    if encrypted:
        ways["ssl_context"] = ssl.create_default_context(cafile=address.cafile)
    if login:
        ways["sasl_mechanism"] = (address.sasl or "plain").upper()
        ways["sasl_plain_username"], ways["sasl_plain_password"] = address.user, address.password or ""
    return ways


@asynccontextmanager
async def _translated(seconds: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerTrouble(_phrase(error)) from error


def _phrase(error: BaseException) -> str:
    """Return what happened, in our words: the library's may hold the address."""
    known = next((text for kind, text in _PHRASES if isinstance(error, kind)), None)
    return known or f"the connection failed ({type(error).__name__})"
