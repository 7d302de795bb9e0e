"""A clock that is ahead for a while removes nothing, whatever restarts meanwhile; a right clock is trusted soon."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from image_syncer.cache.backend import FactRecord
from image_syncer.roles import Sighting
from image_syncer.state import State, StateCacheBackend, open_state
from image_syncer.state.cache_rows import FACTS, FIRST_SEEN
from image_syncer.state.sql_session import SqlDatabase
from image_syncer.state.trusted_clock import TOLERANCE, Look, TrustedClock, TrustedTime, Uptime, judge, uptime_now
from state.hints import HERE, KEEP, digest

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
JUMP = 500 * DAY


class Machine:
    """A machine with a clock, which may be wrong by *ahead*."""

    def __init__(self, boot: str = "first") -> None:
        self.passed = timedelta()
        self.ahead = timedelta()
        self.boot = boot
        self.booted_after = timedelta()

    @property
    def right(self) -> datetime:
        """The right time."""
        return NOW + self.passed

    def now(self) -> datetime:
        """Return what the clock shows."""
        return self.right + self.ahead

    def uptime(self) -> Uptime:
        """Return the time since the start."""
        return Uptime(self.boot, self.passed - self.booted_after)

    def restart(self, boot: str) -> None:
        """Start the machine again."""
        self.boot, self.booted_after = boot, self.passed

    def look(self) -> Look:
        """Look at the clock."""
        return Look(self.now(), self.uptime())


def trusted_after(*steps: tuple[timedelta, timedelta, str], before: TrustedTime | None = None) -> datetime | None:
    """Return the trusted time after looks: each after some time, with a clock that is ahead, in a boot."""
    machine, time = Machine(), TrustedTime() if before is None else before
    for passed, ahead, boot in steps:
        machine.passed += passed
        machine.ahead = ahead
        if boot != machine.boot:
            machine.restart(boot)
        time = judge(time, machine.look())
    return time.now


RIGHT = timedelta()
SOON = timedelta(minutes=10)
STARTED = TrustedTime(Look(NOW, Uptime("first", timedelta())))


@pytest.mark.parametrize(
    ("steps", "trusted"),
    [
        pytest.param([(SOON, RIGHT, "first")], NOW + SOON, id="right"),
        pytest.param([(40 * DAY, RIGHT, "first")], NOW + 40 * DAY, id="right-after-a-long-pause"),
        pytest.param([(SOON, JUMP, "first")], NOW, id="jumps"),
        pytest.param([(SOON, JUMP, "first"), (SOON, RIGHT, "first")], NOW + 2 * SOON, id="jumps-and-comes-back"),
        pytest.param([(SOON, JUMP, "first"), (HOUR - SOON, JUMP, "first")], NOW, id="ahead-for-less-than-an-hour"),
        pytest.param([(SOON, JUMP, "first"), (HOUR, JUMP, "first")], NOW + SOON + HOUR + JUMP, id="ahead-for-an-hour"),
        pytest.param(
            [(SOON, JUMP, "first"), (HOUR, 2 * JUMP, "first"), (SOON, 2 * JUMP, "first")], NOW, id="jumps-twice"
        ),
        pytest.param([(SOON, -JUMP, "first")], NOW + SOON - JUMP, id="goes-back"),
        pytest.param([(SOON, JUMP, "second"), (SOON, JUMP, "second")], NOW, id="jumps-in-a-restart"),
        pytest.param([(SOON, JUMP, "second"), (SOON, JUMP, "third")], NOW, id="restarts-while-ahead"),
        pytest.param([(SOON, JUMP, "second"), (SOON, RIGHT, "third"), (HOUR, RIGHT, "third")], NOW + 2 * SOON + HOUR),
        pytest.param([(40 * DAY, RIGHT, "second"), (HOUR, RIGHT, "second")], NOW + 40 * DAY + HOUR, id="was-off"),
        pytest.param([(DAY, RIGHT, "second"), (DAY, RIGHT, "third")], NOW + DAY, id="a-new-machine-each-day"),
        pytest.param(
            [(DAY, RIGHT, "second"), (DAY, JUMP, "third"), (DAY, RIGHT, "fourth")], NOW + DAY, id="one-of-them-ahead"
        ),
    ],
)
def test_what_is_trusted(steps: list[tuple[timedelta, timedelta, str]], trusted: datetime) -> None:
    """After a trusted look; the first of *steps* follows it."""
    assert trusted_after(*steps, before=STARTED) == trusted


def test_a_new_state_trusts_its_clock_after_an_hour() -> None:
    """It may have been made while the clock was ahead."""
    assert trusted_after((SOON, JUMP, "first"), (HOUR - SOON, JUMP, "first")) is None
    assert trusted_after((SOON, RIGHT, "first"), (HOUR, RIGHT, "first")) == NOW + SOON + HOUR


def test_an_uptime_that_went_back_is_not_compared() -> None:
    """A machine that was restored from a snapshot."""
    before = TrustedTime(Look(NOW, Uptime("first", DAY)))
    assert judge(before, Look(NOW + JUMP, Uptime("first", HOUR))).now == NOW


@pytest.mark.parametrize("seed", range(20))
def test_no_short_fault_is_ever_trusted(seed: int) -> None:
    """Looks and restarts at random times, of two machines, with faults of less than an hour and right hours between."""
    rng = Random(seed)
    machines = Machine("one"), Machine("two")
    time = TrustedTime()
    for turn in range(400):
        ahead = rng.choice([timedelta(minutes=5), DAY, JUMP]) if turn % 2 else timedelta()
        faulty = rng.choice(machines)
        ends = machines[0].passed + (timedelta(minutes=rng.uniform(1, 59)) if turn % 2 else 3 * HOUR)
        while machines[0].passed < ends:
            for machine in machines:
                machine.ahead = ahead if machine is faulty else timedelta()
                if rng.random() < 0.2:
                    machine.restart(f"{turn} {machine.passed} {rng.random()}")
                if rng.random() < 0.6:
                    time = judge(time, machine.look())
                assert time.now is None or time.now <= machine.right + TOLERANCE
            step = timedelta(minutes=rng.uniform(1, 30))
            for machine in machines:
                machine.passed += min(step, ends - machine.passed)
    assert time.now is not None
    assert machines[0].right - time.now < 12 * HOUR


async def looks(database: SqlDatabase, machine: Machine, *steps: timedelta) -> datetime | None:
    """Return what is trusted after looks, each after a step and by a process of its own."""
    time = TrustedTime()
    for passed in steps:
        machine.passed += passed
        time = await TrustedClock(database, now=machine.now, uptime=machine.uptime).look()
    return time.now


async def test_the_state_keeps_what_is_trusted(cache_database: SqlDatabase) -> None:
    """Each process, and each run, goes on from there."""
    machine = Machine()
    assert await looks(cache_database, machine, SOON) is None
    assert await looks(cache_database, machine, HOUR) == NOW + SOON + HOUR
    machine.ahead = JUMP
    assert await looks(cache_database, machine, SOON) == NOW + SOON + HOUR
    machine.restart("second")
    assert await looks(cache_database, machine, SOON) == NOW + SOON + HOUR
    machine.ahead = RIGHT
    assert await looks(cache_database, machine, SOON, HOUR) == machine.right


async def test_runs_with_a_clock_that_is_ahead_remove_no_cache(cache_database: SqlDatabase) -> None:
    """Neither facts nor first-seen times, which would make a rule wait again; later they expire."""
    machine = Machine()
    backend = StateCacheBackend(cache_database, keep=KEEP, now=machine.now, uptime=machine.uptime)
    await backend.prune()
    machine.passed += HOUR
    await backend.record_first_seen(HERE, [Sighting("v1", digest("a"), NOW)])
    await backend.write([FactRecord("a.test", "key", "value", (20 * DAY).total_seconds())], tidy=True)
    for ahead, boot in ((JUMP, "first"), (JUMP, "second"), (RIGHT, "second"), (JUMP, "third"), (RIGHT, "third")):
        machine.passed += SOON
        machine.ahead = ahead
        if boot != machine.boot:
            machine.restart(boot)
        await backend.write([], tidy=True)
        assert [await cache_database.read_sql(table.count) for table in (FACTS, FIRST_SEEN)] == [1, 1]
    for _ in range(2):
        machine.passed += JUMP
        await backend.write([], tidy=True)
    assert [await cache_database.read_sql(table.count) for table in (FACTS, FIRST_SEEN)] == [0, 0]


async def test_processes_that_look_at_once_all_succeed(state_url: str) -> None:
    """The first looks of a state too, for which there is no row to lock."""
    machines = Machine("one"), Machine("two")

    async def look(state: State, machine: Machine) -> None:
        clock = TrustedClock(state.database, now=machine.now, uptime=machine.uptime)
        for _ in range(30):
            machine.passed += SOON
            await clock.look()

    async with open_state(state_url) as one, open_state(state_url) as other:
        await asyncio.gather(look(one, machines[0]), look(other, machines[1]))
        machines[0].passed += 2 * HOUR
        trusted = [await looks(one.database, machines[0], step) for step in (SOON, HOUR)]
    assert trusted[-1] == machines[0].right


def test_the_uptime_of_this_machine_passes() -> None:
    """Two calls in one process can be compared."""
    first, second = uptime_now(), uptime_now()
    assert first.boot == second.boot
    assert timedelta() <= second.passed - first.passed < timedelta(minutes=1)
