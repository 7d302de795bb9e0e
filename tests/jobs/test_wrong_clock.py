"""Times that a wrong clock stored: no job waits for them longer than a correct clock can make it wait."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg

from image_syncer.jobs import JobQueue, JobStatus, JobStoreOptions, open_jobs
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.structs import replace
from jobs.workbench import QUICK, SLUGGISH, Hands, eventually, queued, seen, settled, wanted, working

AHEAD = timedelta(days=30)


async def _fail(_job: object) -> None:
    raise OSError("out of order")


def execute(url: str, sqlite: str, postgresql: str) -> None:
    """Change the store behind the queue's back."""
    if url.startswith("postgres"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(postgresql.encode())
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute(sqlite)


def postpone(url: str) -> None:
    """Move the due times of all jobs 30 days ahead, as a retry under a wrong clock stores them."""
    execute(
        url,
        "UPDATE jobs SET scheduled_at = unixepoch() + 30 * 86400",
        "UPDATE procrastinate_jobs SET scheduled_at = now() + interval '30 days'",
    )


async def test_a_retry_that_a_wrong_clock_postponed_runs_at_once(url: str) -> None:
    """The clock was 30 days ahead when the attempt failed; a retry waits for 6.6 hours at most."""
    async with open_jobs(url) as jobs:
        job_id, hands = await queued(jobs, wanted()), Hands(_fail)
        async with working(jobs, hands, SLUGGISH):
            await settled(jobs, job_id, lambda view: view.attempts == 1)
        postpone(url)
        async with working(jobs, hands, SLUGGISH):
            await eventually(lambda: len(hands.begun) == 2)


async def test_a_later_start_that_was_requested_stays(url: str) -> None:
    """A job that never started waits for the time of its request, however far that is; so does a short pause."""
    later = datetime.now(UTC) + AHEAD
    async with open_jobs(url) as jobs:
        first = await queued(jobs, replace(wanted("app:1"), not_before=later))
        second, hands = await queued(jobs, wanted("app:2")), Hands(_fail)
        async with working(jobs, hands, SLUGGISH):
            view = await settled(jobs, second, lambda view: view.attempts == 1)
            await asyncio.sleep(QUICK.stalled)
            assert (await seen(jobs, first)).next_at is not None
            assert (await seen(jobs, second)).next_at == view.next_at
        assert len(hands.begun) == 1


async def test_a_request_of_the_future_is_as_old_as_the_present(url: str) -> None:
    """Otherwise the patience for an outage would count from its date, and newer pushes would wait behind it."""
    ages = list[float]()

    async def note(job: object) -> None:
        ages.append(getattr(job, "age", -1.0))

    async with open_jobs(url, JobStoreOptions(now=lambda: datetime.now(UTC) + AHEAD)) as wrong:
        job_id = await queued(wrong, replace(wanted(), not_before=datetime.now(UTC) + timedelta(seconds=2)))
    async with open_jobs(url) as jobs, working(jobs, Hands(note)):
        await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert 0.5 < ages[0] < 60


async def test_a_worker_that_died_with_a_heartbeat_of_the_future_loses_its_jobs(url: str) -> None:
    """In SQLite at the start of the next worker, in PostgreSQL once its heartbeat is old by the right clock."""
    async with open_jobs(url) as jobs:
        job_id = await started(jobs)
        execute(
            url,
            "UPDATE workers SET last_heartbeat = unixepoch() + 30 * 86400",
            "UPDATE procrastinate_workers SET last_heartbeat = now() + interval '30 days'",
        )
        async with working(jobs, Hands()):
            await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)


async def started(jobs: JobQueue) -> int:
    """Return a job that a worker has fetched, which then dies."""
    manager: FencedJobManager = vars(jobs)["_manager"]
    job_id = await queued(jobs, wanted())
    assert await manager.fetch_job(None, await manager.register_worker()) is not None
    return job_id
