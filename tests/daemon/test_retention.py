"""Retention: the state does not grow without bound."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_syncer.daemon.retention import Retention
from image_syncer.state import NewEvent, NewRun, RunEnd, State, Trigger, open_state

START = datetime(2026, 5, 1, tzinfo=UTC)
KEEP = timedelta(days=30)


class Enough(Exception):
    """The end of a test."""


@dataclass
class Time:
    """A clock that moves only during pauses; *during* has a function for the pause of a number."""

    now: datetime = START
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
        await fill(state, START - age)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause).run()
        assert await remaining(state) == events_and_runs


async def test_retention_runs_a_minute_after_the_start_and_then_every_hour(tmp_path: Path) -> None:
    """Entries that become old while the daemon runs are removed, too."""
    time = Time()
    async with open_state(str(tmp_path / "state.db")) as state:
        await fill(state, START - KEEP + timedelta(minutes=30))
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause).run()
        assert time.pauses == [60, 3600, 3600, 3600]
        assert await remaining(state) == (1, 10)


async def test_retention_retries_a_minute_after_a_failure(tmp_path: Path) -> None:
    """The database was down."""
    file, away = tmp_path / "state.db", tmp_path / "away"
    time = Time(most=3, during={1: lambda: file.rename(away), 2: lambda: away.rename(file)})
    async with open_state(str(file)) as state:
        await fill(state, START - KEEP)
        with pytest.raises(Enough):
            await Retention(state, lambda: time.now, keep=KEEP, pause=time.pause).run()
        assert time.pauses == [60, 60, 3600]
        assert await remaining(state) == (1, 10)
