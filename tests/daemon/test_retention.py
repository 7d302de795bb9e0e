"""Retention: the state does not grow without bound."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from image_syncer.cache.backend import FactRecord
from image_syncer.daemon.retention import Retention
from image_syncer.state import NewEvent, NewRun, RunEnd, State, StateCacheBackend, Trigger, open_state
from image_syncer.state.cache_rows import FACTS
from image_syncer.state.trusted_clock import TrustedClock, Uptime
from support.stores import KINDS, migrate_state, new_url

START = datetime(2026, 5, 1, tzinfo=UTC)
KEEP = timedelta(days=30)


class Enough(Exception):
    """The end of a test."""


@dataclass
class Time:
    """A clock that moves only during pauses; *during* has a function for the pause of a number."""

    now: datetime = START
    passed: float = 0.0
    boot: str = "boot"
    pauses: list[float] = field(default_factory=list[float])
    during: dict[int, Callable[[], object]] = field(default_factory=dict[int, Callable[[], object]])
    most: int = 4

    async def pause(self, seconds: float) -> None:
        """Let *seconds* pass at once."""
        self.pauses.append(seconds)
        if len(self.pauses) == self.most:
            raise Enough
        self.during.get(len(self.pauses), lambda: None)()
        self.now += timedelta(seconds=seconds)
        self.passed += seconds

    def uptime(self) -> Uptime:
        """Return the time that passed, whatever the clock shows."""
        return Uptime(self.boot, timedelta(seconds=self.passed))

    def jump(self, ahead: timedelta) -> None:
        """Set the clock."""
        self.now += ahead

    def restart(self, ahead: timedelta) -> None:
        """Start the machine again, with another clock."""
        self.boot += " again"
        self.now += ahead

    async def be_trusted(self, state: State) -> None:
        """Let the state trust the clock, as after two hours of work."""
        for earlier in (timedelta(hours=2), timedelta()):
            uptime = Uptime(self.boot, -earlier)
            await TrustedClock(state.database, now=lambda ago=earlier: START - ago, uptime=lambda up=uptime: up).look()


async def fill(state: State, at: datetime) -> None:
    """Record a decided event, a pending one, and twelve runs of a rule."""
    decided, _ = await state.events.record([NewEvent("h", "a.test/b", tag) for tag in ("1", "2")], now=at)
    await state.events.mark_unmatched([decided], now=at)
    for _ in range(12):
        run = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["app"], at))
        await state.runs.finish(run, RunEnd(at))


async def remaining(state: State) -> tuple[int, int]:
    """Return the numbers of events and runs."""
    return len(await state.events.page()), len(await state.runs.page())


@pytest.mark.parametrize(("age", "events_and_runs"), [(KEEP - timedelta(minutes=2), (2, 12)), (KEEP, (1, 10))])
async def test_old_events_and_runs_are_removed(
    age: timedelta, events_and_runs: tuple[int, int], tmp_path: Path
) -> None:
    """But never a pending event, nor the last ten runs of a rule."""
    time = Time(most=2)
    async with open_state(str(tmp_path / "state.db")) as state:
        await time.be_trusted(state)
        await fill(state, START - age)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause, uptime=time.uptime).run()
        assert await remaining(state) == events_and_runs


async def test_retention_runs_a_minute_after_the_start_and_then_every_hour(tmp_path: Path) -> None:
    """Entries that become old while the daemon runs are removed, too."""
    time = Time()
    async with open_state(str(tmp_path / "state.db")) as state:
        await time.be_trusted(state)
        await fill(state, START - KEEP + timedelta(minutes=30))
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause, uptime=time.uptime).run()
        assert time.pauses == [60, 3600, 3600, 3600]
        assert await remaining(state) == (1, 10)


JUMP = timedelta(days=31)


@pytest.fixture(params=KINDS)
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty state of each kind."""
    return new_url(request, tmp_path / "state.db", migrate_state)


async def left_after(
    state_url: str, jumps: dict[int, timedelta], *, pauses: int, restarts: bool = False
) -> tuple[int, int, int]:
    """Return the numbers of events, runs and cached facts that are left, with *jumps* of the clock in pauses."""
    time = Time(most=pauses)
    change = time.restart if restarts else time.jump
    time.during = {pause: partial(change, ahead) for pause, ahead in jumps.items()}
    async with open_state(state_url) as state:
        await time.be_trusted(state)
        await fill(state, START)
        cache = StateCacheBackend(state.database, keep=KEEP, now=lambda: START)
        await cache.write([FactRecord("a.test", "k", "v", timedelta(days=20).total_seconds())], tidy=False)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause, uptime=time.uptime).run()
        return *await remaining(state), await state.database.read_sql(FACTS.count)


async def test_a_clock_that_is_ahead_for_a_while_removes_nothing(state_url: str) -> None:
    """A month of history and the caches stay, though retention runs meanwhile; twice, if it jumps again."""
    jumps = {1: JUMP, 2: -JUMP, 3: JUMP, 4: -JUMP}
    assert await left_after(state_url, jumps, pauses=5) == (2, 12, 1)


async def test_a_restart_with_a_clock_that_is_ahead_removes_nothing(state_url: str) -> None:
    """The state knows the time until then."""
    assert await left_after(state_url, {1: JUMP, 2: -JUMP}, pauses=4, restarts=True) == (2, 12, 1)


@pytest.mark.parametrize(("pauses", "left"), [(2, (2, 12)), (3, (1, 10))])
async def test_a_new_state_removes_nothing_for_an_hour(pauses: int, left: tuple[int, int], state_url: str) -> None:
    """Its clock may be ahead already."""
    time = Time(most=pauses)
    async with open_state(state_url) as state:
        await fill(state, START - KEEP)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause, uptime=time.uptime).run()
        assert await remaining(state) == left


async def test_a_second_jump_is_not_taken_for_the_first(state_url: str) -> None:
    """Each is believed after an hour of its own."""
    assert await left_after(state_url, {1: timedelta(minutes=5), 2: JUMP}, pauses=3) == (2, 12, 1)


async def test_a_jump_is_not_believed_at_once(state_url: str) -> None:
    """The clock may be set back before the next removal."""
    assert await left_after(state_url, {1: JUMP}, pauses=2) == (2, 12, 1)


async def test_a_corrected_clock_removes_what_is_old(state_url: str) -> None:
    """It was behind before; retention goes on an hour after it was set right."""
    assert await left_after(state_url, {1: JUMP}, pauses=3) == (1, 10, 0)


async def test_retention_retries_a_minute_after_a_failure(tmp_path: Path) -> None:
    """The database was down."""
    file, away = tmp_path / "state.db", tmp_path / "away"
    time = Time(most=3, during={1: lambda: file.rename(away), 2: lambda: away.rename(file)})
    async with open_state(str(file)) as state:
        await time.be_trusted(state)
        await fill(state, START - KEEP)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause, uptime=time.uptime).run()
        assert time.pauses == [60, 60, 3600]
        assert await remaining(state) == (1, 10)
