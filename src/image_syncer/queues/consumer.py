"""Our own loop around a broker: it walks the addresses, and settles a message only after it is written down.

A message is acknowledged when its event is durable. Until then it is the broker's: whatever stops or kills us, it is
delivered again, and an event that is recorded twice leads to one copy.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import structlog

from image_syncer.concurrency.backoff import Backoff
from image_syncer.config.model import QueueKind, QueueSettings
from image_syncer.errors import ImageSyncerError
from image_syncer.events import PushEvent
from image_syncer.queues.message import MessageRefused, read_message
from image_syncer.queues.session import BrokerTrouble, OpenSession, QueueDelivery, QueueSession, wait_for

_ACCEPT_SECONDS: Final = 10.0
_TRIES_IN_HAND: Final = 8


class Inbox(Protocol):
    """Where events go."""

    async def accept(self, source: str, events: Sequence[PushEvent]) -> Sequence[object]:
        """Return once all of *events* are durable; an error of ours otherwise. Safe to cancel."""
        ...


async def listen(settings: QueueSettings, inbox: Inbox, stop: asyncio.Event, rng: Random) -> None:
    """Take messages of the queue into *inbox* until *stop* is set; then finish the one in hand, and close.

    Each address is tried in turn, with growing pauses, for ever: a broker may be away for a day.
    """
    await _Listener(settings, inbox, stop, rng).run()


def _opener(kind: QueueKind) -> OpenSession:
    """Return how to open a session with a broker of that *kind*: the place for another one."""
    match kind:
        case "kafka":
            from image_syncer.queues.kafka import open_session  # noqa: PLC0415 - the extra, needed for a queue alone

            return open_session
        case "nats":
            from image_syncer.queues.nats import open_session  # noqa: PLC0415 - the extra, needed for a queue alone

            return open_session
        case "redis":
            from image_syncer.queues.redis import open_session  # noqa: PLC0415 - the same

            return open_session
        case "rabbitmq":
            from image_syncer.queues.rabbitmq import open_session  # noqa: PLC0415 - the same

            return open_session


class _Listener:
    def __init__(self, settings: QueueSettings, inbox: Inbox, stop: asyncio.Event, rng: Random) -> None:
        self._settings = settings
        self._inbox = inbox
        self._stop = stop
        self._open_session = _opener(settings.kind)
        self._reconnecting = Backoff(rng, first=1.0, longest=30.0)
        self._recording = Backoff(rng, first=0.5, longest=30.0)
        self._log: Any = structlog.get_logger().bind(queue=settings.name)

    async def run(self) -> None:
        urls = self._settings.urls
        failures = 0
        while not self._stop.is_set():
            url = urls[failures % len(urls)]
            broker = urlsplit(url).netloc.rpartition("@")[2]  # Never the login before it.
            try:
                served = await self._serve(url, broker)
            except BrokerTrouble as error:
                served = False
                self._log.warning("queue.unreachable", broker=broker, error=str(error))
            failures = 0 if served else failures + 1
            # Within one round the next address is as good as this one, so only whole rounds make the pause grow.
            await wait_for(self._stop, self._reconnecting.after(failures // len(urls)))

    async def _serve(self, url: str, broker: str) -> bool:
        """Take messages from the broker while it lets us; return whether at least one was settled."""
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
        """Settle *delivery*, or leave it to the broker; return whether it was settled."""
        try:
            match read_message(delivery.body):
                case PushEvent() as event:
                    return await self._take(event, delivery, session)
                case MessageRefused(reason, unwanted=True):
                    self._log.info("queue.message_unwanted", reason=reason)
                    await delivery.ack()
                case MessageRefused(reason):
                    await self._refuse(delivery, reason)
        except BrokerTrouble as error:
            session.end(str(error))
            return False
        return True

    async def _refuse(self, delivery: QueueDelivery, reason: str) -> None:
        self._log.warning("queue.message_refused", reason=reason, poison=self._settings.poison)
        if self._settings.poison == "reject":
            await delivery.reject()
        else:
            await delivery.ack()

    async def _take(self, event: PushEvent, delivery: QueueDelivery, session: QueueSession) -> bool:
        """Acknowledge *delivery* once *event* is durable; give it back where that fails again and again.

        It is kept in hand between the tries: a queue may count how often a message comes back, and dead-letter it.
        """
        for tried in range(1, _TRIES_IN_HAND + 1):
            failure = await self._record(event)
            if failure is None:
                await delivery.ack()
                return True
            pause = self._recording.after(tried)
            self._log.warning("queue.message_postponed", error=failure, tried=tried, seconds=round(pause, 1))
            await session.rest(pause)
            if session.has_ended:
                break
        await delivery.give_back()
        return False

    async def _record(self, event: PushEvent) -> str | None:
        """Return None once *event* is durable, and otherwise why it is not."""
        try:
            async with asyncio.timeout(_ACCEPT_SECONDS):
                await self._inbox.accept(f"queues/{self._settings.name}", [event])
        except TimeoutError:
            return f"not written down within {_ACCEPT_SECONDS:.0f} s"
        except ImageSyncerError as error:
            return error.message
        self._log.info("queue.message_recorded", repository=str(event.repository), tag=event.tag)
        return None
