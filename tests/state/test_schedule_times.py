"""Due times: no drift, one run after a gap, and clocks that are put forward and back."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import UsageError
from image_syncer.state.schedule_times import (
    CronSchedule,
    IntervalSchedule,
    Schedule,
    delayed,
    first_after,
    from_text,
    next_after,
    to_text,
)

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def times(schedule: Schedule, after: datetime, count: int) -> list[str]:
    """Return the next due times in UTC, each planned at the moment of the one before."""
    found: list[str] = []
    for _ in range(count):
        after = next_after(schedule, planned_for=after, now=after)
        found.append(f"{after:%d %H:%M}")
    return found


def test_an_interval_that_never_ran_is_due_at_once() -> None:
    """A new rule need not wait for a whole interval."""
    assert first_after(IntervalSchedule(7 * HOUR), now=NOW) == NOW


def test_a_cron_expression_that_never_ran_waits_for_its_time() -> None:
    """A nightly rule does not run at noon because it is new."""
    assert first_after(CronSchedule("0 3 * * *"), now=NOW) == datetime(2026, 5, 2, 3, 0, tzinfo=UTC)


def test_a_late_run_does_not_shift_the_next() -> None:
    """The grid stays: a run that started 5 minutes late is followed by one in time."""
    assert next_after(IntervalSchedule(HOUR), planned_for=NOW, now=NOW + 5 * MINUTE) == NOW + HOUR


def test_a_run_exactly_at_the_next_time_is_followed_by_the_one_after() -> None:
    """A due time lies after now, or the same one would run twice."""
    assert next_after(IntervalSchedule(HOUR), planned_for=NOW, now=NOW + HOUR) == NOW + 2 * HOUR


@pytest.mark.parametrize("schedule", [IntervalSchedule(HOUR), CronSchedule("0 * * * *")])
def test_a_long_downtime_is_one_run(schedule: Schedule) -> None:
    """After a weekend without power there is one run, not sixty."""
    assert next_after(schedule, planned_for=NOW, now=NOW + 60 * HOUR + MINUTE) == NOW + 61 * HOUR


def test_a_clock_that_was_set_back_does_not_repeat_a_run() -> None:
    """What was planned is over, even if the clock says that it is yet to come."""
    assert next_after(CronSchedule("0 * * * *"), planned_for=NOW, now=NOW - MINUTE) == NOW + HOUR
    assert next_after(IntervalSchedule(HOUR), planned_for=NOW, now=NOW - MINUTE) == NOW + HOUR


@given(st.integers(1, 10**6), st.integers(0, 10**8))
def test_the_next_time_is_on_the_grid_and_the_first_after_now(interval: int, gone: int) -> None:
    """For any interval and any gap."""
    every = IntervalSchedule(timedelta(seconds=interval))
    found = next_after(every, planned_for=NOW, now=NOW + timedelta(seconds=gone))
    assert (found - NOW) % every.interval == timedelta(0)
    assert timedelta(0) < found - (NOW + timedelta(seconds=gone)) <= every.interval


@given(st.randoms(use_true_random=False))
def test_jitter_delays_up_to_its_bound_and_never_hastens(rng: Random) -> None:
    """Rules of one interval spread, and none comes before its time."""
    assert NOW <= delayed(IntervalSchedule(HOUR, 10 * MINUTE), NOW, rng=rng) <= NOW + 10 * MINUTE


def test_no_jitter_is_no_delay() -> None:
    """Without it the time is exact."""
    assert delayed(CronSchedule("0 * * * *"), NOW, rng=Random(0)) == NOW


def test_a_cron_expression_is_local_time() -> None:
    """Three o'clock in Shanghai is 19:00 UTC of the day before."""
    assert times(CronSchedule("0 3 * * *", "Asia/Shanghai"), NOW, 1) == ["01 19:00"]


BERLIN = "Europe/Berlin"
SPRING = datetime(2026, 3, 28, 23, 50, tzinfo=UTC)  # 02:00 becomes 03:00 at 01:00 UTC on the 29th
AUTUMN = datetime(2026, 10, 24, 23, 50, tzinfo=UTC)  # 03:00 becomes 02:00 at 01:00 UTC on the 25th


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["29 01:00", "30 00:30", "31 00:30"]),
        ("0 2 * * *", ["29 01:00", "30 00:00", "31 00:00"]),
        ("0 3 * * *", ["29 01:00", "30 01:00", "31 01:00"]),
        ("*/30 * * * *", ["29 00:00", "29 00:30", "29 01:00"]),
    ],
)
def test_a_missing_hour_loses_no_run(expression: str, expected: list[str]) -> None:
    """Where 02:30 does not exist it runs at 03:00, once."""
    assert times(CronSchedule(expression, BERLIN), SPRING, 3) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["25 00:30", "26 01:30", "27 01:30"]),
        ("0,20,40 2 * * *", ["25 00:00", "25 00:20", "25 00:40", "26 01:00"]),
        ("0 3 * * *", ["25 02:00", "26 02:00"]),
        ("0 * * * *", ["25 00:00", "25 01:00", "25 02:00"]),
        ("*/30 */1 * * *", ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]),
    ],
)
def test_a_repeated_hour_repeats_no_fixed_run_and_makes_no_pause(expression: str, expected: list[str]) -> None:
    """02:30 comes twice in that night and runs once; every half hour stays every half hour."""
    assert times(CronSchedule(expression, BERLIN), AUTUMN, len(expected)) == expected


def test_a_start_within_the_repeated_hour_waits_for_the_next_day() -> None:
    """A restart in the second 02:15 does not repeat the run of the first 02:30."""
    restarted = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert times(CronSchedule("30 2 * * *", BERLIN), restarted, 1) == ["26 01:30"]


@given(
    st.builds(
        IntervalSchedule,
        st.timedeltas(timedelta(seconds=60), timedelta(days=300)),
        st.timedeltas(timedelta(0), 59 * MINUTE / 60),
    )
    | st.builds(CronSchedule, st.sampled_from(["0 3 * * *", "*/7 1-5 * * mon"]), st.sampled_from(["UTC", BERLIN]))
)
def test_a_schedule_survives_being_stored(schedule: Schedule) -> None:
    """Text in, schedule out; equal schedules have equal texts."""
    assert from_text(to_text(schedule)) == schedule
    assert to_text(from_text(to_text(schedule))) == to_text(schedule)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "*/2 * * * * *",
        "60 * * * *",
        "0 0 30 2 *",
        "x * * * *",
        "R * * * *",
        "@daily",
        "0 0 * * " + "1," * 99,
    ],
)
def test_a_cron_expression_that_makes_no_sense_is_refused(expression: str) -> None:
    """Six fields would mean seconds, which is probably a mistake; the 30th of February never comes."""
    with pytest.raises(UsageError, match="cron"):
        CronSchedule(expression)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../../etc/passwd", "/etc/localtime", "a\0b"])
def test_a_time_zone_that_is_not_known_is_refused(name: str) -> None:
    """With a remedy, since small images come without time zones."""
    with pytest.raises(UsageError, match="tzdata"):
        CronSchedule("0 3 * * *", name)


@pytest.mark.parametrize(
    ("interval", "jitter"),
    [
        (timedelta(0), timedelta(0)),
        (-HOUR, timedelta(0)),
        (timedelta(days=400), timedelta(0)),
        (HOUR, -MINUTE),
        (HOUR, HOUR),
    ],
)
def test_an_interval_or_jitter_that_makes_no_sense_is_refused(interval: timedelta, jitter: timedelta) -> None:
    """The fork stopped with a panic at an interval of 0."""
    with pytest.raises(UsageError):
        IntervalSchedule(interval, jitter)
