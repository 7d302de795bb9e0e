"""The queues of the configuration that holds now, each with its listener."""

import asyncio
from collections.abc import Sequence
from random import Random

from image_syncer.config.model import QueueSettings
from image_syncer.queues import EventSink, check_installed, consume


class QueueSupervisor:
    """Keeps a listener for each of *queues* until *stop* is set."""

    def __init__(self, queues: Sequence[QueueSettings], inbox: EventSink, stop: asyncio.Event, rng: Random) -> None:
        check_installed(queues)
        self._queues = tuple(queues)
        self._inbox = inbox
        self._stop = stop
        self._rng = rng
        self._changed = asyncio.Event()

    def change(self, queues: Sequence[QueueSettings]) -> None:
        """Listen to *queues* from now on."""
        if self._queues != tuple(queues):
            self._queues = tuple(queues)
            self._changed.set()

    async def run(self) -> None:
        """Listen. At a change the message in hand is finished, then all listeners begin anew."""
        while not self._stop.is_set():
            self._changed.clear()
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for queue in self._queues:
                    group.create_task(consume(queue, self._inbox, ended, self._rng), name=f"queue {queue.name}")
                signals = [group.create_task(event.wait()) for event in (self._stop, self._changed)]
                await asyncio.wait(signals, return_when=asyncio.FIRST_COMPLETED)
                ended.set()
                for signal in signals:
                    signal.cancel()
