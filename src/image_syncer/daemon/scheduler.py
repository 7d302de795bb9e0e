"""Rules by the clock: rows that are claimed once in a whole fleet become jobs."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any, Final

import structlog

from image_syncer.daemon.event_recorder import LiveConfig, Now
from image_syncer.jobs import JobQueue, JobsUnavailable
from image_syncer.state import CronSchedule, IntervalSchedule, Schedule, ScheduleBook, StateUnavailable
from image_syncer.sync import rule as rules

_LONGEST_LOOK_SECONDS: Final = 30.0  # Others of the fleet may change the book.
_REST_SECONDS: Final = 2.0


class Scheduler:
    """Asks for the rules whose time has come."""

    def __init__(self, book: ScheduleBook, jobs: JobQueue, rule_book: LiveConfig, now: Now, *, rng: Random) -> None:
        self._book = book
        self._jobs = jobs
        self._rules = rule_book
        self._now = now
        self._rng = rng
        self._changed = asyncio.Event()
        self._log: Any = structlog.get_logger()

    async def plan(self) -> None:
        """Make the book hold the schedules of the rules that hold now."""
        wanted = {
            rule.name: scheduled(rule.triggers.schedule)
            for rule in self._rules.rules
            if rule.triggers.schedule is not None
        }
        await self._book.replace_all(wanted, now=self._now(), rng=self._rng)
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due, for ever; what fell due while nobody ran is fired once."""
        while True:
            self._changed.clear()
            try:
                await self._fire()
                wait = await self._until_next()
            except (StateUnavailable, JobsUnavailable) as error:
                self._log.warning("schedules.postponed", error=str(error))
                wait = _REST_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _fire(self) -> None:
        for due in await self._book.claim(now=self._now()):
            job = await self._jobs.request_rule(due.rule)
            await self._book.mark_fired(due, now=self._now(), rng=self._rng)
            self._log.info("rule.due", rule=due.rule, job=job)

    async def _until_next(self) -> float:
        due = await self._book.next_due()
        left = _LONGEST_LOOK_SECONDS if due is None else (due - self._now()).total_seconds()
        return min(max(left, 0.1), _LONGEST_LOOK_SECONDS)


def scheduled(schedule: rules.Schedule) -> Schedule:
    """Return a rule's schedule as the book keeps it."""
    match schedule:
        case rules.Every(seconds, jitter):
            return IntervalSchedule(timedelta(seconds=seconds), timedelta(seconds=jitter))
        case rules.Cron(expression, timezone, jitter):
            return CronSchedule(expression, timezone, timedelta(seconds=jitter))
