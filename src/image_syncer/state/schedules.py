"""Schedules as rows, so that a schedule fires once per fleet and a restart loses none.

    replace_all (at every start and reload) ... claim -> create the job -> mark_fired

A claim is one conditional UPDATE, so one process of a fleet gets it. It is a lease: if its owner dies before the job
exists, the schedule is due again when the lease expires. The clocks of a fleet must differ by less than the lease.

A clock that jumps ahead and back leaves due times and leases in the far future; `repair` computes them again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from image_syncer.state.database import Database
from image_syncer.state.schedule_times import (
    IntervalSchedule,
    Schedule,
    delayed,
    first_after,
    from_text,
    latest_next,
    next_after,
    to_text,
)
from image_syncer.state.tables import schedules

CLAIM_SECONDS: Final = 60
"""The lease of a claim."""

_CLAIM_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A due schedule that this process has claimed; *due_at* tells the claim from a later one."""

    rule: str
    planned_for: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule as shown to operators; *last_run_at* is None if it never ran."""

    rule: str
    schedule: Schedule
    due_at: datetime
    last_run_at: datetime | None


class ScheduleBook:
    """The schedules in the state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace_all(self, wanted: Mapping[str, Schedule], *, now: datetime, rng: Random) -> None:
        """Store exactly the schedules of *wanted*, by the names of their rules.

        An unchanged schedule keeps its due time, so a restart moves none, and one that fell due meanwhile is due once.
        A changed schedule starts over; an interval then counts from the last run.
        """
        await self._database.write(lambda connection: _replace_all(connection, wanted, now, rng))

    async def repair(self, *, now: datetime, rng: Random) -> list[str]:
        """Reschedule rules whose due time is later than the next possible one, and return their names.

        Such a time was set while a clock was wrong.
        """
        return await self._database.write(lambda connection: _repair(connection, now, rng))

    async def claim(self, *, now: datetime) -> list[DueSchedule]:
        """Claim and return the due schedules that no other process has claimed, the longest overdue first."""
        return await self._database.write(lambda connection: _claim(connection, now))

    async def mark_fired(self, due: DueSchedule, *, now: datetime, rng: Random) -> bool:
        """Record that the job of *due* exists, and set the next due time; False if the schedule changed meanwhile."""
        return await self._database.write(lambda connection: _mark_fired(connection, due, now, rng))

    async def next_due(self) -> datetime | None:
        """Return the time of the next possible claim, None without a schedule."""
        first = select(schedules.c.due_at, schedules.c.claimed_until).order_by(schedules.c.due_at)

        def read(connection: Connection) -> datetime | None:
            times = [max(row.due_at, row.claimed_until or row.due_at) for row in connection.execute(first)]
            return min(times, default=None)

        return await self._database.read(read)

    async def list(self) -> list[ScheduleRecord]:
        """Return all schedules, ordered by rule."""
        wanted = select(schedules).order_by(schedules.c.rule)
        return await self._database.read(
            lambda connection: [
                ScheduleRecord(row.rule, from_text(row.schedule), row.due_at, row.last_run_at)
                for row in connection.execute(wanted)
            ]
        )


def _replace_all(connection: Connection, wanted: Mapping[str, Schedule], now: datetime, rng: Random) -> None:
    present = {
        row.rule: row for row in connection.execute(select(schedules).order_by(schedules.c.rule).with_for_update())
    }
    _remove(connection, present.keys() - wanted.keys())
    for rule, schedule in sorted(wanted.items()):
        row = present.get(rule)
        if row is None or row.schedule != to_text(schedule):
            _upsert(connection, rule, schedule, _first_time(schedule, row, now), rng)


def _repair(connection: Connection, now: datetime, rng: Random) -> list[str]:
    lease = timedelta(seconds=CLAIM_SECONDS)
    horizon = now + lease  # Another process's clock may be ahead by less than the lease.
    future = select(schedules).where(or_(schedules.c.planned_for > now, schedules.c.claimed_until > horizon + lease))
    repaired: list[str] = []
    for row in connection.execute(future.order_by(schedules.c.rule).with_for_update()).all():
        schedule = from_text(row.schedule)
        is_lease_wrong = row.claimed_until is not None and row.claimed_until > horizon + lease
        if row.planned_for <= latest_next(schedule, now=horizon) and not is_lease_wrong:
            continue
        planned_for = min(row.planned_for, first_after(schedule, now=now))
        connection.execute(
            update(schedules)
            .where(schedules.c.rule == row.rule)
            .values(
                planned_for=planned_for,
                due_at=delayed(schedule, planned_for, rng=rng),
                claimed_until=None,
                last_run_at=None if row.last_run_at is None else min(row.last_run_at, now),
            )
        )
        repaired.append(row.rule)
    return repaired


def _remove(connection: Connection, rules: Collection[str]) -> None:
    for rule in sorted(rules):
        connection.execute(delete(schedules).where(schedules.c.rule == rule))


def _first_time(schedule: Schedule, row: Row[Any] | None, now: datetime) -> datetime:
    if isinstance(schedule, IntervalSchedule) and row is not None and row.last_run_at is not None:
        return max(now, row.last_run_at + schedule.interval)
    return first_after(schedule, now=now)


def _upsert(connection: Connection, rule: str, schedule: Schedule, planned_for: datetime, rng: Random) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = {
        "schedule": to_text(schedule),
        "planned_for": planned_for,
        "due_at": delayed(schedule, planned_for, rng=rng),
        "claimed_until": None,
    }
    statement = insert(schedules).values(rule=rule, **new)
    # Of two processes that start together, the second finds an equal schedule and leaves it unchanged.
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[schedules.c.rule], set_=new, where=schedules.c.schedule != to_text(schedule)
        )
    )


def _claim(connection: Connection, now: datetime) -> list[DueSchedule]:
    free = and_(schedules.c.due_at <= now, or_(schedules.c.claimed_until.is_(None), schedules.c.claimed_until <= now))
    candidates = select(schedules).where(free).order_by(schedules.c.due_at, schedules.c.rule).limit(_CLAIM_LIMIT)
    return [
        DueSchedule(row.rule, row.planned_for, row.due_at)
        for row in connection.execute(candidates).all()
        if connection.execute(
            update(schedules)
            .where(schedules.c.rule == row.rule, schedules.c.due_at == row.due_at, free)
            .values(claimed_until=now + timedelta(seconds=CLAIM_SECONDS))
        ).rowcount
    ]


def _mark_fired(connection: Connection, due: DueSchedule, now: datetime, rng: Random) -> bool:
    same = and_(schedules.c.rule == due.rule, schedules.c.due_at == due.due_at)
    row = connection.execute(select(schedules).where(same).with_for_update()).one_or_none()
    if row is None:
        return False
    schedule = from_text(row.schedule)
    planned_for = next_after(schedule, planned_for=row.planned_for, now=now)
    connection.execute(
        update(schedules)
        .where(same)
        .values(
            planned_for=planned_for,
            due_at=delayed(schedule, planned_for, rng=rng),
            claimed_until=None,
            last_run_at=now,
        )
    )
    return True
