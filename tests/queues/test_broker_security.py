"""NATS and Redis over real servers: logins, certificates, refused consumer policies, FastStream's envelope."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from image_syncer.config.model import QueueSettings
from queues.consuming import EventStore, consuming, has, logged_as, until
from queues.test_brokers import NatsStream, RedisStream, is_settled, message, opened, settings
from support.brokers import PASSWORD, Nats, RedisServer

# Recorded from `RedisBroker.publish({"Name": ..., "Tag": ...}, stream=...)` of FastStream 0.7.8.
_FASTSTREAM_ENVELOPE = (
    b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\x12\x00\x00\x00j\x00\x02\x00\x0ecorrelation_id\x00$"
    b"d3b07384-d9a0-4c9b-8f3e-2f1f3a1c9d10\x00\x0ccontent-type\x00\x10application/json"
    b'{"Name": "registry.example.com/app", "Tag": "v1"}'
)
_LOGIN = f"syncer:{PASSWORD.replace('@', '%40')}"


@pytest.fixture
def nats() -> Generator[Nats]:
    """A server of the test's own."""
    if not Nats.is_installed():
        pytest.skip("nats-server is not installed")
    with Nats() as started:
        yield started


@pytest.fixture
async def images(nats: Nats) -> AsyncGenerator[NatsStream]:
    """A stream without a consumer."""
    async with opened(nats) as stream:
        assert isinstance(stream, NatsStream)
        await stream.jetstream.add_stream(name="images", subjects=["images"])
        yield stream


@pytest.mark.parametrize(
    "config",
    [
        ConsumerConfig(durable_name="mirror", ack_policy=AckPolicy.NONE),
        ConsumerConfig(durable_name="mirror", ack_policy=AckPolicy.ALL),
        ConsumerConfig(durable_name="mirror", ack_policy=AckPolicy.EXPLICIT, deliver_subject="elsewhere"),
    ],
    ids=["none", "all", "push"],
)
async def test_a_consumer_that_would_lose_messages_is_refused(
    nats: Nats, images: NatsStream, store: EventStore, config: ConsumerConfig
) -> None:
    """`none` settles on delivery, `all` settles earlier messages too: no message is consumed."""
    await images.jetstream.add_consumer("images", config)
    await images.publish(message("v1"))
    async with consuming(settings(nats, images), store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
    assert "--pull --ack explicit" in logged[0]["error"]
    assert (await store.tags(), await images.unsettled()) == ([], 1)


async def test_a_deleted_consumer_is_noticed(nats: Nats, images: NatsStream, store: EventStore) -> None:
    """The server does not report it. Once the consumer exists again, its messages are consumed."""
    mirror = ConsumerConfig(durable_name="mirror")
    await images.jetstream.add_consumer("images", mirror)
    async with consuming(settings(nats, images), store.sink) as logged:
        await logged_as(logged, "queue.connected")
        await images.jetstream.delete_consumer("images", "mirror")
        await logged_as(logged, "queue.lost")
        await images.jetstream.add_consumer("images", mirror)
        await images.publish(message("v1"))
        await until(lambda: has(store, 1))


async def test_unhandled_messages_are_given_back_at_the_stop(nats: Nats, images: NatsStream, store: EventStore) -> None:
    """They return after ten seconds, although the consumer's `ack_wait` is an hour."""
    await images.jetstream.add_consumer("images", ConsumerConfig(durable_name="mirror", ack_wait=3600))
    await images.publish(message("v1"), message("v2"))
    with store.locked():
        async with consuming(settings(nats, images), store.sink) as logged:
            await logged_as(logged, "queue.message_postponed")
    async with consuming(settings(nats, images), store.sink):
        await until(lambda: has(store, 2))
        await until(lambda: is_settled(images))


async def test_a_login_is_not_sent_to_a_server_without_tls(store: EventStore) -> None:
    """The address requires TLS and the server offers none: the client alone would continue in plain text."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"a","version":"2.9.10","proto":1,"max_payload":1024,"auth_required":true}\r\n')
        received.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        urls = (f"tls://{_LOGIN}@127.0.0.1:{port}", f"tls://{PASSWORD.replace('@', '%40')}@127.0.0.1:{port}")
        async with consuming(QueueSettings("pushes", "nats", urls, "images/mirror"), store.sink) as logged:
            await logged_as(logged, "queue.unreachable", 2)
    assert {entry["error"] for entry in logged if entry["event"] == "queue.unreachable"} == {
        "the server does not speak TLS"
    }
    assert set(received) == {b""}


async def test_a_token_logs_in(store: EventStore) -> None:
    """It takes the place of the user, as in NATS URLs."""
    if not Nats.is_installed():
        pytest.skip("nats-server is not installed")

    class Guarded(Nats):
        def arguments(self, folder: Path) -> list[str]:
            return ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder), "--auth", "t0ken"]

    with Guarded() as server:
        url = f"nats://t0ken@127.0.0.1:{server.port}"
        async with _with_message(url) as stream, consuming(settings(server, stream, urls=(url,)), store.sink):
            await until(lambda: has(store, 1))


async def test_the_certificate_of_nats_is_verified_with_the_named_ca(store: EventStore, private_ca: Path) -> None:
    """Without the CA it is untrusted."""
    if not Nats.is_installed():
        pytest.skip("nats-server is not installed")
    (private_ca / "nats.conf").write_text(
        f'tls {{ cert_file: "{private_ca}/server.pem", key_file: "{private_ca}/server.key" }}', encoding="utf-8"
    )

    class Guarded(Nats):
        def arguments(self, folder: Path) -> list[str]:
            return [*super().arguments(folder), "-c", f"{private_ca}/nats.conf"]

    with Guarded() as server:
        plain = server.url.replace("nats:", "tls:")
        urls = (plain, f"{plain}?cafile={private_ca}/none.pem", f"{plain}?cafile={private_ca}/ca.pem")
        async with consuming(settings(server, NatsStream(Client()), urls=urls), store.sink) as logged:
            await logged_as(logged, "queue.unreachable", 3)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:3] == [
        "untrusted TLS certificate",
        "the CA file (cafile) does not exist",
        "the stream or its consumer does not exist; image-syncer never creates one",
    ]


async def test_the_certificate_of_redis_is_verified_with_the_named_ca(store: EventStore, private_ca: Path) -> None:
    """Without the CA it is untrusted."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")

    class Guarded(RedisServer):
        def arguments(self, folder: Path) -> list[str]:
            files = ["--tls-cert-file", f"{private_ca}/server.pem", "--tls-key-file", f"{private_ca}/server.key"]
            tls = ["--tls-port", str(self.port), "--tls-auth-clients", "no", *files]
            return [*super().arguments(folder), "--port", "0", *tls, "--tls-ca-cert-file", f"{private_ca}/ca.pem"]

    with Guarded() as server:
        plain = server.url.replace("redis:", "rediss:")
        urls = (plain, f"{plain}?cafile={private_ca}/ca.pem")
        wanted = settings(server, RedisStream(None), urls=urls)  # pyright: ignore[reportArgumentType] - only its names
        async with consuming(wanted, store.sink) as logged:
            await logged_as(logged, "queue.unreachable", 2)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:2] == [
        "the connection failed (ConnectionError)",
        "the stream or its group does not exist; image-syncer never creates one",
    ]


async def test_an_envelope_of_faststream_is_read(store: EventStore) -> None:
    """Its binary header holds the offset of the body. A truncated envelope is poison."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        async with opened(server) as stream:
            assert isinstance(stream, RedisStream)
            await stream.make()
            await stream.client.xadd("images", {"__data__": b"\x89BIN\r\n\x1a\n\x00"})
            await stream.client.xadd("images", {"__data__": _FASTSTREAM_ENVELOPE})
            async with consuming(settings(server, stream), store.sink) as logged:
                await until(lambda: has(store, 1))
                await until(lambda: is_settled(stream))
    assert [entry["event"] for entry in logged].count("queue.message_refused") == 1


async def test_a_key_that_is_no_stream_is_logged(store: EventStore) -> None:
    """The error says what to check."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        async with opened(server) as stream:
            assert isinstance(stream, RedisStream)
            await stream.client.set("images", "a text")
            async with consuming(settings(server, stream), store.sink) as logged:
                await logged_as(logged, "queue.unreachable")
    assert logged[0]["error"] == "the key is not a stream"


@asynccontextmanager
async def _with_message(url: str) -> AsyncGenerator[NatsStream]:
    client = Client()
    await client.connect(url, allow_reconnect=False)
    stream = NatsStream(client)
    await stream.make()
    await stream.publish(message("v1"))
    yield stream
    await client.close()
