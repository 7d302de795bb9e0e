"""kill -9 in the middle of a stream of events: every identifier that was given out is a row."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

import support.claimer
import support.recorder
from image_syncer.state import EventFilter, EventStatus, NewEvent, State, open_state
from image_syncer.state.event_log import CLAIM_SECONDS

_PENDING_PAGE = 1000


async def recorded_until_killed(url: str, name: str, seconds: float) -> list[int]:
    """Return the identifiers that a process acknowledged before it was killed, *seconds* after its first."""
    return await said_until_killed(support.recorder.__file__, url, name, seconds=seconds)


async def said_until_killed(program: str, *arguments: str, seconds: float) -> list[int]:
    """Return the numbers that *program* wrote before it was killed, *seconds* after its first."""
    process = await asyncio.create_subprocess_exec(sys.executable, program, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = await process.stdout.readline()
        await asyncio.sleep(seconds)
    finally:
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
    # The last line may be cut: that write was made, but not reported.
    return [int(line) for line in (first + rest).splitlines(keepends=True) if line.endswith(b"\n")]


async def pending(state: State) -> list[int]:
    """Return the identifiers of all events that wait."""
    found: list[int] = []
    while page := await state.events.list_pending(_PENDING_PAGE, after=found[-1] if found else 0):
        found += [event.id for event in page]
    return found


@pytest.mark.slow
async def test_no_acknowledged_event_is_lost_by_kills(state_url: str) -> None:
    """Five kills at random moments, on each database."""
    rng = Random(7)
    acknowledged: set[int] = set()
    for kill in range(5):
        acknowledged.update(await recorded_until_killed(state_url, f"hook{kill}", rng.uniform(0.05, 0.5)))
    async with open_state(state_url) as state:
        lost = acknowledged - set(await pending(state))
    assert len(acknowledged) > 20
    assert lost == set()


@pytest.mark.slow
async def test_a_kill_leaves_a_second_process_at_work(tmp_path: Path) -> None:
    """Two processes on one file: the one that is killed takes nothing of the other's with it."""
    url = f"sqlite:///{tmp_path}/state.db"
    short, long = await asyncio.gather(
        recorded_until_killed(url, "short", 0.2), recorded_until_killed(url, "long", 0.8)
    )
    async with open_state(url) as state:
        assert {*short, *long} <= set(await pending(state))
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
async def test_a_kill_between_claim_and_mark_loses_nothing_and_repeats_nothing_that_was_marked(state_url: str) -> None:
    """A dispatcher dies with events in its hands: another one gets exactly those, once the claims have ended."""
    async with open_state(state_url) as state:
        arrived = [NewEvent("harbor", "harbor.test/app", str(number)) for number in range(2000)]
        recorded = await state.events.record(arrived, now=datetime.now(UTC))
        marked = await said_until_killed(support.claimer.__file__, state_url, seconds=0.3)
        left = set(await pending(state))
        later = datetime.now(UTC) + timedelta(seconds=CLAIM_SECONDS)
        claimed: list[int] = []
        while some := await state.events.claim(1000, now=later):
            claimed += [event.id for event in some]
        dispatched = await state.events.page(EventFilter(status=EventStatus.DISPATCHED), limit=1000)
    assert marked
    assert set(claimed) == left
    assert len(claimed) == len(left)
    assert {*marked} <= {event.id for event in dispatched}
    assert {*claimed, *(event.id for event in dispatched)} == set(recorded)
