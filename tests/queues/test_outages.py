"""Brokers that are not there, and queues that are not: said, waited for, and overcome."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity

from queues.listening import Desk, listening, logged_as, until
from queues.test_listening import has, message, settings
from support.ports import free_port
from support.rabbitmq import PASSWORD, RabbitMQ
from support.rabbitmq_queues import channel_to, make_queue, publish, waiting

pytestmark = pytest.mark.real


async def test_a_missing_queue_is_said_and_never_made(rabbitmq: RabbitMQ, desk: Desk) -> None:
    """Whoever makes it later finds us waiting."""
    async with listening(settings(rabbitmq, "later"), desk.inbox) as logged:
        await logged_as(logged, "queue.unreachable", 2)
        async with channel_to(rabbitmq) as channel:
            with pytest.raises(ChannelNotFoundEntity):
                await waiting(channel, "later")
        async with channel_to(rabbitmq) as channel:
            await publish(channel, await make_queue(channel, "later"), message("v1"))
        await until(lambda: has(desk, 1))
    assert "the queue does not exist" in logged[0]["error"]
    assert logged[0]["broker"] == rabbitmq.address


async def test_a_queue_that_is_deleted_and_made_again_is_found(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """The connection stays up then, so only the broker's word tells it."""
    queue = await make_queue(channel)
    async with listening(settings(rabbitmq, queue), desk.inbox) as logged:
        await logged_as(logged, "queue.connected")
        await channel.queue_delete(queue)
        await logged_as(logged, "queue.lost")
        await publish(channel, await make_queue(channel, queue), message("v1"))
        await until(lambda: has(desk, 1))


async def test_the_second_address_is_used_where_the_first_is_dead(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """At once, and with the dead one named."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    dead = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    async with listening(settings(rabbitmq, queue, f"amqp://u:p@{dead}/", rabbitmq.url()), desk.inbox) as logged:
        await until(lambda: has(desk, 1))
    assert time.monotonic() - began < 4
    assert [entry["broker"] for entry in logged if "broker" in entry][:2] == [dead, rabbitmq.address]
    assert logged[0]["error"] == "Connection refused"


async def test_an_address_that_never_answers_is_left(rabbitmq: RabbitMQ, desk: Desk) -> None:
    """It takes the connection and says nothing: the wait for it has a bound."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, message("v1"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://u:p@127.0.0.1:{silent.getsockname()[1]}/"
        async with listening(settings(rabbitmq, queue, url, rabbitmq.url()), desk.inbox) as logged:
            await until(lambda: has(desk, 1))
    assert logged[0]["error"] == "no answer in time"
    assert_no_task_is_left()


@pytest.mark.parametrize("recorded", [10, 100])
async def test_nothing_is_lost_when_the_broker_restarts(rabbitmq: RabbitMQ, desk: Desk, recorded: int) -> None:
    """In the middle of 100 messages or in the idle time after them; what was in hand may be recorded twice."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, *[message(f"before{number}") for number in range(100)])
    async with listening(settings(rabbitmq, queue), desk.inbox) as logged:
        await until(lambda: has(desk, recorded))
        await asyncio.to_thread(rabbitmq.stop)
        await asyncio.to_thread(rabbitmq.start)
        async with channel_to(rabbitmq) as channel:
            await publish(channel, queue, *[message(f"after{number}") for number in range(50)])
        wanted = {f"before{number}" for number in range(100)} | {f"after{number}" for number in range(50)}

        async def is_complete() -> bool:
            return wanted <= set(await desk.tags())

        await until(is_complete, 40)
    async with channel_to(rabbitmq) as channel:
        assert await waiting(channel, queue) == 0
    assert "queue.lost" in {entry["event"] for entry in logged}


@pytest.mark.parametrize("user", ["guest", "nobody-knows"])
async def test_a_refused_login_is_said_without_it(
    rabbitmq: RabbitMQ,
    desk: Desk,
    user: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither our log nor the library's on stderr has the name or the password."""
    url = rabbitmq.url(user, "hunter2")
    async with listening(settings(rabbitmq, "any", url), desk.inbox) as logged:
        await logged_as(logged, "queue.unreachable")
    said = repr(logged) + "".join(capfd.readouterr())
    assert logged[0]["error"] == "it does not take the login"
    assert not [secret for secret in ("hunter2", user, PASSWORD) if secret in said]


async def test_tls_is_checked(rabbitmq: RabbitMQ, desk: Desk, private_ca: Path) -> None:
    """A certificate of an authority that the address names is taken, one of nobody we know is not."""
    async with channel_to(rabbitmq) as channel:
        queue = await make_queue(channel)
        await publish(channel, queue, message("v1"))
    urls = (rabbitmq.tls_url(), rabbitmq.tls_url(f"?cafile={private_ca}/ca.pem"))
    async with listening(settings(rabbitmq, queue, *urls), desk.inbox) as logged:
        await until(lambda: has(desk, 1))
    assert logged[0]["error"] == "its certificate cannot be trusted"


async def test_a_stop_ends_the_search_for_a_broker(rabbitmq: RabbitMQ, desk: Desk) -> None:
    """Nobody waits for the rest between two tries."""
    url = f"amqp://u:p@127.0.0.1:{free_port()}/"
    async with listening(settings(rabbitmq, "any", url), desk.inbox) as logged:
        await logged_as(logged, "queue.unreachable", 2)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    assert_no_task_is_left()


def assert_no_task_is_left() -> None:
    """The library ends with us: a task of its own would go on connecting."""
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
