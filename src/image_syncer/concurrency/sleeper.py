"""Waits that may end early: what was waited for came sooner, or we were told to stop."""

import asyncio
from collections.abc import Awaitable, Callable

from image_syncer.errors import Interrupted


class Sleeper:
    """Every wait of the registry client that is no wait for the network. *sleep* lets seconds pass.

    A wait for a place is none of these: places come back by themselves as long as others still work.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._resting: dict[asyncio.Timeout, object] = {}
        self._stopped = False

    async def sleep(self, seconds: float, what: object = None) -> None:
        """Let *seconds* pass, or fewer where *what* is woken. `Interrupted` from the moment on that we are stopped."""
        if not self._stopped:
            alarm = asyncio.timeout(None)
            self._resting[alarm] = what
            try:
                async with alarm:
                    await self._sleep(seconds)
            except TimeoutError:
                if not alarm.expired():
                    raise
            finally:
                del self._resting[alarm]
        if self._stopped:
            raise Interrupted("interrupted while it was waited for")

    def wake(self, what: object) -> None:
        """End all rests for *what*: who rested looks again how things stand."""
        self._end([alarm for alarm, for_what in self._resting.items() if for_what is what])

    def stop(self) -> None:
        """End all rests, and let nobody rest any more."""
        self._stopped = True
        self._end(list(self._resting))

    def resume(self) -> None:
        """Let people rest again."""
        self._stopped = False

    @staticmethod
    def _end(alarms: list[asyncio.Timeout]) -> None:
        now = asyncio.get_running_loop().time()
        for alarm in alarms:
            if not alarm.expired():
                alarm.reschedule(now)
