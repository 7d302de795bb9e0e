"""Queue operations of tests on a RabbitMQ node."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldValue

from support.rabbitmq import RabbitMQ

_EXCHANGE: Final = "amq.direct"  # It exists on every node, and routes dead letters as well as any.


@asynccontextmanager
async def channel_to(node: RabbitMQ) -> AsyncGenerator[AbstractChannel]:
    """A channel for the test itself, to declare, publish and inspect."""
    async with await connect(node.url()) as connection, connection.channel() as channel:
        yield channel


async def make_queue(channel: AbstractChannel, name: str = "", *, dead_letters: str | None = None) -> str:
    """Return the name of a new durable queue; rejected messages go to the queue *dead_letters*, created as well."""
    name = name or f"q{secrets.token_hex(6)}"
    arguments: dict[str, FieldValue] = {}
    if dead_letters is not None:
        arguments = {"x-dead-letter-exchange": _EXCHANGE, "x-dead-letter-routing-key": dead_letters}
        graveyard = await channel.declare_queue(dead_letters, durable=True)
        await graveyard.bind(_EXCHANGE, dead_letters)
    await channel.declare_queue(name, durable=True, arguments=arguments)
    return name


async def publish(channel: AbstractChannel, queue: str, *bodies: bytes) -> None:
    """Send *bodies*; return once the node has written each of them to disk."""
    for body in bodies:
        message = Message(body, delivery_mode=DeliveryMode.PERSISTENT, content_type="application/json")
        await channel.default_exchange.publish(message, queue)


async def waiting(channel: AbstractChannel, queue: str) -> int:
    """Return the number of messages in *queue* that no consumer holds."""
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def take(channel: AbstractChannel, queue: str) -> bytes | None:
    """Remove the first message of *queue* and return its body, None if there is none."""
    message = await (await channel.get_queue(queue)).get(no_ack=True, fail=False)
    return None if message is None else message.body
