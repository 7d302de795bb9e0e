"""The consumer loop: connects to one of a queue's addresses and records each message before it acknowledges it.

A message stays the broker's until its event is durable. Whatever stops or kills this process, the broker delivers it
again; two events of one push lead to one copy.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from random import Random
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import structlog

from image_syncer.concurrency.backoff import Backoff
from image_syncer.config.model import QueueKind, QueueSettings
from image_syncer.errors import ImageSyncerError, UsageError
from image_syncer.events import MalformedNotification, Notification, PushEvent
from image_syncer.events.queue_messages import read_aws, read_google, read_plain
from image_syncer.extras import install_remedy
from image_syncer.queues.session import BrokerUnavailable, OpenSession, QueueDelivery, QueueSession, wait_for

_RECORD_SECONDS: Final = 10.0
_RECORD_ATTEMPTS: Final = 8
_LIBRARIES: Final[Mapping[QueueKind, str]] = {
    "kafka": "aiokafka",
    "nats": "nats",
    "pubsub": "google.pubsub_v1",
    "rabbitmq": "aio_pika",
    "redis": "redis",
    "sqs": "botocore",
}
_EXTRAS: Final[Mapping[QueueKind, str]] = {"pubsub": "pubsub", "sqs": "aws"}
_READERS: Final[Mapping[QueueKind, Callable[[bytes], Notification]]] = {"pubsub": read_google, "sqs": read_aws}


class EventSink(Protocol):
    """Records events durably."""

    async def accept(self, source: str, events: Sequence[PushEvent]) -> Sequence[object]:
        """Return once all of *events* are durable, and raise `ImageSyncerError` otherwise. Safe to cancel."""
        ...


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """Why a message yields no event. *unwanted*: well-formed but excluded (a snapshot). Otherwise it is poison."""

    reason: str
    unwanted: bool = False


def check_installed(queues: Sequence[QueueSettings]) -> None:
    """Raise `UsageError` if a library that *queues* need is not installed. Imports nothing."""
    for queue in queues:
        library = _LIBRARIES[queue.kind]
        if not _is_installed(library):
            extra = _EXTRAS.get(queue.kind, "queues")
            raise UsageError(
                f"{queue.origin}: a queue of {queue.kind} needs {library}, which is not installed",
                remedy=f"{install_remedy(extra)}, or remove the queue",
            )


async def consume(settings: QueueSettings, sink: EventSink, stop: asyncio.Event, rng: Random) -> None:
    """Record the queue's messages in *sink* until *stop* is set; then finish the current one and disconnect.

    Tries the addresses in turn, with growing pauses and without an end, since a broker may be down for a day.
    """
    await _Consumer(settings, sink, stop, rng).run()


def read_message(kind: QueueKind, body: bytes) -> Sequence[PushEvent] | MessageRefused:
    """Return the pushes in *body*: `{"Name": "registry/repository", "Tag": "tag"}`, keys in any case.

    The first part of the name is always the registry. A cloud's queue also has the messages of its own registry. At
    most 1 MiB and 32 levels are read.
    """
    try:
        found = _READERS.get(kind, read_plain)(body)
    except MalformedNotification as error:
        return MessageRefused(error.message)
    return found.events or MessageRefused(found.ignored or "no event", unwanted=True)


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # A parent package is missing.
        return False


def _opener(kind: QueueKind) -> OpenSession:
    match kind:
        case "kafka":
            from image_syncer.queues.kafka import open_session  # noqa: PLC0415 - an optional dependency

            return open_session
        case "nats":
            from image_syncer.queues.nats import open_session  # noqa: PLC0415 - an optional dependency

            return open_session
        case "pubsub":
            from image_syncer.queues.pubsub_pull import open_session  # noqa: PLC0415 - an optional dependency

            return open_session
        case "sqs":
            from image_syncer.queues.sqs import open_session  # noqa: PLC0415 - an optional dependency

            return open_session
        case "redis":
            from image_syncer.queues.redis import open_session  # noqa: PLC0415 - an optional dependency

            return open_session
        case "rabbitmq":
            from image_syncer.queues.rabbitmq import open_session  # noqa: PLC0415 - an optional dependency

            return open_session


class _Consumer:
    def __init__(self, settings: QueueSettings, sink: EventSink, stop: asyncio.Event, rng: Random) -> None:
        self._settings = settings
        self._sink = sink
        self._stop = stop
        self._open_session = _opener(settings.kind)
        self._reconnect_backoff = Backoff(rng, first=1.0, longest=30.0)
        self._record_backoff = Backoff(rng, first=0.5, longest=30.0)
        self._log: Any = structlog.get_logger().bind(queue=settings.name)

    async def run(self) -> None:
        urls = self._settings.urls
        failures = 0
        while not self._stop.is_set():
            url = urls[failures % len(urls)]
            broker = urlsplit(url).netloc.rpartition("@")[2]  # Without the login.
            try:
                settled_any = await self._consume(url, broker)
            except BrokerUnavailable as error:
                settled_any = False
                self._log.warning("queue.unreachable", broker=broker, error=str(error))
            failures = 0 if settled_any else failures + 1
            # The pause grows per round over all addresses, since the next address may work at once.
            await wait_for(self._stop, self._reconnect_backoff.after(failures // len(urls)))

    async def _consume(self, url: str, broker: str) -> bool:
        """Handle the messages of one connection until it ends; return whether at least one was settled."""
        settled = 0
        async with self._open_session(url, self._settings) as session, asyncio.TaskGroup() as group:
            self._log.info("queue.connected", broker=broker)
            stopping = group.create_task(self._end_on_stop(session), name=f"stop of queue {self._settings.name}")
            while (delivery := await session.next()) is not None:
                settled += await self._handle(delivery, session)
            stopping.cancel()
        if session.reason is None:
            self._log.info("queue.closed", broker=broker, messages=settled)
        else:
            self._log.warning("queue.lost", broker=broker, error=session.reason, messages=settled)
        return settled > 0

    async def _end_on_stop(self, session: QueueSession) -> None:
        await self._stop.wait()
        session.end()

    async def _handle(self, delivery: QueueDelivery, session: QueueSession) -> bool:
        """Settle *delivery* or give it back; return whether it was settled."""
        try:
            match read_message(self._settings.kind, delivery.body):
                case MessageRefused(reason, unwanted=True):
                    self._log.info("queue.message_unwanted", reason=reason)
                    await delivery.ack()
                case MessageRefused(reason):
                    await self._refuse(delivery, reason)
                case events:
                    return await self._record_and_ack(events, delivery, session)
        except BrokerUnavailable as error:
            session.end(str(error))
            return False
        return True

    async def _refuse(self, delivery: QueueDelivery, reason: str) -> None:
        self._log.warning("queue.message_refused", reason=reason, poison=self._settings.poison)
        if self._settings.poison == "reject":
            await delivery.reject()
        else:
            await delivery.ack()

    async def _record_and_ack(
        self, events: Sequence[PushEvent], delivery: QueueDelivery, session: QueueSession
    ) -> bool:
        """Acknowledge *delivery* once all *events* are durable; give it back after the last failed attempt.

        The message is kept between the attempts: a broker may count redeliveries and dead-letter it for them.
        """
        for attempt in range(1, _RECORD_ATTEMPTS + 1):
            failure = await self._record(events)
            if failure is None:
                await delivery.ack()
                return True
            pause = self._record_backoff.after(attempt)
            self._log.warning("queue.message_postponed", error=failure, tried=attempt, seconds=round(pause, 1))
            await session.sleep(pause)
            if session.has_ended:
                break
        await delivery.give_back()
        return False

    async def _record(self, events: Sequence[PushEvent]) -> str | None:
        """Return None once *events* are durable, and otherwise the reason."""
        try:
            async with asyncio.timeout(_RECORD_SECONDS):
                await self._sink.accept(f"queues/{self._settings.name}", events)
        except TimeoutError:
            return f"not recorded within {_RECORD_SECONDS:.0f} s"
        except ImageSyncerError as error:
            return error.message
        for event in events:
            self._log.info("queue.message_recorded", repository=str(event.repository), tag=event.tag)
        return None
