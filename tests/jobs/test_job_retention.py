"""Ended jobs are deleted by their last change and the trusted time, whatever clock the store has."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from image_syncer.jobs import JobQueue
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.postgresql import postgres_connector
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.state import StateUnavailable
from image_syncer.structs import replace
from jobs.workbench import QUICK, Hands, eventually, queued, wanted, working

WEEK = timedelta(days=7)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def manager(url: str, jobs: JobQueue) -> AsyncGenerator[FencedJobManager]:
    """Return a manager of the store."""
    del jobs  # It creates the tables.
    path = url.removeprefix("sqlite:///")
    connector = postgres_connector(url, 2, 5.0) if path == url else SqliteConnector(Path(path))
    await connector.open_async()
    yield FencedJobManager(connector, patience=5.0)
    await connector.close_async()


def end(url: str, job_id: int, status: str, ago: timedelta) -> None:
    """Let a job have ended some time *ago*."""
    seconds = ago.total_seconds()
    path = url.removeprefix("sqlite:///")
    if path == url:
        with psycopg.connect(url) as database:
            database.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [job_id])
            database.execute(
                "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status WHERE id = %s", [status, job_id]
            )
            database.execute(
                "UPDATE procrastinate_events SET at = at - %s * interval '1 second' WHERE job_id = %s",
                [seconds, job_id],
            )
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE jobs SET status = ? WHERE id = ?", [status, job_id])
            database.execute("UPDATE events SET at = at - ? WHERE job_id = ?", [seconds, job_id])
            database.commit()


async def ended(url: str, jobs: JobQueue, *ends: tuple[str, timedelta]) -> list[int]:
    """Return the ids of jobs that have ended so."""
    ids = [await queued(jobs, wanted(f"app:{number}")) for number in range(len(ends))]
    for job_id, (status, ago) in zip(ids, ends, strict=True):
        end(url, job_id, status, ago)
    return ids


async def left(jobs: JobQueue) -> list[int]:
    """Return the ids of all jobs, oldest first."""
    return sorted(job.id for job in await jobs.list())


async def test_old_jobs_are_deleted_by_their_last_change(url: str, jobs: JobQueue, manager: FencedJobManager) -> None:
    """Those of the wanted statuses; a job that changed later stays, and so does a queued one."""
    ids = await ended(
        url, jobs, ("succeeded", 2 * WEEK), ("succeeded", MINUTE), ("failed", 2 * WEEK), ("cancelled", 2 * WEEK)
    )
    waiting = await queued(jobs, wanted("app:waiting"))
    before = datetime.now(UTC) - WEEK
    await manager.delete_ended_jobs(["succeeded", "cancelled"], before=before)
    assert await left(jobs) == [ids[1], ids[2], waiting]
    assert sum((await jobs.counts()).values()) == 3


async def test_a_worker_deletes_by_the_trusted_time(url: str, jobs: JobQueue) -> None:
    """Succeeded jobs a week after their end, dead letters after 30 days; none while the time is not known."""
    ids = await ended(
        url,
        jobs,
        ("succeeded", WEEK + MINUTE),
        ("succeeded", WEEK - MINUTE),
        ("failed", 30 * timedelta(days=1) - MINUTE),
    )
    asked: list[datetime | None] = []
    answer: datetime | None = None

    async def trusted_now() -> datetime | None:
        asked.append(answer)
        return answer

    options = replace(QUICK, trusted_now=trusted_now)
    async with working(jobs, Hands(), options):
        await eventually(lambda: bool(asked), seconds=10)
    assert await left(jobs) == ids
    answer = datetime.now(UTC) - WEEK  # The clock is ahead by a week, so these jobs are new.
    async with working(jobs, Hands(), options):
        await eventually(lambda: asked[-1] == answer, seconds=10)
    assert await left(jobs) == ids
    answer = datetime.now(UTC)
    async with working(jobs, Hands(), options):
        await eventually(lambda: asked[-1] == answer, seconds=10)
    assert await left(jobs) == ids[1:]


async def test_a_state_that_does_not_answer_delays_deletion_only(jobs: JobQueue) -> None:
    """The worker goes on with its jobs."""

    async def trusted_now() -> datetime | None:
        raise StateUnavailable("state: no answer")

    hands = Hands()
    with capture_logs() as logs:
        async with working(jobs, hands, replace(QUICK, trusted_now=trusted_now)):
            await queued(jobs, wanted("app:1"))
            await eventually(lambda: len(hands.ended) == 1, seconds=10)
    assert [entry["error"] for entry in logs if entry["event"] == "jobs.upkeep_failed"] == ["state: no answer"]
