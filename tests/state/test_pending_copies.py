"""Runs whose copies are made elsewhere: the last of them ends the run, in whichever process."""

import asyncio
from datetime import UTC, datetime, timedelta

from image_syncer.oci import Reference, Repository
from image_syncer.state import NewRun, RunPlan, State, Trigger
from image_syncer.state.pending_copies import LOST_RUN
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult, Outcome

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)


def reference(side: str, tag: str) -> Reference:
    """Return an image at one side."""
    return Repository.of(f"{side}.test", "app").tag(tag)


def copies(*tags: str) -> list[Copy]:
    """Return the copies of *tags*."""
    return [Copy("app", reference("a", tag), reference("b", tag)) for tag in tags]


def result(tag: str, outcome: Outcome = Outcome.COPIED) -> CopyResult:
    """Return the end of the copy of *tag*."""
    return CopyResult("app", f"a.test/app:{tag}", f"b.test/app:{tag}", outcome)


async def planned(state: State, *tags: str, at: datetime = NOW) -> int:
    """Return a run that waits for *tags*."""
    run = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["app"], at))
    await state.open_copies.record_plan(run, RunPlan([result("known", Outcome.UNCHANGED)], copies(*tags)), now=at)
    return run


async def finished_at(state: State, run: int) -> datetime | None:
    """Return when *run* ended."""
    found = await state.runs.get(run)
    assert found is not None
    return found.finished_at


async def test_a_run_ends_with_its_last_copy(state: State) -> None:
    """Not before, and then with the results of all of them."""
    run = await planned(state, "1", "2")
    assert await state.open_copies.settle([result("1")], began_at=NOW, now=LATER) == []
    assert await finished_at(state, run) is None
    assert await state.open_copies.settle([result("2", Outcome.FAILED)], began_at=NOW, now=LATER) == [run]
    found = await state.runs.get(run)
    assert found is not None
    assert found.finished_at == LATER
    assert dict(found.counts) == {Outcome.COPIED: 1, Outcome.UNCHANGED: 1, Outcome.SKIPPED: 0, Outcome.FAILED: 1}


async def test_a_run_from_the_future_ends_with_its_copies(state: State) -> None:
    """It started while the clock was 30 days ahead."""
    run = await planned(state, "1", at=NOW + timedelta(days=30))
    assert await state.open_copies.settle([result("1")], began_at=NOW, now=LATER) == [run]


async def test_a_run_with_nothing_to_copy_ends_at_once(state: State) -> None:
    """What was found is written down, with its price and its warnings."""
    run = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["app"], NOW))
    plan = RunPlan([result("1", Outcome.UNCHANGED)], [], {"source": 3, "target": 4}, ["odd"], unannounced=2)
    assert await state.open_copies.record_plan(run, plan, now=LATER)
    found = await state.runs.get(run)
    assert found is not None
    assert (found.finished_at, found.requests, found.warnings) == (LATER, {"source": 3, "target": 4}, ("odd",))
    assert found.unannounced == 2


async def test_one_copy_ends_for_all_runs_that_wait_for_it(state: State) -> None:
    """A copy that two runs asked for is made once."""
    first, second = await planned(state, "1"), await planned(state, "1", "2")
    assert await state.open_copies.settle([result("1")], began_at=NOW, now=LATER) == [first]
    assert await state.open_copies.list_of_run(second) == [("a.test/app:2", "b.test/app:2")]


async def test_a_copy_that_began_before_a_run_is_not_its_copy(state: State) -> None:
    """It may have read the source before what the run found was pushed."""
    run = await planned(state, "1", at=LATER)
    assert await state.open_copies.settle([result("1")], began_at=NOW, now=LATER) == []
    assert await state.open_copies.list_of_run(run)


async def test_a_copy_that_is_settled_twice_counts_once(state: State) -> None:
    """A worker that was taken for dead may bring its result, too."""
    run = await planned(state, "1", "2")
    for _ in range(2):
        await state.open_copies.settle([result("1")], began_at=NOW, now=LATER)
    found = await state.runs.get(run)
    assert found is not None
    assert found.counts[Outcome.COPIED] == 1


async def test_two_that_bring_the_last_copies_together_end_the_run(state: State) -> None:
    """Neither overlooks what the other one does at the same time."""
    tags = [str(number) for number in range(12)]
    run = await planned(state, *tags)
    ended = await asyncio.gather(*(state.open_copies.settle([result(tag)], began_at=NOW, now=LATER) for tag in tags))
    assert [runs for runs in ended if runs] == [[run]]


async def test_a_run_that_was_killed_while_it_planned_is_ended_by_the_next(state: State) -> None:
    """It is not shown as running for ever; one that waits for copies goes on."""
    lost = await state.runs.begin(NewRun(Trigger.SCHEDULE, ["app"], NOW))
    waiting = await planned(state, "1")
    assert await state.open_copies.end_lost_runs("app", now=LATER) == 1
    found = await state.runs.get(lost)
    assert found is not None
    assert (found.finished_at, found.warnings) == (LATER, (LOST_RUN,))
    assert await finished_at(state, waiting) is None


async def test_copies_that_wait_for_long_are_found_the_oldest_first(state: State) -> None:
    """Somebody can then ask what has become of their jobs."""
    await planned(state, "2", at=NOW)
    await planned(state, "1", "2", at=LATER)
    assert await state.open_copies.list_older_than(LATER, now=LATER) == [(("a.test/app:2", "b.test/app:2"), "app")]
    assert len(await state.open_copies.list_older_than(LATER + timedelta(seconds=1), now=LATER)) == 2


async def test_a_run_of_the_future_counts_as_old(state: State) -> None:
    """A wrong clock recorded it: once a clock is right, its copies do not wait 30 days for the reconciler."""
    await planned(state, "1", at=LATER + timedelta(seconds=30))
    assert await state.open_copies.list_older_than(NOW, now=LATER) == []
    await planned(state, "2", at=LATER + timedelta(days=30))
    assert await state.open_copies.list_older_than(NOW, now=LATER) == [(("a.test/app:2", "b.test/app:2"), "app")]


async def test_a_run_of_many_copies_is_noted_in_one_go(state: State) -> None:
    """More rows than one statement takes."""
    tags = [str(number) for number in range(1200)]
    run = await planned(state, *tags)
    ended = await state.open_copies.settle([result(tag) for tag in tags], began_at=NOW, now=LATER)
    assert ended == [run]
