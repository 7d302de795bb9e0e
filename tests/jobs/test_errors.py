"""Workers die, pause and wake up, and stores go away and come back: nothing is lost, in either store."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from procrastinate.jobs import Status

from image_syncer.jobs import CopyJob, JobQueue, JobRecord, JobStatus, JobStoreOptions, JobsUnavailable, open_jobs
from image_syncer.jobs.attempts import AttemptRunner
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.postgresql import postgres_connector
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.jobs.worker import WorkerSupervisor
from image_syncer.structs import replace
from jobs.processes import running, said
from jobs.workbench import QUICK, Hands, eventually, queued, seen, settled, wanted, working
from support.postgres import Postgres

_IMPATIENT = JobStoreOptions(busy=0.1, patience=0.0)
_PATIENT = JobStoreOptions(busy=0.3, patience=30.0)


@pytest.fixture
async def keeper(url: str, jobs: JobQueue) -> AsyncGenerator[FencedJobManager]:
    """Return a second manager of the store, for what another worker would do."""
    path = url.removeprefix("sqlite:///")
    connector = postgres_connector(url, 2, 5.0) if path == url else SqliteConnector(Path(path))
    await connector.open_async()
    yield FencedJobManager(connector, patience=5.0)
    await connector.close_async()


@pytest.mark.slow
async def test_the_jobs_of_a_killed_worker_are_taken_over(url: str, jobs: JobQueue) -> None:
    """After a kill -9 during five copies, another worker makes all five."""
    ids = sorted([await queued(jobs, wanted(f"app{number}:1")) for number in range(5)])
    async with running("work", url) as process:
        assert sorted(await said(process, "begun", 5)) == ids
        process.kill()
        await process.wait()
        hands = Hands()
        async with working(jobs, hands):
            await eventually(lambda: len(hands.ended) == 5, seconds=10)
    views = [await seen(jobs, job_id) for job_id in ids]
    assert {(view.status, view.attempts) for view in views} == {(JobStatus.SUCCEEDED, 2)}
    assert {view.last_error for view in views} == {"the worker ended during the attempt"}


@pytest.mark.slow
async def test_an_accepted_request_survives_a_kill(url: str, jobs: JobQueue) -> None:
    """A job whose id was returned is stored, whatever happens to the process next."""
    async with running("ask", url) as process:
        accepted = await said(process, "accepted", 200)
        process.kill()
    assert [job_id for job_id in accepted if await jobs.show(job_id) is None] == []


@pytest.mark.parametrize("same_worker", [True, False])
async def test_a_worker_that_wakes_up_late_ends_no_later_attempt(
    jobs: JobQueue, keeper: FencedJobManager, same_worker: bool
) -> None:
    """It was declared dead; its report ends no later attempt, of another worker or its own."""
    job_id = await queued(jobs, wanted())
    worker = await keeper.register_worker()
    slow = await keeper.fetch_job(None, worker)
    assert slow is not None
    await keeper.take_over(slow, status="todo", error="gone", counted=same_worker)
    fresh = await keeper.fetch_job(None, worker if same_worker else await keeper.register_worker())
    assert fresh is not None
    await keeper.finish_job(slow, Status.SUCCEEDED, delete_job=False)
    assert (await seen(jobs, job_id)).status is JobStatus.RUNNING
    await keeper.finish_job(fresh, Status.SUCCEEDED, delete_job=False)
    assert (await seen(jobs, job_id)).status is JobStatus.SUCCEEDED


async def test_a_worker_that_was_declared_dead_ends_a_job_that_was_not_taken_over(
    jobs: JobQueue, keeper: FencedJobManager
) -> None:
    """It was pruned, but it still has the job: the work counts and is not repeated."""
    job_id = await queued(jobs, wanted())
    job = await keeper.fetch_job(None, await keeper.register_worker())
    assert job is not None
    await keeper.prune_stalled_workers(-1)
    await keeper.finish_job(job, Status.SUCCEEDED, delete_job=False)
    assert (await seen(jobs, job_id)).status is JobStatus.SUCCEEDED


async def test_a_heartbeat_restores_a_pruned_worker(jobs: JobQueue, keeper: FencedJobManager) -> None:
    """A worker that was silent for too long gets jobs again after its next heartbeat."""
    worker = await keeper.register_worker()
    await keeper.prune_stalled_workers(-1)
    await jobs.request_copy(wanted())
    assert await keeper.fetch_job(None, worker) is None
    await keeper.update_heartbeat(worker)
    assert await keeper.fetch_job(None, worker) is not None


async def test_an_abort_stays_final_when_the_worker_dies_first(jobs: JobQueue, keeper: FencedJobManager) -> None:
    """The operator's command applies although no worker was running."""
    job_id = await queued(jobs, wanted())
    await keeper.fetch_job(None, await keeper.register_worker())
    assert await jobs.abort(job_id)
    assert (await seen(jobs, job_id)).stopping
    await _supervisor(keeper).sweep()
    assert (await seen(jobs, job_id)).status is JobStatus.CANCELLED


async def test_a_job_that_kills_its_workers_becomes_a_dead_letter(jobs: JobQueue, keeper: FencedJobManager) -> None:
    """An image that kills each worker does not loop; it may kill a few more than it has attempts."""
    job_id = await queued(jobs, wanted())
    states: list[JobStatus] = []
    for _ in range(QUICK.deaths):
        assert await keeper.fetch_job(None, await keeper.register_worker()) is not None
        await _supervisor(keeper).sweep()
        states.append((await seen(jobs, job_id)).status)
    assert states == [*[JobStatus.WAITING] * (QUICK.deaths - 1), JobStatus.FAILED]


async def test_a_take_over_supersedes_a_job_with_a_queued_successor(jobs: JobQueue, keeper: FencedJobManager) -> None:
    """The dead worker's job cannot be queued beside its successor; its target is free."""
    first = await queued(jobs, wanted())
    await keeper.fetch_job(None, await keeper.register_worker())
    second = await queued(jobs, wanted())
    await _supervisor(keeper).sweep()
    assert (await seen(jobs, first)).status is JobStatus.SUPERSEDED
    async with working(jobs, Hands()):
        await settled(jobs, second, lambda view: view.status is JobStatus.SUCCEEDED)


async def test_processes_that_start_together_make_one_store(url: str) -> None:
    """The tables are created once, by the first process."""

    async def one(number: int) -> None:
        async with open_jobs(url) as jobs:
            await jobs.request_copy(wanted(f"app{number}:1"))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one(number))
    async with open_jobs(url) as jobs:
        assert (await jobs.counts())[JobStatus.WAITING] == 4


@pytest.mark.slow
async def test_an_outage_of_postgresql_costs_no_work(postgres: Postgres) -> None:
    """A copy that ends during the outage is settled afterwards; running ones go on and new ones start."""
    gate = asyncio.Event()
    hands = Hands(lambda job: _until(gate) if job.attempt == 1 else asyncio.sleep(0))
    async with open_jobs(postgres.new_database(), _PATIENT) as jobs, working(jobs, hands):
        first = await queued(jobs, wanted())
        await eventually(lambda: hands.running)
        await asyncio.to_thread(postgres.crash)
        try:
            with pytest.raises(JobsUnavailable):
                await jobs.request_copy(wanted("other:1"))
            gate.set()
            await asyncio.sleep(3)
        finally:
            await asyncio.to_thread(postgres.start)
        view = await _once_it_answers(jobs, first)
        second = await queued(jobs, wanted("other:1"))
        await settled(jobs, second, lambda view: view.status is JobStatus.SUCCEEDED)
    assert (view.attempts, len(hands.begun)) == (1, 2)


async def test_a_locked_file_costs_no_work(tmp_path: Path) -> None:
    """A copy that ends while another process locks the SQLite file is settled afterwards."""
    gate = asyncio.Event()
    hands = Hands(lambda _job: _until(gate))
    async with open_jobs(f"sqlite:///{tmp_path}/jobs.db", _PATIENT) as jobs, working(jobs, hands):
        job_id = await queued(jobs, wanted())
        await eventually(lambda: hands.running)
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            gate.set()
            with pytest.raises(JobsUnavailable, match="locked"):
                await jobs.request_copy(wanted("other:1"))
            await asyncio.sleep(1)
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert (view.attempts, len(hands.begun)) == (1, 1)


@pytest.mark.slow
async def test_an_attempt_whose_end_could_not_be_written_is_taken_over(tmp_path: Path) -> None:
    """After the patience the worker registers again, so the job that it lost track of runs again."""
    gate = asyncio.Event()
    hands = Hands(lambda _job: _until(gate))
    async with open_jobs(f"sqlite:///{tmp_path}/jobs.db", _IMPATIENT) as jobs, working(jobs, hands):
        job_id = await queued(jobs, wanted())
        await eventually(lambda: hands.running)
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            gate.set()
            await asyncio.sleep(2)
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert (view.attempts, len(hands.begun)) == (2, 2)


async def test_a_fleet_shares_one_limit(postgres: Postgres) -> None:
    """Two workers on one PostgreSQL together stay within the limit and share the work."""
    url = postgres.new_database()
    hands, others = Hands(lambda _job: asyncio.sleep(0.02)), Hands()
    running_now: list[int] = []

    async def act(_job: CopyJob) -> None:
        running_now.append(len(hands.running) + len(others.running))
        await asyncio.sleep(0.02)

    hands.act = others.act = act
    async with open_jobs(url) as one, open_jobs(url) as two:
        await one.set_limits({"dst.example": 3})
        await one.request_copies(wanted(f"app{number}:1") for number in range(60))
        async with working(one, hands), working(two, others):
            await eventually(lambda: len(hands.ended) + len(others.ended) == 60)
    assert max(running_now) == 3
    assert min(len(hands.ended), len(others.ended)) > 0


def _supervisor(keeper: FencedJobManager) -> WorkerSupervisor:
    runner = AttemptRunner(
        keeper, Hands().handlers(), replace(QUICK, longest=1.0), rng=Random(1), now=lambda: datetime.now(UTC)
    )
    return WorkerSupervisor(runner.app(), keeper, QUICK)


async def _until(gate: asyncio.Event) -> None:
    await gate.wait()


async def _once_it_answers(jobs: JobQueue, job_id: int) -> JobRecord:
    async with asyncio.timeout(20):
        while True:
            try:
                return await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
            except JobsUnavailable:
                await asyncio.sleep(0.1)
