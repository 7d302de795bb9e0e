"""RabbitMQ restarts in the middle of a stream of messages: every message that it confirmed must arrive."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from image_syncer.queues.session import muted
from stress.daemon import Daemon, write_native_file
from stress.report import Figure, Report, Say
from stress.stock import Stock, copied_twice
from stress.verdict import judge
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.rabbitmq import RabbitMQ

_QUEUE: Final = "pushes"
_PATIENCE_SECONDS: Final = 300.0
_REST_SECONDS: Final = 0.2
_CONFIRM_SECONDS: Final = 10.0
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """*messages* of distinct images, *rate* a second; the broker is down *restarts* times, for *down* seconds each."""

    messages: int
    rate: float
    restarts: int
    down: float


class Publisher:
    """Publishes a message for each image at a steady rate, and repeats it until the broker has confirmed it."""

    def __init__(self, url: str, bodies: list[bytes], rate: float) -> None:
        self.confirmed = 0
        self.repeated = 0
        self._url = url
        self._bodies = bodies
        self._rate = rate

    async def make_queue(self) -> None:
        """Declare the queue: the daemon never does."""
        async with await connect(self._url) as connection, connection.channel() as channel:
            await channel.declare_queue(_QUEUE, durable=True)

    async def left(self) -> int:
        """Return the number of ready messages."""
        async with await connect(self._url) as connection, connection.channel() as channel:
            queue = await channel.declare_queue(_QUEUE, passive=True)
            return queue.declaration_result.message_count or 0

    async def run(self) -> None:
        """Publish all messages."""
        began = time.monotonic()
        while self.confirmed < len(self._bodies):
            try:
                async with (
                    await connect(self._url, timeout=_CONFIRM_SECONDS) as connection,
                    connection.channel() as channel,
                ):
                    await self._publish(channel.default_exchange, began)
            except (*CONNECTION_EXCEPTIONS, TimeoutError):
                self.repeated += 1
                await asyncio.sleep(_REST_SECONDS)

    async def _publish(self, exchange: AbstractExchange, began: float) -> None:
        for body in self._bodies[self.confirmed :]:
            await asyncio.sleep(began + self.confirmed / self._rate - time.monotonic())
            message = Message(body, delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(message, _QUEUE, timeout=_CONFIRM_SECONDS)
            self.confirmed += 1


def run(options: BrokerOptions, directory: Path, say: Say) -> Report:
    """Run with a real broker and two real registries, on SQLite, and return the report."""
    with ExitStack() as stack:
        stack.enter_context(muted("aio_pika", "aiormq"))  # They log each broken connection.
        source, target = (stack.enter_context(DockerRegistry()) for _ in range(2))
        stock = Stock(options.messages)
        stock.push(source.host)
        say(f"{len(stock)} images are at the source")
        node = stack.enter_context(RabbitMQ())
        bodies = [item.message(source.host) for item in stock.items]
        publisher = Publisher(node.url(), bodies, options.rate)
        asyncio.run(publisher.make_queue())
        port = free_port()
        queue = {"kind": "rabbitmq", "urls": node.url(), "queue": _QUEUE}
        state = {"path": str(directory / "state")}
        arguments = write_native_file(directory, port, source.host, target.host, state, queues={_QUEUE: queue})
        daemon = stack.enter_context(Daemon(directory, port, arguments))
        daemon.start_and_wait()
        with ThreadPoolExecutor(1) as threads:
            publishing = threads.submit(asyncio.run, publisher.run())
            away = _restart_often(node, publisher, publishing, options, say)
            publishing.result(_PATIENCE_SECONDS)
        last = time.monotonic()
        in_time = _drained(publisher) and daemon.wait_until_quiet(_PATIENCE_SECONDS)
        done = time.monotonic() - last
        verdict = judge(daemon, stock, target.host, range(publisher.confirmed), quiet=in_time)
        twice = copied_twice(stock.puts(target.read_requests(), range(publisher.confirmed)))
        recorded = _recorded(daemon)
    figures: dict[str, Figure] = {
        "messages that the broker confirmed": publisher.confirmed,
        "restarts": options.restarts,
        "seconds without the broker": round(away, 1),
        "reconnects of the publisher": publisher.repeated,
        "events recorded": recorded,
        "of these recorded again": recorded - publisher.confirmed,
        **verdict.figures,
        "copied twice": twice,
        "seconds until all done, after the last message": round(done, 1),
    }
    return Report(f"RabbitMQ restarted {options.restarts} times", figures, verdict.broken)


def _restart_often(
    node: RabbitMQ, publisher: Publisher, publishing: "Future[None]", options: BrokerOptions, say: Say
) -> float:
    """Restart the broker at equal shares of the stream; return its total downtime in seconds."""
    away = 0.0
    for number in range(options.restarts):
        share = (number + 1) * options.messages // (options.restarts + 1)
        while publisher.confirmed < share and not publishing.done():
            time.sleep(_REST_SECONDS / 4)
        began = time.monotonic()
        node.stop()
        time.sleep(options.down)
        node.start()
        away += time.monotonic() - began
        say(f"restart {number + 1}, {publisher.confirmed} messages confirmed")
    return away


def _drained(publisher: Publisher) -> bool:
    """Whether the daemon emptied the queue in time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while asyncio.run(publisher.left()):
        if time.monotonic() > deadline:
            return False
        time.sleep(_REST_SECONDS)
    return True


def _recorded(daemon: Daemon) -> int:
    """Return the number of events that the daemon has recorded."""
    count, before = 0, ""
    while found := daemon.api(f"events?limit={_PAGE}{before}"):
        count += len(found["items"])
        if found["next"] is None:
            break
        before = f"&before={found['next']}"
    return count
