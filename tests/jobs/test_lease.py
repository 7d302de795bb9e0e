"""Fencing: an attempt writes only while its worker owns the job, in either store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status

from image_syncer.errors import CopyFailed, LeaseLost
from image_syncer.jobs import CopyJob, JobQueue, JobRetryPolicy, JobStatus
from image_syncer.jobs.job_manager import FencedJobManager
from image_syncer.jobs.lease import Instant, Lease
from image_syncer.jobs.postgresql import postgres_connector
from image_syncer.jobs.sqlite_connector import SqliteConnector
from image_syncer.structs import replace
from jobs.workbench import QUICK, Hands, eventually, queued, seen, settled, wanted, working

SECONDS = 15.0


@dataclass
class Clock:
    """Both clocks of a machine; a test moves one of them, or both."""

    instant: Instant = field(default_factory=Instant.now)

    def __call__(self) -> Instant:
        """Return the present."""
        return self.instant

    def pass_seconds(self, *, boot: float = 0.0, wall: float = 0.0) -> None:
        """Let time pass on either clock."""
        self.instant = Instant(self.instant.boot + boot, self.instant.wall + wall)


@pytest.fixture
async def manager(url: str, jobs: JobQueue) -> AsyncGenerator[FencedJobManager]:
    """Return a second process on the store of *jobs*."""
    path = url.removeprefix("sqlite:///")
    connector = postgres_connector(url, 2, 5.0) if path == url else SqliteConnector(Path(path))
    await connector.open_async()
    yield FencedJobManager(connector, patience=5.0)
    await connector.close_async()


async def begun(jobs: JobQueue, manager: FencedJobManager) -> Job:
    """Return a copy that a worker has just begun."""
    await queued(jobs, wanted())
    job = await manager.fetch_job(None, await manager.register_worker())
    assert job is not None
    return job


@asynccontextmanager
async def unreachable(manager: FencedJobManager) -> AsyncGenerator[None]:
    """Cut *manager* off from its store."""
    connector: Any = manager.connector
    ask = connector.execute_query_all_async

    async def fail(*_arguments: Any, **_options: Any) -> Any:
        raise ConnectorException

    connector.execute_query_all_async = fail
    yield
    connector.execute_query_all_async = ask


async def test_a_running_attempt_may_write(jobs: JobQueue, manager: FencedJobManager) -> None:
    """Its worker's heartbeat is young."""
    lease = Lease(manager.connector, await begun(jobs, manager), seconds=SECONDS)
    assert not lease.has_permitted
    await lease.check()
    assert lease.has_permitted


async def test_an_attempt_whose_worker_was_pruned_may_not_write(jobs: JobQueue, manager: FencedJobManager) -> None:
    """Even before another worker takes its job over: that may happen at any moment."""
    lease = Lease(manager.connector, await begun(jobs, manager), seconds=SECONDS)
    await manager.prune_stalled_workers(-1)
    with pytest.raises(LeaseLost):
        await lease.check()
    assert not lease.has_permitted


async def test_an_attempt_whose_job_was_taken_over_may_not_write(jobs: JobQueue, manager: FencedJobManager) -> None:
    """Nor once the successor has ended, nor if its own worker sends a late heartbeat."""
    job = await begun(jobs, manager)
    lease = Lease(manager.connector, job, seconds=SECONDS)
    await manager.take_over(job, status="todo", error=None, counted=True)
    successor = await manager.fetch_job(None, await manager.register_worker())
    assert successor is not None
    await manager.update_heartbeat(job.worker_id or 0)
    with pytest.raises(LeaseLost):
        await lease.check()
    await manager.finish_job(successor, Status.SUCCEEDED, delete_job=False)
    with pytest.raises(LeaseLost):
        await lease.check()


@pytest.mark.parametrize("frozen", [{"boot": 20.0}, {"wall": 20.0}])
async def test_time_in_which_the_process_did_not_run_counts(
    jobs: JobQueue, manager: FencedJobManager, frozen: dict[str, float]
) -> None:
    """On either clock. While the store does not answer, the confirmation before the freeze is too old."""
    clock = Clock()
    lease = Lease(manager.connector, await begun(jobs, manager), seconds=SECONDS, now=clock)
    await lease.check()
    clock.pass_seconds(**frozen)
    async with unreachable(manager):
        with pytest.raises(LeaseLost):
            await lease.check()
    await lease.check()  # The store says that no other worker took it.


async def test_a_worker_cut_off_from_its_store_writes_until_the_lease_may_end(
    jobs: JobQueue, manager: FencedJobManager
) -> None:
    """The last confirmation counts, less a margin for the write; without any, nothing is written."""
    job, clock = await begun(jobs, manager), Clock()
    lease = Lease(manager.connector, job, seconds=SECONDS, now=clock)
    await lease.check()
    async with unreachable(manager):
        clock.pass_seconds(boot=SECONDS / 2, wall=SECONDS / 2)
        await lease.check()
        clock.pass_seconds(boot=SECONDS / 2, wall=SECONDS / 2)
        with pytest.raises(LeaseLost):
            await lease.check()
        with pytest.raises(LeaseLost):
            await Lease(manager.connector, job, seconds=SECONDS, now=clock).check()


async def test_an_answer_that_was_overtaken_by_a_freeze_is_old(jobs: JobQueue, manager: FencedJobManager) -> None:
    """The store answered before the freeze, and the process reads the answer after it."""
    clock = Clock()
    lease = Lease(manager.connector, await begun(jobs, manager), seconds=SECONDS, now=clock)
    connector: Any = manager.connector
    ask = connector.execute_query_all_async

    async def freeze(*arguments: Any, **options: Any) -> Any:
        rows = await ask(*arguments, **options)
        clock.pass_seconds(boot=20.0)
        return rows

    connector.execute_query_all_async = freeze
    with pytest.raises(LeaseLost):
        await lease.check()


async def test_a_late_write_is_repaired_at_once(jobs: JobQueue, manager: FencedJobManager) -> None:
    """The freeze came between check and write: the end of the attempt queues the copy again, before pushes."""
    job = await begun(jobs, manager)
    lease = manager.lease(job, SECONDS)
    await lease.check()
    await manager.take_over(job, status="todo", error=None, counted=True)
    successor = await manager.fetch_job(None, await manager.register_worker())
    assert successor is not None
    await manager.finish_job(successor, Status.SUCCEEDED, delete_job=False)
    with structlog.testing.capture_logs() as logs:
        await manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
    repair, done = await jobs.list()
    assert (done.id, done.status) == (job.id, JobStatus.SUCCEEDED)
    assert (repair.status, repair.priority, repair.args) == (JobStatus.WAITING, 3, done.args)
    assert [line["event"] for line in logs] == ["job.not_ours", "job.late_write"]


async def test_an_attempt_that_wrote_nothing_needs_no_repair(jobs: JobQueue, manager: FencedJobManager) -> None:
    """Its lease refused the write."""
    job = await begun(jobs, manager)
    lease = manager.lease(job, SECONDS)
    await manager.take_over(job, status="failed", error=None, counted=True)
    with pytest.raises(LeaseLost):
        await lease.check()
    await manager.retry_job(job)
    assert len(await jobs.list()) == 1


async def test_a_repair_survives_an_outage_of_the_store(jobs: JobQueue, manager: FencedJobManager) -> None:
    """The end of the attempt cannot be written in time; the next heartbeat queues the repair."""
    impatient = FencedJobManager(manager.connector, patience=0.0)
    job = await begun(jobs, manager)
    await impatient.lease(job, SECONDS).check()
    async with unreachable(manager):
        with pytest.raises(ConnectorException):
            await impatient.finish_job(job, Status.SUCCEEDED, delete_job=False)
    await manager.take_over(job, status="failed", error=None, counted=True)
    await impatient.update_heartbeat(job.worker_id or 0)
    repair, _ = await jobs.list()
    assert repair.status is JobStatus.WAITING


async def test_a_lost_lease_costs_no_attempt(jobs: JobQueue) -> None:
    """The store was down and no worker took the job over: it runs again soon."""
    job_id, hands = await queued(jobs, wanted()), Hands(_lose_once())
    policy = JobRetryPolicy(attempts=1, first_wait=0.05, longest_wait=0.05)
    async with working(jobs, hands, replace(QUICK, retry=policy)):
        await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert len(hands.begun) == 2
    assert (await seen(jobs, job_id)).attempts == 1


async def test_handlers_get_the_lease_of_their_attempt(jobs: JobQueue) -> None:
    """A running worker renews it."""
    leases: list[object] = []

    async def check(job: CopyJob) -> None:
        assert job.lease is not None
        await asyncio.sleep(QUICK.stalled + 0.5)
        await job.lease.check()
        leases.append(job.lease)

    await queued(jobs, wanted())
    async with working(jobs, Hands(check)):
        await eventually(lambda: leases)


def _lose_once() -> Any:
    attempts: list[int] = []

    async def lose(job: CopyJob) -> None:
        attempts.append(job.attempt)
        if len(attempts) == 1:
            raise CopyFailed(LeaseLost("the lease is lost"), side="target", step="push manifest")

    return lose
