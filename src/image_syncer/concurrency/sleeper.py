"""Sleeps that can end early: an event arrived sooner, or the program is stopping."""

import asyncio
from collections.abc import Awaitable, Callable

from image_syncer.errors import Interrupted


class Sleeper:
    """All sleeps of the registry client. *sleep* lets seconds pass.

    Waits for the network and for a semaphore's slot do not belong here: they end by themselves while requests run.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._sleeping: dict[asyncio.Timeout, object] = {}
        self._stopped = False

    async def sleep(self, seconds: float, topic: object = None) -> None:
        """Let *seconds* pass, or fewer if *topic* is woken. Raises `Interrupted` once the sleeper is stopped."""
        if not self._stopped:
            alarm = asyncio.timeout(None)
            self._sleeping[alarm] = topic
            try:
                async with alarm:
                    await self._sleep(seconds)
            except TimeoutError:
                if not alarm.expired():
                    raise
            finally:
                del self._sleeping[alarm]
        if self._stopped:
            raise Interrupted("interrupted while waiting")

    def wake(self, topic: object) -> None:
        """End all sleeps on *topic*; each sleeping task checks its condition again."""
        self._end([alarm for alarm, slept_on in self._sleeping.items() if slept_on is topic])

    def stop(self) -> None:
        """End all sleeps, and refuse new ones."""
        self._stopped = True
        self._end(list(self._sleeping))

    def resume(self) -> None:
        """Allow sleeps again."""
        self._stopped = False

    @staticmethod
    def _end(alarms: list[asyncio.Timeout]) -> None:
        now = asyncio.get_running_loop().time()
        for alarm in alarms:
            if not alarm.expired():
                alarm.reschedule(now)
