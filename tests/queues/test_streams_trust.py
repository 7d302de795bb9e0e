"""What NATS and Redis are trusted with, over real servers: logins, certificates, and consumers that lose nothing."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faststream.redis import RedisBroker
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from image_syncer.config.model import QueueSettings
from queues.listening import Desk, has, listening, logged_as, until
from queues.test_streams import NatsStream, RedisStream, is_settled, message, opened, settings
from support.brokers import PASSWORD, Nats, RedisServer

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
    nats: Nats, images: NatsStream, desk: Desk, config: ConsumerConfig
) -> None:
    """None settles what is only sent, and all settles what came before; nothing of it is taken."""
    await images.jetstream.add_consumer("images", config)
    await images.publish(message("v1"))
    async with listening(settings(nats, images), desk.inbox) as logged:
        await logged_as(logged, "queue.unreachable")
    assert "--pull --ack explicit" in logged[0]["error"]
    assert (await desk.tags(), await images.unsettled()) == ([], 1)


async def test_a_consumer_that_is_deleted_is_missed(nats: Nats, images: NatsStream, desk: Desk) -> None:
    """The server does not tell who waits; once it is there again its messages are taken."""
    mirror = ConsumerConfig(durable_name="mirror")
    await images.jetstream.add_consumer("images", mirror)
    async with listening(settings(nats, images), desk.inbox) as logged:
        await logged_as(logged, "queue.connected")
        await images.jetstream.delete_consumer("images", "mirror")
        await logged_as(logged, "queue.lost")
        await images.jetstream.add_consumer("images", mirror)
        await images.publish(message("v1"))
        await until(lambda: has(desk, 1))


async def test_what_waited_at_the_stop_goes_back(nats: Nats, images: NatsStream, desk: Desk) -> None:
    """It comes again after a rest of ten seconds, although the consumer would wait for an hour."""
    await images.jetstream.add_consumer("images", ConsumerConfig(durable_name="mirror", ack_wait=3600))
    await images.publish(message("v1"), message("v2"))
    with desk.locked():
        async with listening(settings(nats, images), desk.inbox) as logged:
            await logged_as(logged, "queue.message_postponed")
    async with listening(settings(nats, images), desk.inbox):
        await until(lambda: has(desk, 2))
        await until(lambda: is_settled(images))


async def test_a_login_is_not_told_to_a_server_without_tls(desk: Desk) -> None:
    """The address asks for TLS, and the server does not offer it: the client by itself would go on in the clear."""
    told: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"a","version":"2.9.10","proto":1,"max_payload":1024,"auth_required":true}\r\n')
        told.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        urls = (f"tls://{_LOGIN}@127.0.0.1:{port}", f"tls://{PASSWORD.replace('@', '%40')}@127.0.0.1:{port}")
        async with listening(QueueSettings("pushes", "nats", urls, "images/mirror"), desk.inbox) as logged:
            await logged_as(logged, "queue.unreachable", 2)
    assert {entry["error"] for entry in logged if entry["event"] == "queue.unreachable"} == {"TLS is not spoken there"}
    assert set(told) == {b""}


async def test_a_token_is_a_login(desk: Desk) -> None:
    """It stands in the place of a user, as NATS writes it."""
    if not Nats.is_installed():
        pytest.skip("nats-server is not installed")

    class Guarded(Nats):
        def arguments(self, folder: Path) -> list[str]:
            return ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder), "--auth", "t0ken"]

    with Guarded() as server:
        url = f"nats://t0ken@127.0.0.1:{server.port}"
        async with _with_message(url) as stream, listening(settings(server, stream, urls=(url,)), desk.inbox):
            await until(lambda: has(desk, 1))


async def test_nats_is_believed_by_the_ca_that_is_named(desk: Desk, private_ca: Path) -> None:
    """And not without it."""
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
        async with listening(settings(server, NatsStream(Client()), urls=urls), desk.inbox) as logged:
            await logged_as(logged, "queue.unreachable", 3)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:3] == [
        "its certificate cannot be trusted",
        "the file of its CA does not exist",
        "the stream or its consumer does not exist; neither is ever made here",
    ]


async def test_redis_is_believed_by_the_ca_that_is_named(desk: Desk, private_ca: Path) -> None:
    """And not without it."""
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
        async with listening(wanted, desk.inbox) as logged:
            await logged_as(logged, "queue.unreachable", 2)
    errors = [entry["error"] for entry in logged if entry["event"] == "queue.unreachable"]
    assert errors[:2] == [
        "the connection failed (ConnectionError)",
        "the stream or its group does not exist; neither is ever made here",
    ]


async def test_what_faststream_publishes_is_a_message(desk: Desk) -> None:
    """Its envelope is binary, and says where the body begins. One that is cut off is poison."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        async with opened(server) as stream:
            assert isinstance(stream, RedisStream)
            await stream.make()
            await stream.client.xadd("images", {"__data__": b"\x89BIN\r\n\x1a\n\x00"})
            async with RedisBroker(server.url) as broker:
                await broker.publish({"Name": "registry.example.com/app", "Tag": "v1"}, stream="images")
            async with listening(settings(server, stream), desk.inbox) as logged:
                await until(lambda: has(desk, 1))
                await until(lambda: is_settled(stream))
    assert [entry["event"] for entry in logged].count("queue.message_refused") == 1


async def test_a_key_that_is_no_stream_is_said(desk: Desk) -> None:
    """In words that tell what to look at."""
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        async with opened(server) as stream:
            assert isinstance(stream, RedisStream)
            await stream.client.set("images", "a text")
            async with listening(settings(server, stream), desk.inbox) as logged:
                await logged_as(logged, "queue.unreachable")
    assert logged[0]["error"] == "what has the name of the stream is none"


@asynccontextmanager
async def _with_message(url: str) -> AsyncGenerator[NatsStream]:
    client = Client()
    await client.connect(url, allow_reconnect=False)
    stream = NatsStream(client)
    await stream.make()
    await stream.publish(message("v1"))
    yield stream
    await client.close()
