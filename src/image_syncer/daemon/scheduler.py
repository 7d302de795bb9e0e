"""Runs rules by their schedules: of a whole fleet one process claims a due rule and queues its job."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import Now
from image_syncer.daemon.reload import LiveConfig
from image_syncer.jobs import JobQueue, JobsUnavailable
from image_syncer.state import CronSchedule, IntervalSchedule, Schedule, ScheduleBook, StateUnavailable
from image_syncer.sync import rule as rules

_LONGEST_WAIT_SECONDS: Final = 30.0  # another process of the fleet may change the schedules
_SHORTEST_WAIT_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 2.0
_CLOCK_CHECK_SECONDS: Final = 1.0


class Scheduler:
    """Queues a job for each rule that is due."""

    def __init__(self, schedules: ScheduleBook, jobs: JobQueue, config: LiveConfig, now: Now, *, rng: Random) -> None:
        self._schedules = schedules
        self._jobs = jobs
        self._config = config
        self._now = now
        self._rng = rng
        self._changed = asyncio.Event()
        self._repair_at = 0.0
        self._log: Any = structlog.get_logger()

    async def plan(self) -> None:
        """Store the schedules of the rules in force."""
        wanted = {
            rule.name: stored_schedule(rule.triggers.schedule)
            for rule in self._config.rules
            if rule.triggers.schedule is not None
        }
        await self._schedules.replace_all(wanted, now=self._now(), rng=self._rng)
        await self._repair()
        self._changed.set()

    async def run(self) -> None:
        """Queue due rules until cancelled. A rule that fell due while no daemon ran is queued once."""
        while True:
            self._changed.clear()
            try:
                if time.monotonic() >= self._repair_at:
                    await self._repair()
                await self._fire()
                wait = await self._until_next()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("schedules.postponed", error=str(error))
                wait = _RETRY_SECONDS
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        """Wait for *seconds*, or until the schedules change or the clock is set, which needs a repair at once."""
        began, offset = time.monotonic(), self._offset()
        while (remaining := began + seconds - time.monotonic()) > 0 and not self._changed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, _CLOCK_CHECK_SECONDS)):
                    await self._changed.wait()
            if abs(self._offset() - offset) > _CLOCK_CHECK_SECONDS:
                self._repair_at = 0.0
                return

    def _offset(self) -> float:
        """Return the time minus that of the monotonic clock, in seconds; it changes when the clock is set."""
        return self._now().timestamp() - time.monotonic()

    async def _repair(self) -> None:
        self._repair_at = time.monotonic() + _LONGEST_WAIT_SECONDS
        for rule in await self._schedules.repair(now=self._now(), rng=self._rng):
            self._log.warning("schedule.repaired", rule=rule, reason="its due time was set by a wrong clock")

    async def _fire(self) -> None:
        for due in await self._schedules.claim(now=self._now()):
            job = await self._jobs.request_rule(due.rule)
            await self._schedules.mark_fired(due, now=self._now(), rng=self._rng)
            self._log.info("rule.due", rule=due.rule, job=job)

    async def _until_next(self) -> float:
        due = await self._schedules.next_due()
        wait = _LONGEST_WAIT_SECONDS if due is None else (due - self._now()).total_seconds()
        return min(max(wait, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)


def stored_schedule(schedule: rules.Schedule) -> Schedule:
    """Return a rule's schedule as the state stores it."""
    match schedule:
        case rules.Every(seconds, jitter):
            return IntervalSchedule(timedelta(seconds=seconds), timedelta(seconds=jitter))
        case rules.Cron(expression, timezone, jitter):
            return CronSchedule(expression, timezone, timedelta(seconds=jitter))
