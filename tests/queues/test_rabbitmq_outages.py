"""Unreachable brokers and missing queues: logged, retried, and consumed once they are back."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from queues.consuming import EventStore, consuming, logged_as, until
from queues.test_rabbitmq import has, message, settings
from support.ports import free_port
from support.rabbitmq import PASSWORD, RabbitMQ
from support.rabbitmq_queues import channel_to, make_queue, publish, waiting

pytestmark = pytest.mark.real


async def test_a_missing_queue_is_logged_and_never_created(rabbitmq: RabbitMQ, store: EventStore) -> None:
    """Once it is created, its messages are consumed."""
    async with consuming(settings(rabbitmq, "later"), store.sink) as logged:
        await logged_as(logged, "queue.unreachable", 2)
        async with channel_to(rabbitmq) as channel:
            with pytest.raises(ChannelNotFoundEntity):
                await waiting(channel, "later")
        async with channel_to(rabbitmq) as channel:
            await publish(channel, await make_queue(channel, "later"), message("v1"))
        await until(lambda: has(store, 1))
    assert "the queue does not exist" in logged[0]["error"]
    assert logged[0]["broker"] == rabbitmq.address


async def test_a_queue_that_is_deleted_and_created_again_is_consumed(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """The connection stays open; only the broker's cancellation tells of the deletion."""
    queue = await make_queue(channel)
    async with consuming(settings(rabbitmq, queue), store.sink) as logged:
        await logged_as(logged, "queue.connected")
        await channel.queue_delete(queue)
        await logged_as(logged, "queue.lost")
        await publish(channel, await make_queue(channel, queue), message("v1"))
        await until(lambda: has(store, 1))


async def test_the_second_address_is_used_if_the_first_is_dead(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """Within seconds; the log names the dead one."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    dead = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    async with consuming(settings(rabbitmq, queue, f"amqp://u:p@{dead}/", rabbitmq.url()), store.sink) as logged:
        await until(lambda: has(store, 1))
    assert time.monotonic() - began < 4
    assert [entry["broker"] for entry in logged if "broker" in entry][:2] == [dead, rabbitmq.address]
    assert logged[0]["error"] == "Connection refused"


async def test_a_silent_address_times_out(rabbitmq: RabbitMQ, store: EventStore) -> None:
    """It accepts the connection and sends nothing: the wait is bounded."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, message("v1"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://u:p@127.0.0.1:{silent.getsockname()[1]}/"
        async with consuming(settings(rabbitmq, queue, url, rabbitmq.url()), store.sink) as logged:
            await until(lambda: has(store, 1))
    assert logged[0]["error"] == "timed out"
    assert_no_task_remains()


@pytest.mark.parametrize("recorded", [10, 100])
async def test_nothing_is_lost_when_the_broker_restarts(rabbitmq: RabbitMQ, store: EventStore, recorded: int) -> None:
    """During 100 messages or while idle after them; the current message may be recorded twice."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, *[message(f"before{number}") for number in range(100)])
    async with consuming(settings(rabbitmq, queue), store.sink) as logged:
        await until(lambda: has(store, recorded))
        await asyncio.to_thread(rabbitmq.stop)
        await asyncio.to_thread(rabbitmq.start)
        async with channel_to(rabbitmq) as channel:
            await publish(channel, queue, *[message(f"after{number}") for number in range(50)])
        wanted = {f"before{number}" for number in range(100)} | {f"after{number}" for number in range(50)}

        async def is_complete() -> bool:
            return wanted <= set(await store.tags())

        await until(is_complete, 40)
    async with channel_to(rabbitmq) as channel:
        assert await waiting(channel, queue) == 0
    assert "queue.lost" in {entry["event"] for entry in logged}


@pytest.mark.parametrize("user", ["guest", "unknown"])
async def test_a_refused_login_is_logged_without_the_login(
    rabbitmq: RabbitMQ,
    store: EventStore,
    user: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither our log nor the library's output contains user name or password."""
    url = rabbitmq.url(user, "hunter2")
    async with consuming(settings(rabbitmq, "any", url), store.sink) as logged:
        await logged_as(logged, "queue.unreachable")
    output = repr(logged) + "".join(capfd.readouterr())
    assert logged[0]["error"] == "login refused"
    assert not [secret for secret in ("hunter2", user, PASSWORD) if secret in output]


async def test_tls_certificates_are_verified(rabbitmq: RabbitMQ, store: EventStore, private_ca: Path) -> None:
    """A certificate of the CA that the address names is accepted; without that CA it is untrusted."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, message("v1"))
    urls = (rabbitmq.tls_url(), rabbitmq.tls_url(f"?cafile={private_ca}/ca.pem"))
    async with consuming(settings(rabbitmq, queue, *urls), store.sink) as logged:
        await until(lambda: has(store, 1))
    assert logged[0]["error"] == "untrusted TLS certificate"


async def test_a_stop_ends_the_pause_between_attempts(rabbitmq: RabbitMQ, store: EventStore) -> None:
    """The consumer stops at once."""
    url = f"amqp://u:p@127.0.0.1:{free_port()}/"
    async with consuming(settings(rabbitmq, "any", url), store.sink) as logged:
        await logged_as(logged, "queue.unreachable", 2)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    assert_no_task_remains()


def assert_no_task_remains() -> None:
    """Assert that the library left no task that goes on connecting."""
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
