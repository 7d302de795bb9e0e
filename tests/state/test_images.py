"""The last result of each image, over all runs."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from image_syncer.state import ImageFilter, NewRun, RunEnd, State, Trigger, open_state
from image_syncer.state.revisions import VERSION_TABLE
from image_syncer.structs import replace
from image_syncer.sync.result import CopyResult, Outcome

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIRST = CopyResult("app", "a.test/app:1", "b.test/mirror/app:1", Outcome.FAILED, reason="no")
SECOND = replace(FIRST, source="a.test/app@sha256:00", target="b.test/pinned:x", outcome=Outcome.COPIED)
OTHER = replace(FIRST, rule="other", source="a.test/apple:1", outcome=Outcome.SKIPPED)


async def run(state: State, *results: CopyResult) -> int:
    """Return the identifier of a run that had *results*."""
    number = await state.runs.begin(NewRun(Trigger.SCHEDULE, [results[0].rule], NOW))
    await state.runs.add(number, results)
    await state.runs.finish(number, RunEnd(NOW))
    return number


async def outcomes(state: State, wanted: ImageFilter | None = None) -> list[tuple[str, str]]:
    """Return the source and the outcome of the images that are wanted."""
    return [(found.source, found.outcome.value) for _, found in await state.runs.images(wanted)]


async def test_each_image_shows_its_last_result(state: State) -> None:
    """What was done last comes first; earlier results are in their runs."""
    await run(state, FIRST, SECOND, OTHER)
    await run(state, replace(FIRST, outcome=Outcome.COPIED), replace(FIRST, outcome=Outcome.UNCHANGED))
    assert await outcomes(state) == [
        ("a.test/app:1", "unchanged"),
        ("a.test/apple:1", "skipped"),
        ("a.test/app@sha256:00", "copied"),
    ]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (ImageFilter(rule="other"), 1),
        (ImageFilter(outcome=Outcome.FAILED), 1),
        (ImageFilter(repository="a.test/app"), 2),
        (ImageFilter(repository="b.test/mirror/app"), 2),
        (ImageFilter(repository="a.test/ap_"), 0),
        (ImageFilter(rule="app", outcome=Outcome.COPIED, repository="b.test/pinned"), 1),
    ],
)
async def test_images_are_found_by_rule_outcome_and_repository(state: State, wanted: ImageFilter, count: int) -> None:
    """A repository is whole, of the source or of the target, and never a pattern."""
    await run(state, FIRST, SECOND, OTHER)
    assert len(await state.runs.images(wanted)) == count


async def test_images_come_in_pages(state: State) -> None:
    """Each one once, in bounded pieces, though a run of more than one chunk brought them."""
    sources = [f"a.test/app:{number}" for number in range(1200)]
    await run(state, *(replace(FIRST, source=source) for source in sources))
    seen: list[str] = []
    before = None
    while page := await state.runs.images(before=before, limit=500):
        seen += [found.source for _, found in page]
        before = page[-1][0]
    assert seen == sources[::-1]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ImageFilter(outcome=Outcome.FAILED), "results_by_latest_outcome"),
        (ImageFilter(rule="app"), "results_by_latest_rule"),
        (ImageFilter(), "results_by_latest"),
    ],
)
async def test_a_list_of_images_reads_an_index(tmp_path: Path, wanted: ImageFilter, index: str) -> None:
    """So the few failed ones among a million are found at once."""
    file = tmp_path / "state.db"
    queries: list[tuple[str, tuple[object, ...]]] = []

    def keep(*call: Any) -> None:
        queries.append((call[2], call[3]))

    async with open_state(str(file)) as state:
        event.listen(Engine, "before_cursor_execute", keep)
        try:
            await state.runs.images(wanted)
        finally:
            event.remove(Engine, "before_cursor_execute", keep)
    query, parameters = queries[-1]  # after BEGIN
    with closing(sqlite3.connect(file)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
    assert [step[3].split("USING INDEX image_syncer_")[-1].split()[0] for step in plan] == [index]


async def test_an_older_state_learns_which_results_are_the_last(state_url: str) -> None:
    """The migration marks them, and keeps what was there."""
    async with open_state(state_url) as state:
        await run(state, FIRST, OTHER)
        await run(state, replace(FIRST, outcome=Outcome.COPIED))
        await state.database.write(back_to_the_first_schema)
    async with open_state(state_url) as state:
        assert await outcomes(state) == [("a.test/app:1", "copied"), ("a.test/apple:1", "skipped")]


def back_to_the_first_schema(connection: Connection) -> None:
    """Undo the later revisions."""
    triggers = ("inserted", "changed", "deleted") if connection.dialect.name == "sqlite" else ()
    tables = (
        "blobs",
        "copies",
        "trimmed",
        "uploads",
        "open_copies",
        "event_counts",
        "blob_claims",
        "claimers",
        "host_facts",
        "referrer_checks",
        "attached_tags",
        "first_seen",
        "image_dates",
        "event_deltas",
        "clock_looks",
    )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION image_syncer_count_events_v1() CASCADE")
    for statement in (
        *(f"DROP TRIGGER image_syncer_count_{trigger}" for trigger in triggers),
        *(f"DROP TABLE image_syncer_{table}" for table in tables),
        "DROP INDEX image_syncer_events_by_waiting",
        "DROP INDEX image_syncer_results_by_latest_outcome",
        "DROP INDEX image_syncer_results_by_latest_rule",
        "DROP INDEX image_syncer_results_by_latest_source_digest",
        "ALTER TABLE image_syncer_runs DROP COLUMN unannounced",
        "DROP INDEX image_syncer_results_by_latest",
        "ALTER TABLE image_syncer_results DROP COLUMN latest",
        "ALTER TABLE image_syncer_results DROP COLUMN referrers",
        "DROP INDEX image_syncer_events_by_source",
        "ALTER TABLE image_syncer_events DROP COLUMN claimed_until",
        f"UPDATE {VERSION_TABLE} SET version_num = '0001'",
    ):
        connection.exec_driver_sql(statement)


async def test_pruning_keeps_the_newest_runs_of_each_rule(state: State) -> None:
    """A rule that runs once a quarter still shows its last runs; one that runs each minute does not crowd it out."""
    rare = await run(state, OTHER)
    often = [await run(state, FIRST) for _ in range(5)]
    assert await state.runs.prune(keep=100, older_than=NOW + timedelta(days=30), of_each=2) == 3
    assert [found.id for found in await state.runs.page()] == [*often[:-3:-1], rare]


async def test_a_large_run_is_pruned_with_all_its_results(state: State) -> None:
    """In steps, of which none has to be large."""
    number = await run(state, *(replace(FIRST, source=f"a.test/app:{tag}") for tag in range(4500)))
    assert await state.runs.prune(keep=0, older_than=NOW) == 1
    assert await state.runs.results(number) == ([], 0)
    assert await state.runs.images() == []
