"""Retention: removes old events, runs and cached hints, so that the state does not grow without bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.state import State, StateCacheBackend, StateUnavailable
from image_syncer.state.event_log import CLOCK_SKEW

_FIRST_SECONDS: Final = 60.0  # leaves the start to more urgent work
_INTERVAL_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 60.0  # after the database did not answer
_RUNS_OF_EACH_RULE: Final = 10
_MOST_RUNS: Final = 100_000

Pause = Callable[[float], Awaitable[None]]


class Retention:
    """Removes decided events and finished runs older than *keep*, and surplus hints. *pause* sleeps for seconds.

    The newest 10 runs of each rule stay at any age; of all runs at most the newest 100 000 stay. Any number of
    processes may do this on one database.

    A jump of the clock is believed an hour later: a clock that is ahead for some minutes must not remove a month of
    history. *monotonic* tells the seconds that passed. A clock that is ahead when the process starts is not noticed.
    """

    def __init__(
        self,
        state: State,
        now: Now,
        *,
        keep: timedelta,
        pause: Pause = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._now = now
        self._monotonic = monotonic
        self._believed = now()
        self._offset = self._believed - timedelta(seconds=monotonic())
        self._suspected: tuple[timedelta, float] | None = None  # a jump, and when it was first seen
        self._cache = StateCacheBackend(state.database, keep=keep, now=lambda: self._believed)
        self._keep = keep
        self._pause = pause
        self._log: Any = structlog.get_logger()

    async def run(self) -> None:
        """Prune a minute after the start and then every hour, until cancelled."""
        wait = _FIRST_SECONDS
        while True:
            await self._pause(wait)
            try:
                await self.prune()
            except StateUnavailable as error:
                self._log.warning("upkeep.postponed", error=str(error))
                wait = _RETRY_SECONDS
            else:
                wait = _INTERVAL_SECONDS

    async def prune(self) -> None:
        """Remove everything that is too old now."""
        now = self._believed = self._believable_now()
        until = now - self._keep
        events = await self._state.events.prune(older_than=until, now=now)
        runs = await self._state.runs.prune(keep=_MOST_RUNS, older_than=until, of_each=_RUNS_OF_EACH_RULE)
        hints = await self._cache.prune()
        if events or runs or hints:
            self._log.info("state.pruned", events=events, runs=runs, hints=hints)

    def _believable_now(self) -> datetime:
        """Return the time without a jump ahead that is younger than an hour."""
        tick = self._monotonic()
        offset = self._now() - timedelta(seconds=tick)
        ahead = offset - self._offset
        if ahead <= CLOCK_SKEW:
            self._offset, self._suspected = offset, None
        elif self._suspected is None or ahead - self._suspected[0] > CLOCK_SKEW:
            self._suspected = ahead, tick
            self._log.warning("state.clock_jumped", ahead=str(ahead))
        elif tick - self._suspected[1] >= _INTERVAL_SECONDS:
            self._offset, self._suspected = offset, None
        return self._offset + timedelta(seconds=tick)
