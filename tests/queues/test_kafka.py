"""What is Kafka's own, over the broker in librdkafka; what all brokers share is in `test_streams`."""

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
from queues.listening import Desk, has, listening, logged_as, until
from queues.test_streams import is_settled, message, settings
from support.kafka import KafkaTopic, MockKafka


@pytest.fixture
def broker() -> Generator[MockKafka]:
    """A broker of the test's own."""
    with MockKafka() as started:
        yield started


@pytest.fixture
async def topic(broker: MockKafka) -> KafkaTopic:
    """A topic that is there."""
    made = KafkaTopic(broker)
    await made.make()
    return made


async def test_what_cannot_be_written_down_is_read_again_before_what_follows(
    broker: MockKafka, topic: KafkaTopic, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position of a partition would settle it with the next record, so the session ends; the order stays."""
    monkeypatch.setattr("image_syncer.queues.consumer._TRIES_IN_HAND", 1)
    await topic.publish(message("v1"), message("v2"))
    async with listening(settings(broker, topic), desk.inbox) as logged:
        with desk.locked():
            await logged_as(logged, "queue.lost")
            assert await topic.unsettled() == 2
        await until(lambda: has(desk, 2))
        await until(lambda: is_settled(topic))
    assert list(dict.fromkeys(await desk.tags())) == ["v1", "v2"]
    assert {entry["error"] for entry in logged if entry["event"] == "queue.lost"} == {
        "a record could not be written down; it is read again"
    }


async def test_a_broker_that_goes_away_is_missed(broker: MockKafka, topic: KafkaTopic, desk: Desk) -> None:
    """The client would try it for ever without a word; here the next address is taken."""
    with MockKafka() as other:
        there = KafkaTopic(other)
        await there.make()
        await there.publish(message("v2"))
        await topic.publish(message("v1"))
        async with listening(settings(broker, topic, urls=(broker.url, other.url)), desk.inbox) as logged:
            await until(lambda: has(desk, 1))
            broker.kill()
            await logged_as(logged, "queue.lost")
            await until(lambda: has(desk, 2))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_compressed_records_are_read(broker: MockKafka, topic: KafkaTopic, desk: Desk, codec: str) -> None:
    """Whatever the producers of the topic chose."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{broker.port}", compression_type=codec)
    async with producer, listening(settings(broker, topic), desk.inbox):
        await producer.send_and_wait("images", message("v1"))
        await until(lambda: has(desk, 1))


async def test_a_record_without_a_value_is_poison(broker: MockKafka, topic: KafkaTopic, desk: Desk) -> None:
    """A tombstone says nothing of an image; what is behind it is taken, and without a topic for it it is gone."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{broker.port}")
    async with producer:
        await producer.send_and_wait("images", None, key=b"app", partition=0)
    await topic.publish(message("v1"))
    async with listening(settings(broker, topic), desk.inbox) as logged:
        await until(lambda: has(desk, 1))
        await until(lambda: is_settled(topic))
    assert [entry["event"] for entry in logged].count("queue.message_refused") == 1


async def test_a_certificate_is_believed_by_the_ca_that_is_named(desk: Desk, private_ca: Path) -> None:
    """And not without it; whoever is believed here is no broker, and hangs up."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(private_ca / "server.pem", private_ca / "server.key")
    async with _listener(context) as (port, told):
        plain = f"kafkas://syncer:hunter2@127.0.0.1:{port}"
        urls = (plain, f"{plain}?cafile={private_ca}/none.pem", f"{plain}?cafile={private_ca}/ca.pem")
        async with listening(QueueSettings("pushes", "kafka", urls, "images/mirror"), desk.inbox) as logged:
            await logged_as(logged, "queue.unreachable", 3)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:2] == ["its certificate cannot be trusted", "the file of its CA does not exist"]
    assert errors[2].startswith("the connection failed")
    assert not any(b"hunter2" in said for said in told)


async def test_a_login_is_not_told_to_a_server_without_tls(desk: Desk) -> None:
    """The address asks for TLS."""
    async with _listener(None) as (port, told):
        url = f"kafkas://syncer:hunter2@127.0.0.1:{port}"
        async with listening(QueueSettings("pushes", "kafka", (url,), "images/mirror"), desk.inbox) as logged:
            await logged_as(logged, "queue.unreachable")
    assert told
    assert not any(b"hunter2" in said for said in told)
    assert "hunter2" not in str(logged)


@asynccontextmanager
async def _listener(context: ssl.SSLContext | None) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Serve connections that are closed after the first words, which are kept."""
    told: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", ssl=context) as server:
        yield server.sockets[0].getsockname()[1], told
