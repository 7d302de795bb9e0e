"""A requested job waits once, runs once at a time for each target, and in the right order; in both stores."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from procrastinate.jobs import Job
from procrastinate.types import JSONValue

from image_syncer.errors import UsageError
from image_syncer.jobs import CopyJob, JobFilter, JobKind, JobQueue, JobStatus, RuleJob, target_lock
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.state import Trigger
from image_syncer.structs import replace
from jobs.workbench import QUICK, Hands, eventually, queued, seen, settled, wanted, working


async def test_a_request_is_merged_into_a_queued_job(jobs: JobQueue) -> None:
    """A burst of pushes of one tag makes one copy."""
    first = await queued(jobs, wanted())
    assert [await jobs.request_copy(wanted()) for _ in range(3)] == [None] * 3
    assert [view.id for view in await jobs.list()] == [first]


async def test_a_merged_job_has_the_newer_digest_and_the_higher_priority(jobs: JobQueue) -> None:
    """It is the last request, with the priority of the most urgent one."""
    job_id = await queued(jobs, replace(wanted(), digest=Digest.of(b"old"), priority=5))
    await jobs.request_copy(replace(wanted(), digest=Digest.of(b"new"), priority=-1))
    view = await seen(jobs, job_id)
    assert (view.args["digest"], view.priority) == (str(Digest.of(b"new")), 5)


async def test_a_push_during_its_own_copy_makes_exactly_one_more(jobs: JobQueue) -> None:
    """The running copy may have read the source before the push; three pushes need one more copy, not three."""
    gate = asyncio.Event()
    hands = Hands(lambda _job: _passed(gate))
    async with working(jobs, hands):
        await jobs.request_copy(wanted())
        await eventually(lambda: hands.running)
        answers = [await jobs.request_copy(wanted()) for _ in range(3)]
        gate.set()
        await eventually(lambda: len(hands.ended) == 2)
    assert (answers[0] is not None, answers[1:], len(hands.begun)) == (True, [None, None], 2)
    assert hands.overlaps == []


async def test_copies_to_one_target_run_one_after_another(jobs: JobQueue) -> None:
    """A tag has one writer at a time, whatever the sources are."""
    hands = Hands(lambda _job: asyncio.sleep(0.05))
    async with working(jobs, hands):
        requests = [wanted(), replace(wanted(), source=Reference.parse("other.example/app:1"))] * 3
        for request in requests:
            await jobs.request_copy(request)
        await eventually(lambda: {str(job.source) for job in hands.ended} == {str(r.source) for r in requests})
    assert hands.overlaps == []


async def test_a_job_starts_as_soon_as_its_target_is_free(jobs: JobQueue) -> None:
    """A freed target wakes the worker: no job waits for the next poll."""
    hands = Hands(lambda _job: asyncio.sleep(0.05))
    for source in ("a.example", "b.example", "c.example"):
        await jobs.request_copy(replace(wanted(), source=Reference.parse(f"{source}/app:1")))
    async with working(jobs, hands, replace(QUICK, poll=30.0)):
        await eventually(lambda: len(hands.ended) == 3, seconds=20)


async def test_urgent_jobs_run_first_then_older_ones(jobs: JobQueue) -> None:
    """A push overtakes the bulk of a rule."""
    for name, priority in (("bulk1:1", 0), ("bulk2:1", 0), ("push:1", 10)):
        await jobs.request_copy(replace(wanted(name), priority=priority))
    hands = Hands()
    async with working(jobs, hands, replace(QUICK, concurrency=1)):
        await eventually(lambda: len(hands.ended) == 3)
    assert [job.source.repository.path for job in hands.begun] == ["push", "bulk1", "bulk2"]


async def test_the_newest_push_runs_first_and_none_starves(jobs: JobQueue) -> None:
    """A backlog of pushes delays no new one, and every fourth job is the oldest one, be it of a rule."""
    now = datetime.now(UTC)
    await jobs.request_copy(wanted("rule:1"))
    for age in (70, 60, 50, 40, 30, 20, 10):  # In seconds, as a dispatcher requests a backlog.
        push = replace(wanted(f"push{age}:1"), priority=2, asked_at=now - timedelta(seconds=age))
        await jobs.request_copy(push)
    hands = Hands()
    async with working(jobs, hands, replace(QUICK, concurrency=1)):
        await eventually(lambda: len(hands.ended) == 8)
    order = [job.source.repository.path for job in hands.begun]
    assert order == ["push10", "push20", "push30", "rule", "push40", "push50", "push60", "push70"]


async def test_an_older_push_does_not_replace_the_arguments_of_a_newer_one(jobs: JobQueue) -> None:
    """The dispatcher requests the newest pushes of a backlog first."""
    now = datetime.now(UTC)
    newer = replace(wanted(), digest=Digest.of(b"newer"), event="2", asked_at=now)
    job_id = await queued(jobs, newer)
    older = replace(wanted(), digest=Digest.of(b"older"), event="1", rule="app", asked_at=now - timedelta(hours=1))
    assert await jobs.request_copy(older) is None
    job = await seen(jobs, job_id)
    assert (job.args["digest"], job.args["event"]) == (str(Digest.of(b"newer")), "2")


async def test_a_job_waits_for_its_time(jobs: JobQueue) -> None:
    """`not_before` is the earliest start."""
    due = datetime.now(UTC) + timedelta(seconds=1)
    job_id = await queued(jobs, replace(wanted(), not_before=due))
    view = await seen(jobs, job_id)
    assert view.next_at is not None
    assert abs(view.next_at - due) < timedelta(milliseconds=5)
    hands = Hands()
    async with working(jobs, hands):
        await eventually(lambda: hands.ended)
    assert datetime.now(UTC) >= due


async def test_one_duplicate_in_a_batch_affects_no_other_request(jobs: JobQueue) -> None:
    """The requests of a batch are independent."""
    await jobs.request_copy(wanted("app50:1"))
    ids = await jobs.request_copies(wanted(f"app{number}:1") for number in range(100))
    assert [number for number, job_id in enumerate(ids) if job_id is None] == [50]
    assert (await jobs.counts())[JobStatus.WAITING] == 100


async def test_a_handler_receives_the_request(jobs: JobQueue) -> None:
    """References, digest, rule and event survive the database, even a registry without a dot in its name."""
    source = Repository.of("harbor", "team/app").at(Digest.of(b"image"))
    request = replace(wanted(), source=source, digest=Digest.of(b"image"), rule="all", event="17")
    job_id = await queued(jobs, request)
    hands = Hands()
    async with working(jobs, hands):
        await eventually(lambda: hands.ended)
    assert hands.ended == [CopyJob(job_id, 1, source, request.target, Digest.of(b"image"), "all", "17")]


async def test_a_rule_is_queued_once(jobs: JobQueue) -> None:
    """A rule that falls due while its last job is queued needs no second job."""
    first = await jobs.request_rule("nightly")
    assert (first is not None, await jobs.request_rule("nightly")) == (True, None)
    hands = Hands()
    async with working(jobs, hands):
        await eventually(lambda: hands.rules)
    assert [job.rule for job in hands.rules] == ["nightly"]


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ([Trigger.SCHEDULE], Trigger.SCHEDULE),
        ([Trigger.REQUEST], Trigger.REQUEST),
        ([Trigger.SCHEDULE, Trigger.REQUEST], Trigger.REQUEST),
        ([Trigger.REQUEST, Trigger.SCHEDULE], Trigger.REQUEST),
    ],
)
async def test_a_rule_job_has_its_trigger(jobs: JobQueue, requested: list[Trigger], expected: Trigger) -> None:
    """A request takes precedence over a schedule, in either order."""
    for trigger in requested:
        await jobs.request_rule("nightly", trigger=trigger)
    hands = Hands()
    async with working(jobs, hands):
        await eventually(lambda: hands.rules)
    assert [(job.rule, job.trigger) for job in hands.rules] == [("nightly", expected)]


@pytest.mark.parametrize("arguments", [{"rule": "nightly"}, {"rule": "nightly", "trigger": "of a later version"}])
def test_an_unknown_trigger_counts_as_a_schedule(arguments: dict[str, JSONValue]) -> None:
    """Other versions may write other triggers."""
    job = Job(id=1, queue="q", task_name="rule", lock=None, queueing_lock=None, worker_id=None, task_kwargs=arguments)
    assert RuleJob.of(job) == RuleJob(1, 1, "nightly", Trigger.SCHEDULE)


async def test_names_with_control_characters_are_refused(jobs: JobQueue) -> None:
    """PostgreSQL would refuse a NUL in a rule's name long after the request."""
    with pytest.raises(UsageError, match="control characters"):
        await jobs.request_rule("bad\0name")


async def test_a_limit_holds_for_the_source_and_the_target(jobs: JobQueue) -> None:
    """Its copies never exceed the limit, and copies of other registries do not wait for it."""
    await jobs.set_limits({"dst.example": 2, "src.example": 3})
    gate = asyncio.Event()
    hands = Hands(lambda _job: _passed(gate))
    await jobs.request_copies(wanted(f"app{number}:1") for number in range(8))
    await jobs.request_copies(wanted(f"app{number}:1", target="free.example") for number in range(4))
    await jobs.request_copy(wanted("other:1", source="else.example", target="else.example"))
    async with working(jobs, hands):
        await eventually(lambda: len(hands.running) == 4)
        targets = sorted(job.target.repository.registry for job in hands.running)
        gate.set()
        await eventually(lambda: len(hands.ended) == 13)
    assert targets == ["dst.example", "dst.example", "else.example", "free.example"]
    assert hands.most <= 4


async def test_a_changed_limit_applies_to_new_copies_and_unlocks_no_target(jobs: JobQueue) -> None:
    """Running copies go on, and no target gets a second writer, since its lock is independent of limits."""
    permits = asyncio.Semaphore(2)
    hands = Hands(lambda _job: _permitted(permits))
    sources = [f"src{number}.example/app:1" for number in range(4)]
    for source in sources:
        await jobs.request_copy(replace(wanted(), source=Reference.parse(source)))
    await jobs.request_copies(wanted(f"app{number}:1") for number in range(8))
    await jobs.set_limits({"dst.example": 1})
    async with working(jobs, hands):
        await eventually(lambda: len(hands.ended) == 2)
        most_before = hands.most
        await jobs.set_limits({"dst.example": 4})
        await eventually(lambda: len(hands.running) == 4)
        for _ in range(10):
            permits.release()
        await eventually(lambda: len(hands.ended) == 12)
    assert (most_before, hands.most, hands.overlaps) == (1, 4, [])


async def test_lists_have_pages_and_filters(jobs: JobQueue) -> None:
    """By status, target and kind, newest first."""
    ids = [job_id for job_id in await jobs.request_copies(wanted(f"app{number}:1") for number in range(5)) if job_id]
    rule_id = await jobs.request_rule("nightly")
    await jobs.cancel(ids[0])
    page = await jobs.list(JobFilter(kind=JobKind.COPY, limit=2))
    rest = await jobs.list(JobFilter(kind=JobKind.COPY, before=page[-1].id))
    assert [view.id for view in [*page, *rest]] == sorted(ids, reverse=True)
    assert [view.id for view in await jobs.list(JobFilter(statuses=frozenset({JobStatus.CANCELLED})))] == [ids[0]]
    assert [view.id for view in await jobs.list(JobFilter(kind=JobKind.RULE))] == [rule_id]
    lock = target_lock(wanted("app3:1").target)
    assert [view.args["target"] for view in await jobs.list(JobFilter(lock=lock))] == ["dst.example/app3:1"]
    assert [view.id for view in await jobs.list(JobFilter(rule="nightly", limit=1))] == [rule_id]
    assert await jobs.list(JobFilter(rule="weekly")) == []


async def test_a_job_shows_its_steps_and_times(jobs: JobQueue) -> None:
    """What happened to a job, and when, can be read afterwards."""
    job_id = await queued(jobs, wanted())
    async with working(jobs, Hands()):
        view = await settled(jobs, job_id, lambda view: view.status is JobStatus.SUCCEEDED)
    shown = await jobs.show(job_id)
    assert shown is not None
    assert [step.what for step in shown[1]] == ["deferred", "started", "succeeded"]
    assert datetime.now(UTC) - timedelta(minutes=1) < view.created_at <= view.changed_at <= datetime.now(UTC)
    assert await jobs.show(job_id + 1) is None


async def _permitted(permits: asyncio.Semaphore) -> None:
    await permits.acquire()


async def _passed(gate: asyncio.Event) -> None:
    await gate.wait()
