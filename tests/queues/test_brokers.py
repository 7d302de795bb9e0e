"""NATS JetStream, Redis streams and Kafka, over real servers: the promises that hold for RabbitMQ, too."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from nats.js.client import JetStreamContext
from redis.asyncio import Redis

from image_syncer.config.model import QueueKind, QueueSettings
from queues.consuming import EventStore, consuming, has, logged_as, until
from support.brokers import PASSWORD, Nats, RedisServer, Server
from support.kafka import Kafka, KafkaTopic, MockKafka

MISSING: Final[dict[str, str]] = {
    "nats": "the stream or its consumer does not exist; image-syncer never creates one",
    "redis": "the stream or its group does not exist; image-syncer never creates one",
    "kafka": "the topic does not exist; image-syncer never creates one",
}


class Stream(Protocol):
    """A stream with its consumer or group, as an operator creates and inspects it."""

    kind: QueueKind
    queue: str

    async def publish(self, *bodies: bytes) -> None:
        """Add messages."""
        ...

    async def unsettled(self) -> int:
        """Return the number of unacknowledged messages."""
        ...


class NatsStream:
    """A stream `images` with the consumer `mirror`."""

    kind: QueueKind = "nats"
    queue = "images/mirror"

    def __init__(self, client: Client) -> None:
        self.jetstream: Any = JetStreamContext(client)

    async def make(self) -> None:
        """Create both."""
        await self.jetstream.add_stream(name="images", subjects=["images"])
        await self.jetstream.add_consumer("images", ConsumerConfig(durable_name="mirror", ack_wait=5))

    async def publish(self, *bodies: bytes) -> None:
        """Add messages."""
        for body in bodies:
            await self.jetstream.publish("images", body)

    async def unsettled(self) -> int:
        """Return the number of unacknowledged messages."""
        info = await self.jetstream.consumer_info("images", "mirror")
        return (info.num_pending or 0) + (info.num_ack_pending or 0)


class RedisStream:
    """A stream `images` with the group `mirror`."""

    kind: QueueKind = "redis"
    queue = "images/mirror"

    def __init__(self, client: Redis) -> None:
        self.client: Any = client

    async def make(self) -> None:
        """Create both."""
        await self.client.xgroup_create("images", "mirror", id="0", mkstream=True)

    async def publish(self, *bodies: bytes) -> None:
        """Add messages."""
        for body in bodies:
            await self.client.xadd("images", {"data": body})

    async def unsettled(self) -> int:
        """Return the number of unacknowledged messages."""
        [group] = await self.client.xinfo_groups("images")
        return int(group["pending"]) + int(group["lag"] or 0)

    async def dead(self) -> list[bytes]:
        """Return the dead letters."""
        return [fields[b"data"] for _, fields in await self.client.xrange("images.dead")]


@asynccontextmanager
async def opened(server: Server) -> AsyncGenerator[NatsStream | RedisStream | KafkaTopic]:
    """Connect as an operator."""
    if isinstance(server, Kafka | MockKafka):
        yield KafkaTopic(server)
        return
    if isinstance(server, Nats):
        client = Client()
        address = f"nats://127.0.0.1:{server.port}"
        await client.connect(address, user="syncer", password=PASSWORD, allow_reconnect=False)
        yield NatsStream(client)
        await client.close()
        return
    async with Redis(host="127.0.0.1", port=server.port, password=PASSWORD) as redis:
        yield RedisStream(redis)


@pytest.fixture(params=[Nats, RedisServer, MockKafka, Kafka], ids=["nats", "redis", "librdkafka", "kafka"])
def server(request: pytest.FixtureRequest) -> Generator[Server]:
    """A server for one test."""
    kind: type[Server] = request.param
    if not kind.is_installed():
        pytest.skip(f"{kind.program} is not installed")
    with kind() as started:
        yield started


@pytest.fixture
async def stream(server: Server) -> AsyncGenerator[NatsStream | RedisStream | KafkaTopic]:
    """An existing stream."""
    async with opened(server) as made:
        await made.make()
        yield made


def settings(server: Server, stream: Stream, **changes: Any) -> QueueSettings:
    """Return settings that consume *stream*."""
    wanted: dict[str, Any] = {"urls": (server.url,), "queue": stream.queue, "prefetch": 5} | changes
    return QueueSettings("pushes", stream.kind, **wanted)


def message(tag: str) -> bytes:
    """Return a message about a push of *tag*."""
    return json.dumps({"Name": "registry.example.com/team/app", "Tag": tag}).encode()


async def test_messages_become_events_and_are_acknowledged(server: Server, stream: Stream, store: EventStore) -> None:
    """More than one batch, in order, and none remains."""
    await stream.publish(*(message(f"v{number}") for number in range(12)))
    async with consuming(settings(server, stream), store.sink):
        await until(lambda: has(store, 12))
        await until(lambda: is_settled(stream))
    assert await store.tags() == [f"v{number}" for number in range(12)]


async def test_nothing_is_acknowledged_before_it_is_durable(server: Server, stream: Stream, store: EventStore) -> None:
    """While the state cannot be written, every message stays unacknowledged."""
    await stream.publish(message("v1"), message("v2"))
    with store.locked():
        async with consuming(settings(server, stream), store.sink) as logged:
            await logged_as(logged, "queue.message_postponed")
            assert await stream.unsettled() == 2


async def test_poison_is_rejected_for_good(server: Server, stream: Stream, store: EventStore) -> None:
    """The log has the reason; the next message is consumed. Redis and Kafka keep poison in a dead-letter stream."""
    await stream.publish(b"{", message("v1"))
    async with consuming(settings(server, stream), store.sink) as logged:
        await until(lambda: has(store, 1))
        await until(lambda: is_settled(stream))
    assert [entry["poison"] for entry in logged if entry["event"] == "queue.message_refused"] == ["reject"]
    if isinstance(stream, RedisStream | KafkaTopic):
        assert await stream.dead() == [b"{"]


async def test_poison_is_dropped_if_the_configuration_says_so(
    server: Server, stream: Stream, store: EventStore
) -> None:
    """No dead letter remains."""
    await stream.publish(b"{", message("v1"))
    async with consuming(settings(server, stream, poison="drop"), store.sink):
        await until(lambda: has(store, 1))
        await until(lambda: is_settled(stream))
    if isinstance(stream, RedisStream | KafkaTopic):
        assert await stream.dead() == []


async def test_nothing_is_lost_when_the_server_is_killed_and_comes_back(
    server: Server, stream: Stream, store: EventStore
) -> None:
    """Neither older messages nor new ones; the consumer is not restarted."""
    if isinstance(server, MockKafka):
        pytest.skip("the broker in librdkafka keeps its records in memory")
    await stream.publish(*(message(f"v{number}") for number in range(40)))
    async with consuming(settings(server, stream), store.sink) as logged:
        await until(lambda: has(store, 5))
        server.kill()
        await logged_as(logged, "queue.lost")
        server.start()
        async with opened(server) as reopened:
            await reopened.publish(message("later"))
            await until(lambda: has(store, 41))
            await until(lambda: is_settled(reopened))


async def test_a_missing_stream_is_logged_and_never_created(server: Server, stream: Stream, store: EventStore) -> None:
    """A typo creates no stream."""
    async with consuming(settings(server, stream, queue="imagse/mirror"), store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
    [error, *_] = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert error == MISSING[stream.kind]


async def test_the_next_address_is_used_and_no_login_is_logged(
    server: Server, stream: Stream, store: EventStore
) -> None:
    """The first address is dead, the second has a wrong login."""
    if isinstance(server, MockKafka):
        pytest.skip("the broker in librdkafka asks for no login")
    wrong = server.url.replace(PASSWORD.replace("@", "%40"), "hunter2")
    dead = server.url.replace(str(server.port), "1")
    await stream.publish(message("v1"))
    async with consuming(settings(server, stream, urls=(dead, wrong, server.url)), store.sink) as logged:
        await until(lambda: has(store, 1))
    assert [entry["event"] for entry in logged].count("queue.unreachable") >= 2
    assert not any(secret in str(logged) for secret in ("hunter2", PASSWORD, PASSWORD.replace("@", "%40")))


async def test_an_entry_of_plain_fields_is_a_message(store: EventStore) -> None:
    """`XADD images * Name ... Tag ...`, as typed by hand."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        async with opened(server) as stream:
            await stream.make()
            assert isinstance(stream, RedisStream)
            await stream.client.xadd("images", {"Name": "registry.example.com/app", "Tag": "v1"})
            async with consuming(settings(server, stream), store.sink):
                await until(lambda: has(store, 1))


async def test_entries_of_a_dead_consumer_are_claimed(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that stay pending for long belong to the first consumer that claims them."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    monkeypatch.setattr("image_syncer.queues.redis._ABANDONED_SECONDS", 0.5)
    with RedisServer() as server:
        async with opened(server) as stream:
            await stream.make()
            assert isinstance(stream, RedisStream)
            await stream.publish(message("v1"))
            await stream.client.xreadgroup("mirror", "another", {"images": ">"})
            await asyncio.sleep(0.6)
            async with consuming(settings(server, stream), store.sink):
                await until(lambda: has(store, 1))
                await until(lambda: is_settled(stream))


async def is_settled(stream: Stream) -> bool:
    """Whether everything is acknowledged."""
    return await stream.unsettled() == 0
