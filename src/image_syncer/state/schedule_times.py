"""Due times of schedules: pure functions of instants.

An interval is real time on the grid of its first run, so it does not drift. A cron expression is local time of its time
zone. When daylight saving starts, times in the skipped hour run after it; when it ends, a fixed hour runs once, and `*`
in the field of hours runs through both hours.
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
# Names of months and weekdays, and L for the last; croniter's other letters mean random times.
_FIELD: Final = re.compile(
    r"(?:[0-9*,/#L-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun){1,100}", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class IntervalSchedule:
    """Every *interval*, plus a random delay of up to *jitter*; `UsageError` if out of range."""

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
    """At the times of a cron *expression* of five fields in *timezone*; `UsageError` for an invalid one."""

    expression: str
    timezone: str = "UTC"
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        _check_jitter(self.jitter)
        _zone(self.timezone)
        _check_expression(self.expression)


Schedule = IntervalSchedule | CronSchedule


def first_after(schedule: Schedule, *, now: datetime) -> datetime:
    """Return the first due time of a new schedule: now for an interval, the next matching time for cron."""
    return now if isinstance(schedule, IntervalSchedule) else _next_cron(schedule, now)


def next_after(schedule: Schedule, *, planned_for: datetime, now: datetime) -> datetime:
    """Return the first due time after *now*, given that the last one was *planned_for*.

    Missed times in between do not add runs.
    """
    if isinstance(schedule, CronSchedule):
        return _next_cron(schedule, max(planned_for, now))
    missed = max(0, (now - planned_for) // schedule.interval)
    return planned_for + (missed + 1) * schedule.interval


def latest_next(schedule: Schedule, *, now: datetime) -> datetime:
    """Return the latest time that a correct next time can have at *now*; only a wrong clock sets a later one."""
    return now + schedule.interval if isinstance(schedule, IntervalSchedule) else _next_cron(schedule, now)


def delayed(schedule: Schedule, planned_for: datetime, *, rng: Random) -> datetime:
    """Return *planned_for* plus a random delay; the grid stays, so delays do not add up."""
    return planned_for + rng.random() * schedule.jitter


def to_text(schedule: Schedule) -> str:
    """Return *schedule* as stored: equal schedules have equal texts."""
    if isinstance(schedule, IntervalSchedule):
        parts: dict[str, object] = {"every": schedule.interval.total_seconds()}
    else:
        parts = {"cron": schedule.expression, "timezone": schedule.timezone}
    return json.dumps(parts | {"jitter": schedule.jitter.total_seconds()}, sort_keys=True)


def from_text(text: str) -> Schedule:
    """Return the schedule that `to_text` serialised."""
    parts: Mapping[str, Any] = json.loads(text)
    jitter = timedelta(seconds=parts["jitter"])
    if "every" in parts:
        return IntervalSchedule(timedelta(seconds=parts["every"]), jitter)
    return CronSchedule(parts["cron"], parts["timezone"], jitter)


def _next_cron(schedule: CronSchedule, after: datetime) -> datetime:
    times = croniter(schedule.expression, after.astimezone(_zone(schedule.timezone)))
    local = times.get_next(datetime)
    if not schedule.expression.split()[1].startswith("*"):
        # At most one hour of a night repeats, with at most sixty times in it.
        for _ in range(60):
            if not _is_repeated(local):
                break
            local = times.get_next(datetime)
    return local.astimezone(UTC)


def _is_repeated(local: datetime) -> bool:
    """Whether the clock shows this local time for the second time."""
    return local.fold == 1 and local.replace(fold=0).utcoffset() != local.utcoffset()


def _check_jitter(jitter: timedelta) -> None:
    if not timedelta(0) <= jitter <= timedelta(days=1):
        raise UsageError(f"jitter {jitter}: must be between 0 and one day")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"timezone {name[:100]!r}: unknown",
            remedy="use a name such as Europe/Berlin; if it is one, install the time zones (package tzdata)",
        ) from error


def _check_expression(expression: str) -> None:
    fields = expression.split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        # croniter would accept a sixth field for seconds.
        raise UsageError(
            f"cron {expression[:100]!r}: five fields are expected: minute, hour, day, month, weekday",
            remedy="every 10 minutes is '*/10 * * * *'",
        )
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError as error:
        raise UsageError(f"cron {expression!r}: it never matches") from error
    except (CroniterError, ValueError) as error:
        raise UsageError(f"cron {expression!r}: {str(error)[:200]}") from error
