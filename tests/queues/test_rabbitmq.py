"""Messages of a real RabbitMQ: recorded first, acknowledged afterwards, never lost in between."""

import asyncio

import pytest
from aio_pika.abc import AbstractChannel

from image_syncer.config.model import QueueSettings
from image_syncer.state import open_state
from queues.consuming import EventStore, consuming, has, logged_as, make_store, until
from support.rabbitmq import READER, RabbitMQ
from support.rabbitmq_queues import make_queue, publish, take, waiting

pytestmark = pytest.mark.real


def message(tag: str, name: str = "registry.example.com/team/app") -> bytes:
    """Return a message about a push of *tag*."""
    return f'{{"Name": "{name}", "Tag": "{tag}"}}'.encode()


def settings(node: RabbitMQ, queue: str, *urls: str, **more: object) -> QueueSettings:
    """Return settings that consume *queue*."""
    values = {"prefetch": 16, "poison": "reject"} | more
    return QueueSettings("pushes", "rabbitmq", urls or (node.url(),), queue, **values)  # pyright: ignore[reportArgumentType] - a dictionary of keyword arguments


async def test_a_message_becomes_an_event_and_leaves_the_queue(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """Keys in any case, the registry in the name; the event's source is the queue."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"), b'{"name": "localhost/app", "TAG": "v2"}')
    async with consuming(settings(rabbitmq, queue), store.sink):
        await until(lambda: has(store, 2))
    first, second = await store.state.events.list_pending()
    assert (first.source, first.repository, first.tag) == ("queues/pushes", "registry.example.com/team/app", "v1")
    assert (second.repository, second.tag) == ("localhost/app", "v2")
    await until(lambda: is_empty(channel, queue))


async def test_a_message_is_acknowledged_only_once_it_is_durable(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """While the state cannot be written, every message stays unacknowledged, and at most `prefetch` are delivered.

    They are recorded later.
    """
    queue = await make_queue(channel)
    await publish(channel, queue, *(message(f"v{number}") for number in range(20)))
    with store.locked():
        async with consuming(settings(rabbitmq, queue, prefetch=5), store.sink) as logged:
            await logged_as(logged, "queue.message_postponed", 2)
            assert await waiting(channel, queue) == 15
        assert await waiting(channel, queue) == 20
    async with consuming(settings(rabbitmq, queue), store.sink):
        await until(lambda: has(store, 20))
    await until(lambda: is_empty(channel, queue))


async def test_a_postponed_message_is_recorded_when_the_state_is_back(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """No restart is needed. A write that timed out may have succeeded: an event may be there twice, never missing."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"), message("v2"))
    async with consuming(settings(rabbitmq, queue), store.sink) as logged:
        with store.locked():
            await logged_as(logged, "queue.message_postponed")
        await until(lambda: has(store, 2))
    assert list(dict.fromkeys(await store.tags())) == ["v1", "v2"]


async def test_a_state_that_fails_at_once_is_retried_with_growing_pauses(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """The pauses grow, although each attempt fails within a tenth of a second."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    async with open_state(str(store.file), patience=0.05) as impatient:
        hasty = make_store(impatient, store.file)
        with store.locked():
            async with consuming(settings(rabbitmq, queue), hasty.sink) as logged:
                await logged_as(logged, "queue.message_postponed")
                await asyncio.sleep(2)
    pauses = [entry["seconds"] for entry in logged if entry["event"] == "queue.message_postponed"]
    assert 2 <= len(pauses) <= 5
    assert pauses == sorted(pauses)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Name": "r.io/app"}', message("a b"), b"[" * 99, b" " * 2**21])
async def test_poison_goes_to_the_dead_letter_exchange(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore, body: bytes
) -> None:
    """Byte for byte, with the reason in the log; the next message is consumed."""
    queue = await make_queue(channel, dead_letters="dead-letters")
    await publish(channel, queue, body, message("v1"))
    async with consuming(settings(rabbitmq, queue), store.sink) as logged:
        await until(lambda: has(store, 1))
    assert await take(channel, "dead-letters") == body
    await until(lambda: is_empty(channel, queue))
    [refused] = [entry for entry in logged if entry["event"] == "queue.message_refused"]
    assert refused["reason"]
    assert refused["queue"] == "pushes"


async def test_poison_is_dropped_if_the_configuration_says_so(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """It is acknowledged, so the dead-letter exchange does not get it."""
    queue = await make_queue(channel, dead_letters="dead-letters")
    await publish(channel, queue, b"{", message("v1"))
    async with consuming(settings(rabbitmq, queue, poison="drop"), store.sink) as logged:
        await until(lambda: has(store, 1))
    assert (await take(channel, "dead-letters"), await waiting(channel, queue)) == (None, 0)
    assert [entry["poison"] for entry in logged if entry["event"] == "queue.message_refused"] == ["drop"]


async def test_a_snapshot_is_acknowledged_and_not_dead_lettered(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """It is well-formed but never wanted, as at the fork's hook; dead-lettering would only fill that queue."""
    queue = await make_queue(channel, dead_letters="dead-letters")
    await publish(channel, queue, message("1.0-SNAPSHOT"), message("v1"))
    async with consuming(settings(rabbitmq, queue), store.sink):
        await until(lambda: has(store, 1))
    assert (await take(channel, "dead-letters"), await waiting(channel, queue)) == (None, 0)
    assert await store.tags() == ["v1"]


async def test_the_right_to_read_the_queue_is_enough(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """The queue is only checked, never declared: a login without the right to configure can consume."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    async with consuming(settings(rabbitmq, queue, rabbitmq.url(READER)), store.sink):
        await until(lambda: has(store, 1))


async def test_a_stop_returns_the_remaining_messages_to_the_queue(
    rabbitmq: RabbitMQ, channel: AbstractChannel, store: EventStore
) -> None:
    """The current message is finished; all others are in the queue, and none is in both places."""
    queue = await make_queue(channel)
    tags = [f"v{number}" for number in range(300)]
    await publish(channel, queue, *map(message, tags))
    async with consuming(settings(rabbitmq, queue, prefetch=200), store.sink):
        await until(lambda: has(store, 5))
    recorded = await store.tags()
    assert len(recorded) < 300
    assert recorded == tags[: len(recorded)]
    assert await waiting(channel, queue) == 300 - len(recorded)


async def is_empty(channel: AbstractChannel, queue: str) -> bool:
    """Whether the broker has received the acknowledgements of all messages."""
    return await waiting(channel, queue) == 0
