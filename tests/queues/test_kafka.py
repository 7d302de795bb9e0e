"""Kafka alone, over the broker in librdkafka; `test_brokers` has the tests that all brokers share."""

# The library has no types of its own.
# pyright: reportMissingTypeStubs=false

import asyncio
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from image_syncer.config.model import QueueSettings
from queues.consuming import EventStore, consuming, has, logged_as, until
from queues.test_brokers import is_settled, message, settings
from support.kafka import KafkaTopic, MockKafka


@pytest.fixture
def broker() -> Generator[MockKafka]:
    """A broker for one test."""
    with MockKafka() as started:
        yield started


@pytest.fixture
async def topic(broker: MockKafka) -> KafkaTopic:
    """An existing topic."""
    made = KafkaTopic(broker)
    await made.make()
    return made


async def test_a_record_that_cannot_be_stored_is_read_again_before_the_next_one(
    broker: MockKafka, topic: KafkaTopic, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committing the next record would settle this one too, so the session ends; the order is kept."""
    monkeypatch.setattr("image_syncer.queues.consumer._RECORD_ATTEMPTS", 1)
    await topic.publish(message("v1"), message("v2"))
    async with consuming(settings(broker, topic), store.sink) as logged:
        with store.locked():
            await logged_as(logged, "queue.lost")
            assert await topic.unsettled() == 2
        await until(lambda: has(store, 2))
        await until(lambda: is_settled(topic))
    assert list(dict.fromkeys(await store.tags())) == ["v1", "v2"]
    assert {entry["error"] for entry in logged if entry["event"] == "queue.lost"} == {
        "a record could not be stored; it will be read again"
    }


async def test_a_lost_broker_is_noticed(broker: MockKafka, topic: KafkaTopic, store: EventStore) -> None:
    """The client alone would retry silently; the consumer switches to the next address."""
    with MockKafka() as other:
        there = KafkaTopic(other)
        await there.make()
        await there.publish(message("v2"))
        await topic.publish(message("v1"))
        async with consuming(settings(broker, topic, urls=(broker.url, other.url)), store.sink) as logged:
            await until(lambda: has(store, 1))
            broker.kill()
            await logged_as(logged, "queue.lost")
            await until(lambda: has(store, 2))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_compressed_records_are_read(broker: MockKafka, topic: KafkaTopic, store: EventStore, codec: str) -> None:
    """The producer chooses the codec."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{broker.port}", compression_type=codec)
    async with producer, consuming(settings(broker, topic), store.sink):
        await producer.send_and_wait("images", message("v1"))
        await until(lambda: has(store, 1))


async def test_a_record_without_a_value_is_poison(broker: MockKafka, topic: KafkaTopic, store: EventStore) -> None:
    """A tombstone names no image. Without a dead-letter topic it is dropped, and the next record is consumed."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{broker.port}")
    async with producer:
        await producer.send_and_wait("images", None, key=b"app", partition=0)
    await topic.publish(message("v1"))
    async with consuming(settings(broker, topic), store.sink) as logged:
        await until(lambda: has(store, 1))
        await until(lambda: is_settled(topic))
    assert [entry["event"] for entry in logged].count("queue.message_refused") == 1


async def test_a_certificate_is_verified_with_the_named_ca(store: EventStore, private_ca: Path) -> None:
    """Without the CA it is untrusted. The trusted server here is no broker and hangs up."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(private_ca / "server.pem", private_ca / "server.key")
    async with _listener(context) as (port, received):
        plain = f"kafkas://syncer:hunter2@127.0.0.1:{port}"
        urls = (plain, f"{plain}?cafile={private_ca}/none.pem", f"{plain}?cafile={private_ca}/ca.pem")
        async with consuming(QueueSettings("pushes", "kafka", urls, "images/mirror"), store.sink) as logged:
            await logged_as(logged, "queue.unreachable", 3)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:2] == ["untrusted TLS certificate", "the CA file (cafile) does not exist"]
    assert errors[2].startswith("the connection failed")
    assert not any(b"hunter2" in data for data in received)


async def test_a_login_is_not_sent_to_a_server_without_tls(store: EventStore) -> None:
    """The address requires TLS."""
    async with _listener(None) as (port, received):
        url = f"kafkas://syncer:hunter2@127.0.0.1:{port}"
        async with consuming(QueueSettings("pushes", "kafka", (url,), "images/mirror"), store.sink) as logged:
            await logged_as(logged, "queue.unreachable")
    assert received
    assert not any(b"hunter2" in data for data in received)
    assert "hunter2" not in str(logged)


@asynccontextmanager
async def _listener(context: ssl.SSLContext | None) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Accept connections, keep the first bytes of each, and close it."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", ssl=context) as server:
        yield server.sockets[0].getsockname()[1], received
