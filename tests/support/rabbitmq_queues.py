"""What tests do with a RabbitMQ node: declare, publish and look."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel
from pamqp.common import FieldValue

from support.rabbitmq import RabbitMQ

_EXCHANGE: Final = "amq.direct"  # It exists on every node, and takes dead letters as well as any.


@asynccontextmanager
async def channel_to(node: RabbitMQ) -> AsyncGenerator[AbstractChannel]:
    """A channel of the tests' own, to declare, publish and look."""
    async with await connect(node.url()) as connection, connection.channel() as channel:
        yield channel


async def make_queue(channel: AbstractChannel, name: str = "", *, dead_letters: str | None = None) -> str:
    """Return the name of a new durable queue; what it rejects goes to the queue *dead_letters*, made too."""
    name = name or f"q{secrets.token_hex(6)}"
    arguments: dict[str, FieldValue] = {}
    if dead_letters is not None:
        arguments = {"x-dead-letter-exchange": _EXCHANGE, "x-dead-letter-routing-key": dead_letters}
        graveyard = await channel.declare_queue(dead_letters, durable=True)
        await graveyard.bind(_EXCHANGE, dead_letters)
    await channel.declare_queue(name, durable=True, arguments=arguments)
    return name


async def publish(channel: AbstractChannel, queue: str, *bodies: bytes) -> None:
    """Send *bodies*; it returns once the node has each of them on its disk."""
    for body in bodies:
        message = Message(body, delivery_mode=DeliveryMode.PERSISTENT, content_type="application/json")
        await channel.default_exchange.publish(message, queue)


async def waiting(channel: AbstractChannel, queue: str) -> int:
    """Return how many messages wait in *queue*: those that nobody has in hand."""
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def take(channel: AbstractChannel, queue: str) -> bytes | None:
    """Return the body of the first message of *queue* and remove it, None where there is none."""
    message = await (await channel.get_queue(queue)).get(no_ack=True, fail=False)
    return None if message is None else message.body
