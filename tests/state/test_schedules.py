"""Schedules as rows: once per fleet, once after a gap, and never lost between claim and job."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from image_syncer.state import CronSchedule, DueSchedule, IntervalSchedule, Schedule, State, open_state
from image_syncer.state.schedules import CLAIM_SECONDS

NOW = datetime(2026, 5, 1, 12, 0, 0, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


async def plan(state: State, now: datetime = NOW, **wanted: Schedule) -> None:
    """Store exactly the schedules *wanted*."""
    await state.schedules.replace_all(wanted, now=now, rng=Random(0))


async def run(state: State, now: datetime) -> list[str]:
    """Claim what is due, start it, and return the rules' names."""
    due = await state.schedules.claim(now=now)
    assert [await state.schedules.mark_fired(one, now=now, rng=Random(0)) for one in due] == [True] * len(due)
    return [one.rule for one in due]


async def test_an_interval_runs_at_once_and_then_in_time(state: State) -> None:
    """A new rule is due now, then after each interval, on the grid of its first run."""
    await plan(state, app=IntervalSchedule(HOUR))
    assert await run(state, NOW) == ["app"]
    assert await run(state, NOW + HOUR - MINUTE) == []
    assert await run(state, NOW + HOUR + MINUTE) == ["app"]
    assert await state.schedules.next_due() == NOW + 2 * HOUR


async def test_a_claimed_rule_is_not_claimed_twice(state: State) -> None:
    """The second process of a fleet gets nothing."""
    await plan(state, app=IntervalSchedule(HOUR))
    assert [due.rule for due in await state.schedules.claim(now=NOW)] == ["app"]
    assert await state.schedules.claim(now=NOW) == []


async def test_concurrent_claims_of_a_fleet_fire_once(state_url: str) -> None:
    """Of nine claims over three connections each rule is granted to one."""
    async with open_state(state_url) as a, open_state(state_url) as b, open_state(state_url) as c:
        await a.schedules.replace_all({f"rule{n}": IntervalSchedule(HOUR) for n in range(20)}, now=NOW, rng=Random(0))
        claimed = await asyncio.gather(*(one.schedules.claim(now=NOW) for one in (a, b, c) * 3))
    assert sorted(due.rule for some in claimed for due in some) == sorted(f"rule{n}" for n in range(20))


async def test_a_claim_whose_owner_died_is_granted_again(state: State) -> None:
    """A kill between claim and job costs a minute, not a run."""
    await plan(state, app=IntervalSchedule(24 * HOUR))
    assert await state.schedules.claim(now=NOW)
    assert await state.schedules.next_due() == NOW + timedelta(seconds=CLAIM_SECONDS)
    assert await run(state, NOW + timedelta(seconds=CLAIM_SECONDS)) == ["app"]


async def test_a_rule_runs_once_after_a_downtime(state_url: str) -> None:
    """After three days one run is due, and then the next hour."""
    async with open_state(state_url) as before:
        await plan(before, app=IntervalSchedule(HOUR))
        assert await run(before, NOW) == ["app"]
    late = NOW + 72 * HOUR + MINUTE
    async with open_state(state_url) as after:
        await plan(after, late, app=IntervalSchedule(HOUR))
        assert await run(after, late) == ["app"]
        assert await run(after, late) == []
        assert await after.schedules.next_due() == NOW + 73 * HOUR


async def test_a_restart_keeps_due_times(state: State) -> None:
    """A daemon that restarts every ten minutes still runs the rule every hour."""
    await plan(state, app=IntervalSchedule(HOUR), nightly=CronSchedule("0 3 * * *"))
    assert await run(state, NOW) == ["app"]
    before = await state.schedules.list()
    await plan(state, NOW + 10 * MINUTE, app=IntervalSchedule(HOUR), nightly=CronSchedule("0 3 * * *"))
    assert await state.schedules.list() == before


async def test_a_changed_interval_counts_from_the_last_run(state: State) -> None:
    """Shortening an interval does not wait for the old one, and does not run twice at once either."""
    await plan(state, app=IntervalSchedule(24 * HOUR))
    await run(state, NOW)
    await plan(state, NOW + MINUTE, app=IntervalSchedule(HOUR))
    assert await state.schedules.next_due() == NOW + HOUR
    await plan(state, NOW + 2 * HOUR, app=IntervalSchedule(HOUR, MINUTE))
    assert await run(state, NOW + 2 * HOUR + MINUTE) == ["app"]


async def test_a_changed_cron_expression_waits_for_its_time(state: State) -> None:
    """A changed hour does not start a run now."""
    await plan(state, app=CronSchedule("0 3 * * *"))
    await plan(state, app=CronSchedule("0 15 * * *"))
    assert await state.schedules.next_due() == datetime(2026, 5, 1, 15, 0, tzinfo=UTC)


async def test_a_removed_rule_is_never_due(state: State) -> None:
    """Rules that are not in the configuration do not run."""
    await plan(state, app=IntervalSchedule(HOUR), gone=IntervalSchedule(HOUR))
    await plan(state, app=IntervalSchedule(HOUR))
    assert await run(state, NOW) == ["app"]
    await plan(state)
    assert await state.schedules.next_due() is None


async def test_a_schedule_that_changed_after_its_claim_keeps_its_new_time(state: State) -> None:
    """A reload between claim and job is not overwritten."""
    await plan(state, app=IntervalSchedule(HOUR))
    [due] = await state.schedules.claim(now=NOW)
    await plan(state, NOW + MINUTE, app=CronSchedule("0 3 * * *"))
    assert not await state.schedules.mark_fired(due, now=NOW + MINUTE, rng=Random(0))
    assert await state.schedules.next_due() == datetime(2026, 5, 2, 3, 0, tzinfo=UTC)


async def test_a_removed_rule_cannot_fire(state: State) -> None:
    """A late answer does not restore it."""
    assert not await state.schedules.mark_fired(DueSchedule("app", NOW, NOW), now=NOW, rng=Random(0))


@pytest.mark.parametrize(
    ("schedule", "next_due"),
    [
        (IntervalSchedule(timedelta(seconds=10)), NOW + MINUTE),
        (CronSchedule("0 3 * * *"), datetime(2026, 5, 2, 3, 0, tzinfo=UTC)),
    ],
)
async def test_a_clock_that_jumped_ahead_and_back_does_not_silence_a_schedule(
    state: State, schedule: Schedule, next_due: datetime
) -> None:
    """The due time that was set 30 days ahead is computed again; a restart alone keeps it."""
    await plan(state, app=schedule)
    future = NOW + timedelta(days=30)
    assert await run(state, future) == ["app"]
    await plan(state, NOW + MINUTE, app=schedule)
    assert await state.schedules.repair(now=NOW + MINUTE, rng=Random(0)) == ["app"]
    assert await state.schedules.next_due() == next_due
    [record] = await state.schedules.list()
    assert record.last_run_at == NOW + MINUTE


async def test_a_lease_from_the_future_does_not_silence_a_schedule(state: State) -> None:
    """The process died between claim and job, while its clock was wrong."""
    await plan(state, app=IntervalSchedule(HOUR))
    assert await state.schedules.claim(now=NOW + timedelta(days=30))
    assert await state.schedules.repair(now=NOW, rng=Random(0)) == ["app"]
    assert await run(state, NOW) == ["app"]


@pytest.mark.parametrize(
    "schedule", [IntervalSchedule(timedelta(seconds=10), timedelta(seconds=9)), CronSchedule("* * * * *")]
)
async def test_a_repair_keeps_correct_times(state: State, schedule: Schedule) -> None:
    """Jitter, a lease and a clock that is half a minute ahead are no reason to reschedule."""
    ahead = NOW + timedelta(seconds=30)
    await plan(state, app=schedule, other=IntervalSchedule(HOUR))
    await state.schedules.claim(now=ahead)
    assert await state.schedules.repair(now=NOW, rng=Random(0)) == []
    later = ahead + timedelta(seconds=CLAIM_SECONDS + 30)
    assert await run(state, later)
    assert await state.schedules.repair(now=later - timedelta(seconds=30), rng=Random(0)) == []


async def test_jitter_does_not_add_up(state: State) -> None:
    """However late each run is, the tenth is planned for the tenth hour."""
    await plan(state, app=IntervalSchedule(HOUR, 30 * MINUTE))
    for hour in range(10):
        [due] = await state.schedules.claim(now=NOW + hour * HOUR + 30 * MINUTE)
        assert due.planned_for == NOW + hour * HOUR
        assert due.planned_for <= due.due_at <= due.planned_for + 30 * MINUTE
        await state.schedules.mark_fired(due, now=NOW + hour * HOUR + 30 * MINUTE, rng=Random(hour))


async def test_operators_see_the_last_and_the_next_run(state: State) -> None:
    """The dashboard's line about a schedule."""
    await plan(state, app=IntervalSchedule(HOUR))
    await run(state, NOW)
    [planned] = await state.schedules.list()
    assert (planned.rule, planned.schedule) == ("app", IntervalSchedule(HOUR))
    assert (planned.last_run_at, planned.due_at) == (NOW, NOW + HOUR)
