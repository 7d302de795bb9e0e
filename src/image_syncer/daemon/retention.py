"""Retention: removes old events, runs and cached hints, so that the state does not grow without bound."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.state import State, StateCacheBackend, StateUnavailable
from image_syncer.state.trusted_clock import TrustedClock, Uptime, uptime_now

_FIRST_SECONDS: Final = 60.0  # leaves the start to more urgent work
_INTERVAL_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 60.0  # after the database did not answer
_RUNS_OF_EACH_RULE: Final = 10
_MOST_RUNS: Final = 100_000
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)  # Nothing is older.

Pause = Callable[[float], Awaitable[None]]


class Retention:
    """Removes decided events and finished runs older than *keep*, and surplus hints. *pause* sleeps for seconds.

    The newest 10 runs of each rule stay at any age; of all runs at most the newest 100 000 stay. Any number of
    processes may do this on one database.

    What is too old is decided by the trusted time of the state: a clock that is ahead for some minutes must not remove
    a month of history. *uptime* tells how long the machine is up.
    """

    def __init__(
        self,
        state: State,
        now: Now,
        *,
        keep: timedelta,
        pause: Pause = asyncio.sleep,
        uptime: Callable[[], Uptime] = uptime_now,
    ) -> None:
        self._state = state
        self._clock = TrustedClock(state.database, now=now, uptime=uptime)
        self._cache = StateCacheBackend(state.database, keep=keep, now=now, uptime=uptime)
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
        time = await self._clock.look()
        if time.jump is not None:
            self._log.warning("state.clock_jumped", ahead=str(time.jump))
        now = _BEGINNING if time.now is None else time.now
        until = now - self._keep
        events = await self._state.events.prune(older_than=until, now=now)
        runs = await self._state.runs.prune(keep=_MOST_RUNS, older_than=until, of_each=_RUNS_OF_EACH_RULE)
        hints = await self._cache.prune()
        if events or runs or hints:
            self._log.info("state.pruned", events=events, runs=runs, hints=hints)
