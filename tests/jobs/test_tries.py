"""How tries end: again after a rest, superseded, as a dead letter, or because an operator said so; in both stores."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from structlog.contextvars import get_contextvars

from image_syncer.errors import CopyFailed, Denied, QuotaUsedUp, RegistryDown
from image_syncer.jobs import CopyJob, JobQueue, JobStatus, JobStoreOptions, Replay, open_jobs
from image_syncer.structs import replace
from jobs.workbench import HURRIED, QUICK, SLUGGISH, Hands, busy, eventually, queued, seen, settled, wanted, working


async def test_a_temporary_failure_is_retried(jobs: JobQueue) -> None:
    """The job succeeds at the third attempt and keeps its last error."""

    async def act(job: CopyJob) -> None:
        if job.attempt < 3:
            raise busy()

    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(act)):
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert (view.attempts, view.last_error) == (3, "dst.example/app: asked to slow down")


async def test_every_line_of_the_log_names_the_job_its_copy_rule_and_event(jobs: JobQueue) -> None:
    """So a search finds all lines about one image or one push."""
    seen_in_log: list[dict[str, object]] = []

    async def act(_job: CopyJob) -> None:
        seen_in_log.append(dict(get_contextvars()))

    job_id = await queued(jobs, replace(wanted(), rule="nightly", event="17"))
    async with working(jobs, Hands(act)):
        await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    ends = {"source": "src.example/app:1", "target": "dst.example/app:1"}
    job = {"job_id": job_id, "job": "copy", "attempt": 1, "rule": "nightly", "event_id": "17"}
    assert seen_in_log == [job | ends]


async def test_a_job_pauses_before_its_next_attempt(jobs: JobQueue) -> None:
    """An operator sees the time of the next attempt and the error."""
    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(_fail), SLUGGISH):
        view = await settled(jobs, job_id, lambda view: view.attempts == 1)
    assert (view.status, view.last_error) == (JobStatus.WAITING, "dst.example/app: asked to slow down")
    assert view.next_at is not None
    assert 25 < (view.next_at - datetime.now(UTC)).total_seconds() <= 60


async def test_an_attempt_that_a_quota_postpones_does_not_count(jobs: JobQueue) -> None:
    """An operator sees the reason and the time of the next attempt."""

    async def act(_job: CopyJob) -> None:
        error = QuotaUsedUp("docker.io: quota used up (100 per 6 h)", retry_after=900)
        raise CopyFailed(error, side="source", step="read manifest")

    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(act)):
        view = await settled(jobs, job_id, lambda view: view.last_error is not None)
    assert (view.status, view.attempts) == (JobStatus.WAITING, 0)
    assert view.last_error == "source: read manifest: docker.io: quota used up (100 per 6 h)"
    assert view.next_at is not None
    assert 850 < (view.next_at - datetime.now(UTC)).total_seconds() <= 990


async def test_an_outage_of_hours_makes_no_dead_letter_and_one_of_a_week_does(url: str) -> None:
    """Attempts while a registry is known to be down do not count, for up to a week."""
    hours = 0.0

    async def act(_job: CopyJob) -> None:
        raise CopyFailed(RegistryDown("dst.example: down since 12:00:00 UTC"), side="target", step="push blob")

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    async with open_jobs(url, JobStoreOptions(now=now)) as jobs:
        job_id, hands = await queued(jobs, wanted()), Hands(act)
        async with working(jobs, hands):
            for hours in (0, 5, 100):  # noqa: B007 - it is the clock's
                begun = len(hands.begun)
                await eventually(lambda: len(hands.begun) > begun + 2 * QUICK.retry.attempts)  # noqa: B023 - as above
                assert (await seen(jobs, job_id)).attempts == 0
            hours = 24 * 8
            view = await settled(jobs, job_id, lambda view: view.status is JobStatus.FAILED)
    assert view.attempts == QUICK.retry.attempts
    assert hands.begun[-1].age > 24 * 7 * 3600


async def test_a_merged_request_resets_the_age_of_a_job(url: str) -> None:
    """The patience for an outage counts from the last request."""
    days, ages = -8, list[float]()

    async def act(job: CopyJob) -> None:
        ages.append(job.age)

    async with open_jobs(url, JobStoreOptions(now=lambda: datetime.now(UTC) + timedelta(days=days))) as jobs:
        job_id = await queued(jobs, wanted())
        days = -2
        assert await jobs.request_copy(wanted()) is None
        days = 0
        async with working(jobs, Hands(act)):
            await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert [round(age / 86400) for age in ages] == [2]


async def test_a_postponed_job_does_not_block_another_source_of_its_target(jobs: JobQueue) -> None:
    """The lock is for running jobs: a postponed job blocks no other."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_fail)
    async with working(jobs, hands, SLUGGISH):
        await settled(jobs, job_id, lambda view: view.attempts == 1)
        other = await queued(jobs, replace(wanted(), source=wanted(source="other.example").source))
        await settled(jobs, other, lambda view: view.attempts == 1)


async def test_the_last_attempt_makes_a_dead_letter_that_can_be_retried(jobs: JobQueue) -> None:
    """After three attempts the job stays; a retry gives it all attempts again."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_fail)
    async with working(jobs, hands):
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.FAILED)
        assert (view.attempts, len(hands.begun)) == (3, 3)
        hands.act = _succeed
        assert await jobs.retry(job_id) is Replay.QUEUED
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert view.attempts == 1


async def test_a_permanent_failure_is_not_repeated(jobs: JobQueue) -> None:
    """A retry does not grant a missing permission."""

    async def act(_job: CopyJob) -> None:
        raise CopyFailed(Denied("no right to push"), side="target", step="push blob")

    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(act)):
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.FAILED)
    assert (view.attempts, view.last_error) == (1, "target: push blob: no right to push")


async def test_the_text_of_an_unexpected_error_is_not_stored(jobs: JobQueue) -> None:
    """It may quote a token; operators see its type, and the log has the rest."""

    async def act(_job: CopyJob) -> None:
        raise ValueError("token=hunter2")

    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(act), SLUGGISH):
        view = await settled(jobs, job_id, lambda view: view.attempts == 1)
    assert view.last_error == "unexpected ValueError; the log has the details"


async def test_an_attempt_times_out(jobs: JobQueue) -> None:
    """A hanging handler holds its target and its slot for a bounded time."""
    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands(_hang), replace(SLUGGISH, longest=0.2)):
        view = await settled(jobs, job_id, lambda view: view.attempts == 1)
    assert view.last_error == "the attempt timed out"


async def test_a_failed_job_with_a_queued_successor_is_superseded(jobs: JobQueue) -> None:
    """A retry would be one copy too many; the target is free at once, and operators see the reason."""
    gate = asyncio.Event()

    async def act(job: CopyJob) -> None:
        await gate.wait()
        if job.id == first:
            raise busy()

    first = await queued(jobs, wanted())
    hands = Hands(act)
    async with working(jobs, hands):
        await eventually(lambda: hands.running)
        second = await queued(jobs, wanted())
        gate.set()
        await settled(jobs, second, lambda view: view.status is JobStatus.SUCCEEDED)
    view = await seen(jobs, first)
    assert (view.status, view.last_error) == (JobStatus.SUPERSEDED, "dst.example/app: asked to slow down")


async def test_a_retry_is_merged_into_a_queued_successor(jobs: JobQueue) -> None:
    """No two jobs for the same copy are queued."""
    first = await queued(jobs, wanted())
    await jobs.cancel(first)
    second = await queued(jobs, wanted())
    assert await jobs.retry(first) is Replay.MERGED
    assert [(await seen(jobs, job_id)).status for job_id in (first, second)] == [JobStatus.CANCELLED, JobStatus.WAITING]


async def test_a_retry_of_a_postponed_job_starts_now(jobs: JobQueue) -> None:
    """An operator who removed the cause need not wait."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_fail)
    async with working(jobs, hands, SLUGGISH):
        await settled(jobs, job_id, lambda view: view.attempts == 1)
        hands.act = _succeed
        assert await jobs.retry(job_id) is Replay.QUEUED
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    assert (view.attempts, await jobs.retry(job_id)) == (2, Replay.REFUSED)


async def test_a_queued_job_can_be_cancelled(jobs: JobQueue) -> None:
    """It never starts, and the next request is a new job."""
    job_id = await queued(jobs, wanted())
    assert (await jobs.cancel(job_id), await jobs.cancel(job_id)) == (True, False)
    second = await queued(jobs, wanted())
    hands = Hands()
    async with working(jobs, hands):
        await settled(jobs, second, lambda view: view.status is JobStatus.SUCCEEDED)
    assert [job.id for job in hands.begun] == [second]
    assert (await seen(jobs, job_id)).status is JobStatus.CANCELLED


async def test_the_abort_of_a_running_job_is_final(jobs: JobQueue) -> None:
    """It ends soon, is not repeated, and its target is free."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_hang)
    async with working(jobs, hands):
        await eventually(lambda: hands.running)
        assert (await jobs.cancel(job_id), await jobs.abort(job_id)) == (False, True)
        await settled(jobs, job_id, lambda view: view.status is JobStatus.CANCELLED, seconds=5)
        found = await jobs.show(job_id)
        assert found is not None
        assert found[1][-1].what == "aborted"
        hands.act = _succeed
        second = await queued(jobs, wanted())
        await settled(jobs, second, lambda view: view.status is JobStatus.SUCCEEDED)
    assert len(hands.begun) == 2


async def test_an_aborted_job_can_be_retried(jobs: JobQueue) -> None:
    """An abort only rules out automatic attempts."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_hang)
    async with working(jobs, hands):
        await eventually(lambda: hands.running)
        await jobs.abort(job_id)
        await settled(jobs, job_id, lambda view: view.status is JobStatus.CANCELLED)
        hands.act = _succeed
        assert await jobs.retry(job_id) is Replay.QUEUED
        await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)


async def test_a_stop_waits_for_running_jobs(jobs: JobQueue) -> None:
    """Before the drain's deadline no job is interrupted, and none starts."""
    hands = Hands(lambda _job: asyncio.sleep(0.3))
    job_id = await queued(jobs, wanted())
    async with working(jobs, hands, QUICK):
        await eventually(lambda: hands.running)
    assert (await seen(jobs, job_id)).status is JobStatus.SUCCEEDED


async def test_a_stop_queues_unfinished_jobs_again(jobs: JobQueue) -> None:
    """A restart during a long copy loses nothing and costs no attempt."""
    job_id = await queued(jobs, wanted())
    for _ in range(4):
        hands = Hands(_hang)
        async with working(jobs, hands, HURRIED):
            await eventually(lambda: hands.running)  # noqa: B023 - waited for within the same round
        view = await seen(jobs, job_id)
        assert (view.status, view.attempts) == (JobStatus.WAITING, 0)
    async with working(jobs, Hands()):
        await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)


async def test_a_cancelled_worker_drains_too(jobs: JobQueue) -> None:
    """A failure of the task tree has the same guarantee."""
    job_id = await queued(jobs, wanted())
    hands = Hands(_hang)
    working_task = asyncio.create_task(_work_forever(jobs, hands))
    await eventually(lambda: hands.running)
    working_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working_task
    assert (await seen(jobs, job_id)).status is JobStatus.WAITING


async def test_the_worker_reports_whether_it_is_alive(jobs: JobQueue) -> None:
    """`/readyz` depends on it."""
    assert not jobs.is_worker_alive
    async with working(jobs, Hands()):
        await eventually(lambda: jobs.is_worker_alive)
    assert not jobs.is_worker_alive


async def _fail(_job: CopyJob) -> None:
    raise busy()


async def _succeed(_job: CopyJob) -> None:
    await asyncio.sleep(0)


async def _work_forever(jobs: JobQueue, hands: Hands) -> None:
    await jobs.run_worker(hands.handlers(), HURRIED, stop=asyncio.Event(), rng=Random(7))


async def _hang(_job: CopyJob) -> None:
    await asyncio.sleep(60)
