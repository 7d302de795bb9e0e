"""Runs and their results: what the dashboard and the API show."""

from datetime import UTC, datetime, timedelta

from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.state import NewRun, RunEnd, State, Trigger
from image_syncer.structs import replace
from image_syncer.sync.referrer_report import ReferrerProblem, ReferrerReport
from image_syncer.sync.result import CopyResult, Outcome, Transferred

NOW = datetime(2026, 5, 1, 12, 0, 0, 7, tzinfo=UTC)
FAILED = CopyResult(
    "app",
    "a.test/app:2",
    "b.test/app:2",
    Outcome.FAILED,
    reason="no\0such tag \ud800",
    side="source",
    step="resolve",
    remedy="check the tag",
    attempts=3,
)


def copied(tag: str) -> CopyResult:
    """Return the result of an image that was copied."""
    digest = Digest.of(tag.encode())
    moved = Transferred(10, 20, 30)
    return CopyResult(
        "app", f"a.test/app:{tag}", f"b.test/app:{tag}", Outcome.COPIED, digest, digest, transferred=moved
    )


async def begin(state: State, number: int = 0, trigger: Trigger = Trigger.SCHEDULE) -> int:
    """Return the identifier of a run that began *number* hours after the first."""
    return await state.runs.begin(NewRun(trigger, ["app", "db"], NOW + timedelta(hours=number)))


async def test_a_run_counts_what_was_added_so_far(state: State) -> None:
    """A running or killed run shows its results so far."""
    run = await begin(state)
    await state.runs.add(run, [copied("1"), FAILED])
    await state.runs.add(run, [copied("3")])
    found = await state.runs.get(run)
    assert found is not None
    assert found.counts == {Outcome.COPIED: 2, Outcome.UNCHANGED: 0, Outcome.SKIPPED: 0, Outcome.FAILED: 1}
    assert (found.transferred, found.finished_at, found.rules) == (Transferred(20, 40, 60), None, "app, db")


async def test_a_finished_run_tells_its_requests_and_warnings(state: State) -> None:
    """The end of a run has a time and its costs."""
    run = await begin(state)
    end = RunEnd(NOW + timedelta(seconds=3), {"source": 9, "target": 14}, ["one\nline", "two"])
    await state.runs.finish(run, end)
    found = await state.runs.get(run)
    assert found is not None
    assert (found.finished_at, found.requests) == (end.finished_at, {"source": 9, "target": 14})
    assert (found.started_at, found.warnings, found.dry_run) == (NOW, ("one line", "two"), False)


REPORT = ReferrerReport(
    source=((ReferrerKind.SIGNATURE, 2), (ReferrerKind.SBOM, 1)),
    target=((ReferrerKind.SIGNATURE, 1),),
    copied=1,
    refused=(ReferrerProblem(Digest.of(b"refused"), ReferrerKind.SBOM, "answered 405 \0 \ud800"),),
    not_carried=(ReferrerProblem(Digest.of(b"left"), ReferrerKind.SIGNATURE, "subject changed"),),
)


async def test_results_keep_what_became_of_the_referrers(state: State) -> None:
    """An empty report is another one than none; equal ones without problems are one object."""
    run = await begin(state)
    plain = ReferrerReport(source=((ReferrerKind.SBOM, 1),), target=((ReferrerKind.SBOM, 1),))
    reports = [REPORT, plain, plain, ReferrerReport(), None]
    await state.runs.add(run, [replace(copied(str(tag)), referrers=one) for tag, one in enumerate(reports)])
    found, _ = await state.runs.results(run)
    assert [one.referrers for one in found] == reports
    assert found[1].referrers is found[2].referrers
    assert (await state.runs.latest_results("b.test/app:0"))[0].referrers == REPORT


async def test_a_record_keeps_twenty_problems_of_an_image(state: State) -> None:
    """An image may have thousands of refused referrers, each with a long reason."""
    run = await begin(state)
    problems = tuple(
        ReferrerProblem(Digest.of(str(number).encode()), ReferrerKind.OTHER, "x" * 500) for number in range(1000)
    )
    report = ReferrerReport(source=((ReferrerKind.OTHER, 2000),), refused=problems, not_carried=problems)
    await state.runs.add(run, [replace(copied("1"), referrers=report)])
    ((found,), _) = await state.runs.results(run)
    assert found.referrers == replace(report, refused=problems[:20], not_carried=problems[:20])


async def test_results_come_back_as_they_were_added(state: State) -> None:
    """Digests, bytes, attempts and reasons survive, also with characters that a database refuses."""
    run = await begin(state)
    await state.runs.add(run, [copied("1"), FAILED])
    first, second = (await state.runs.results(run))[0]
    assert first == copied("1")
    assert (second.reason, second.side, second.step, second.attempts) == (
        "no\ufffdsuch tag \ufffd",
        "source",
        "resolve",
        3,
    )


async def test_results_are_read_in_pages(state: State) -> None:
    """A run of any size is read in bounded pieces, each result once."""
    run = await begin(state)
    await state.runs.add(run, [copied(str(n)) for n in range(1200)])
    seen: list[str] = []
    after = 0
    while page := (await state.runs.results(run, after=after, limit=500)):
        results, after = page
        seen += [result.source for result in results]
        if not results:
            break
    assert seen == [f"a.test/app:{n}" for n in range(1200)]


async def test_failed_results_are_found_by_their_outcome(state: State) -> None:
    """An operator reads only the failures."""
    run, other = await begin(state), await begin(state, 1)
    await state.runs.add(run, [copied("1"), FAILED])
    await state.runs.add(other, [FAILED])
    results, _ = await state.runs.results(run, outcome=Outcome.FAILED)
    assert [result.source for result in results] == ["a.test/app:2"]


async def test_the_history_of_a_target_is_newest_first(state: State) -> None:
    """The history of one image over all runs."""
    for number in range(3):
        await state.runs.add(await begin(state, number), [copied("1"), FAILED])
    assert await state.runs.latest_results("b.test/app:1", limit=2) == [copied("1")] * 2


async def test_runs_are_listed_newest_first_in_pages_and_by_trigger(state: State) -> None:
    """The dashboard's list."""
    first, second = await begin(state), await begin(state, 1)
    third = await begin(state, 2, Trigger.EVENT)
    assert [run.id for run in await state.runs.page(limit=2)] == [third, second]
    assert [run.id for run in await state.runs.page(before=second)] == [first]
    assert [run.id for run in await state.runs.page(trigger=Trigger.EVENT)] == [third]


async def test_the_runs_of_a_rule_fill_whole_pages(state: State) -> None:
    """Runs of other rules between them do not matter; a name that is part of another name does not match."""
    wanted = [await state.runs.begin(NewRun(Trigger.SCHEDULE, rules, NOW)) for rules in (["a_b"], ["x", "a_b"])]
    for name in ("a_b_c", "aXb", "x"):
        await state.runs.begin(NewRun(Trigger.SCHEDULE, [name], NOW))
    assert [run.id for run in await state.runs.page(rule="a_b", limit=2)] == wanted[::-1]


async def test_pruning_keeps_the_newest(state: State) -> None:
    """The table is bounded by count, and results go with their run."""
    ids = [await begin(state, number) for number in range(30)]
    await state.runs.add(ids[0], [copied("1")])
    for run in ids:
        await state.runs.finish(run, RunEnd(NOW))
    assert await state.runs.prune(keep=5, older_than=NOW - timedelta(days=1)) == 25
    assert [run.id for run in await state.runs.page()] == ids[:-6:-1]
    assert await state.runs.results(ids[0]) == ([], 0)


async def test_pruning_removes_what_is_old(state: State) -> None:
    """The table is bounded by age too."""
    old, new = await begin(state), await begin(state, 2)
    assert await state.runs.prune(keep=100, older_than=NOW + timedelta(hours=1)) == 1
    assert [run.id for run in await state.runs.page()] == [new]
    assert await state.runs.get(old) is None


async def test_results_of_a_run_that_was_removed_are_dropped(state: State) -> None:
    """A long run whose row was pruned ends without an error and leaves no orphans."""
    await state.runs.add(999, [FAILED])
    assert await state.runs.latest_results(FAILED.target) == []


async def test_a_run_that_goes_on_is_not_pruned_by_count(state: State) -> None:
    """Even after many short runs meanwhile."""
    long = await begin(state)
    for number in range(3):
        await state.runs.finish(await begin(state, number), RunEnd(NOW))
    assert await state.runs.prune(keep=1, older_than=NOW) == 2
    assert await state.runs.get(long) is not None
