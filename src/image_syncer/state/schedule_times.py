"""When a schedule is due: pure functions of instants, no clock and no database.

An interval is real time and keeps to the grid of its first run, so it does not drift. A cron expression is local time
of its zone. Where a clock is put forward, what falls into the missing hour runs once the hour is over; where it is put
back, a fixed hour runs once and `*` in the field of hours runs on without a pause.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, CroniterError, croniter

from image_syncer.errors import UsageError

SHORTEST_INTERVAL: Final = timedelta(seconds=1)
LONGEST_INTERVAL: Final = timedelta(days=366)
_FIELDS: Final = 5
# Names of months and weekdays, L for the last: croniter's other letters mean times at random.
_FIELD: Final = re.compile(
    r"(?:[0-9*,/#L-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun){1,100}", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class IntervalSchedule:
    """Every *interval*, later by a random time of up to *jitter*; `UsageError` where these make no sense."""

    interval: timedelta
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if not SHORTEST_INTERVAL <= self.interval <= LONGEST_INTERVAL:
            raise UsageError(f"every {self.interval}: an interval is between one second and a year")
        _check_jitter(self.jitter)
        if self.jitter >= self.interval:
            raise UsageError(f"jitter {self.jitter}: must be shorter than the interval {self.interval}")


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """At the times of a cron *expression* of five fields in *timezone*; `UsageError` where it has none."""

    expression: str
    timezone: str = "UTC"
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        _check_jitter(self.jitter)
        _zone(self.timezone)
        _check_expression(self.expression)


Schedule = IntervalSchedule | CronSchedule


def first_after(schedule: Schedule, *, now: datetime) -> datetime:
    """Return when a schedule that never ran is due: an interval at once, a cron expression at its next time."""
    return now if isinstance(schedule, IntervalSchedule) else _next_cron(schedule, now)


def next_after(schedule: Schedule, *, planned_for: datetime, now: datetime) -> datetime:
    """Return the first due time after *now*, where the last one was *planned_for*.

    However many were missed in between, they are one run: the one that is being made.
    """
    if isinstance(schedule, CronSchedule):
        return _next_cron(schedule, max(planned_for, now))
    missed = max(0, (now - planned_for) // schedule.interval)
    return planned_for + (missed + 1) * schedule.interval


def delayed(schedule: Schedule, planned_for: datetime, *, rng: Random) -> datetime:
    """Return *planned_for* with a random delay; the plan itself stays, so delays do not add up."""
    return planned_for + rng.random() * schedule.jitter


def to_text(schedule: Schedule) -> str:
    """Return *schedule* as it is stored: equal texts are equal schedules."""
    if isinstance(schedule, IntervalSchedule):
        parts: dict[str, object] = {"every": schedule.interval.total_seconds()}
    else:
        parts = {"cron": schedule.expression, "timezone": schedule.timezone}
    return json.dumps(parts | {"jitter": schedule.jitter.total_seconds()}, sort_keys=True)


def from_text(text: str) -> Schedule:
    """Return the schedule that `to_text` wrote."""
    parts: Mapping[str, Any] = json.loads(text)
    jitter = timedelta(seconds=parts["jitter"])
    if "every" in parts:
        return IntervalSchedule(timedelta(seconds=parts["every"]), jitter)
    return CronSchedule(parts["cron"], parts["timezone"], jitter)


def _next_cron(schedule: CronSchedule, after: datetime) -> datetime:
    times = croniter(schedule.expression, after.astimezone(_zone(schedule.timezone)))
    local = times.get_next(datetime)
    if not schedule.expression.split()[1].startswith("*"):
        # A night has at most one repeated hour, with at most sixty times in it.
        for _ in range(60):
            if not _is_repeated(local):
                break
            local = times.get_next(datetime)
    return local.astimezone(UTC)


def _is_repeated(local: datetime) -> bool:
    """Whether the clock shows this time for the second time."""
    return local.fold == 1 and local.replace(fold=0).utcoffset() != local.utcoffset()


def _check_jitter(jitter: timedelta) -> None:
    if not timedelta(0) <= jitter <= timedelta(days=1):
        raise UsageError(f"jitter {jitter}: must be between nothing and a day")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"timezone {name[:100]!r}: not known here",
            remedy="write a name such as Europe/Berlin; if it is one, install the time zones (package tzdata)",
        ) from error


def _check_expression(expression: str) -> None:
    fields = expression.split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        # croniter would take seconds as a sixth field.
        raise UsageError(
            f"cron {expression[:100]!r}: five fields are expected: minute, hour, day, month, weekday",
            remedy="every 10 minutes is '*/10 * * * *'",
        )
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError as error:
        raise UsageError(f"cron {expression!r}: such a time never comes") from error
    except (CroniterError, ValueError) as error:
        raise UsageError(f"cron {expression!r}: {str(error)[:200]}") from error
