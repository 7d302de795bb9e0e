"""Messages of a real RabbitMQ: recorded first, acknowledged then, and never lost in between."""

import asyncio

import pytest
from aio_pika.abc import AbstractChannel

from image_syncer.config.model import QueueSettings
from image_syncer.state import open_state
from queues.listening import Desk, has, listening, logged_as, make_desk, until
from support.rabbitmq import READER, RabbitMQ
from support.rabbitmq_queues import make_queue, publish, take, waiting

pytestmark = pytest.mark.real


def message(tag: str, name: str = "registry.example.com/team/app") -> bytes:
    """Return the message that *tag* was pushed."""
    return f'{{"Name": "{name}", "Tag": "{tag}"}}'.encode()


def settings(node: RabbitMQ, queue: str, *urls: str, **more: object) -> QueueSettings:
    """Return how to listen to *queue*."""
    values = {"prefetch": 16, "poison": "reject"} | more
    return QueueSettings("pushes", "rabbitmq", urls or (node.url(),), queue, **values)  # pyright: ignore[reportArgumentType] - of a table


async def test_a_message_becomes_an_event_and_leaves_the_queue(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """Keys in any case, the registry in the name; the source of the event is the queue."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"), b'{"name": "localhost/app", "TAG": "v2"}')
    async with listening(settings(rabbitmq, queue), desk.inbox):
        await until(lambda: has(desk, 2))
    first, second = await desk.state.events.pending()
    assert (first.source, first.repository, first.tag) == ("queues/pushes", "registry.example.com/team/app", "v1")
    assert (second.repository, second.tag) == ("localhost/app", "v2")
    await until(lambda: emptied(channel, queue))


async def test_a_message_is_acknowledged_only_once_it_is_durable(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """While the state cannot be written all messages stay the broker's, and later they are recorded.

    Meanwhile only as many as were asked for (prefetch) are ours.
    """
    queue = await make_queue(channel)
    await publish(channel, queue, *(message(f"v{number}") for number in range(20)))
    with desk.locked():
        async with listening(settings(rabbitmq, queue, prefetch=5), desk.inbox) as logged:
            await logged_as(logged, "queue.message_postponed", 2)
            assert await waiting(channel, queue) == 15
        assert await waiting(channel, queue) == 20
    async with listening(settings(rabbitmq, queue), desk.inbox):
        await until(lambda: has(desk, 20))
    await until(lambda: emptied(channel, queue))


async def test_a_message_in_hand_is_recorded_when_the_state_is_back(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """Nobody has to restart anything. A write that was given up may be there all the same: twice, never not at all."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"), message("v2"))
    async with listening(settings(rabbitmq, queue), desk.inbox) as logged:
        with desk.locked():
            await logged_as(logged, "queue.message_postponed")
        await until(lambda: has(desk, 2))
    assert list(dict.fromkeys(await desk.tags())) == ["v1", "v2"]


async def test_a_state_that_fails_at_once_is_not_asked_in_a_hot_loop(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """The rests between the tries grow, although each of these fails within a tenth of a second."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    async with open_state(str(desk.file), patience=0.05) as impatient:
        hasty = make_desk(impatient, desk.file)
        with desk.locked():
            async with listening(settings(rabbitmq, queue), hasty.inbox) as logged:
                await logged_as(logged, "queue.message_postponed")
                await asyncio.sleep(2)
    rests = [entry["seconds"] for entry in logged if entry["event"] == "queue.message_postponed"]
    assert 2 <= len(rests) <= 5
    assert rests == sorted(rests)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Name": "r.io/app"}', message("a b"), b"[" * 99, b" " * 2**21])
async def test_poison_goes_to_the_dead_letter_exchange(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk, body: bytes
) -> None:
    """Word for word, with the reason in the log, and what comes behind it is taken."""
    queue = await make_queue(channel, dead_letters="graveyard")
    await publish(channel, queue, body, message("v1"))
    async with listening(settings(rabbitmq, queue), desk.inbox) as logged:
        await until(lambda: has(desk, 1))
    assert await take(channel, "graveyard") == body
    await until(lambda: emptied(channel, queue))
    [refused] = [entry for entry in logged if entry["event"] == "queue.message_refused"]
    assert refused["reason"]
    assert refused["queue"] == "pushes"


async def test_poison_is_dropped_where_the_file_says_so(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """Acknowledged, so not even the dead-letter exchange sees it."""
    queue = await make_queue(channel, dead_letters="graveyard")
    await publish(channel, queue, b"{", message("v1"))
    async with listening(settings(rabbitmq, queue, poison="drop"), desk.inbox) as logged:
        await until(lambda: has(desk, 1))
    assert (await take(channel, "graveyard"), await waiting(channel, queue)) == (None, 0)
    assert [entry["poison"] for entry in logged if entry["event"] == "queue.message_refused"] == ["drop"]


async def test_a_snapshot_is_no_poison(rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk) -> None:
    """It is well-formed and never wanted, as at the fork's hook: it would only fill the graveyard."""
    queue = await make_queue(channel, dead_letters="graveyard")
    await publish(channel, queue, message("1.0-SNAPSHOT"), message("v1"))
    async with listening(settings(rabbitmq, queue), desk.inbox):
        await until(lambda: has(desk, 1))
    assert (await take(channel, "graveyard"), await waiting(channel, queue)) == (None, 0)
    assert await desk.tags() == ["v1"]


async def test_the_right_to_read_is_enough(rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk) -> None:
    """The queue is looked for, never declared: a login that may configure nothing can listen."""
    queue = await make_queue(channel)
    await publish(channel, queue, message("v1"))
    async with listening(settings(rabbitmq, queue, rabbitmq.url(READER)), desk.inbox):
        await until(lambda: has(desk, 1))


async def test_a_stop_in_the_middle_returns_what_was_not_taken(
    rabbitmq: RabbitMQ, channel: AbstractChannel, desk: Desk
) -> None:
    """The message in hand is finished; the others are whole in the queue, and none is in both places."""
    queue = await make_queue(channel)
    tags = [f"v{number}" for number in range(300)]
    await publish(channel, queue, *map(message, tags))
    async with listening(settings(rabbitmq, queue, prefetch=200), desk.inbox):
        await until(lambda: has(desk, 5))
    recorded = await desk.tags()
    assert len(recorded) < 300
    assert recorded == tags[: len(recorded)]
    assert await waiting(channel, queue) == 300 - len(recorded)


async def emptied(channel: AbstractChannel, queue: str) -> bool:
    """Whether the broker has seen the acknowledgements of all messages."""
    return await waiting(channel, queue) == 0
