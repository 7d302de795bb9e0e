"""What the server asks of us, answered from the state, the jobs and the rules."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, TypeVar

from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import LiveConfig
from image_syncer.daemon.registries import named_registries
from image_syncer.jobs import JobFilter as QueueFilter
from image_syncer.jobs import JobQueue as Queue
from image_syncer.jobs import JobRecord as QueueView
from image_syncer.jobs import JobStatus as QueueStatus
from image_syncer.jobs import JobsUnavailable, Replay
from image_syncer.server import backend as api
from image_syncer.state import (
    Event,
    EventCounts,
    EventFilter,
    ImageFilter,
    RunRecord,
    ScheduleRecord,
    State,
    StateUnavailable,
    Trigger,
)
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import Cron, Rule, Schedule

Value = TypeVar("Value")

_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

_STATUSES: Final[Mapping[QueueStatus, api.JobStatus]] = {
    QueueStatus.WAITING: api.JobStatus.WAITING,
    QueueStatus.RUNNING: api.JobStatus.RUNNING,
    QueueStatus.SUCCEEDED: api.JobStatus.SUCCEEDED,
    QueueStatus.FAILED: api.JobStatus.FAILED,
    QueueStatus.SUPERSEDED: api.JobStatus.SUPERSEDED,
    QueueStatus.CANCELLED: api.JobStatus.CANCELLED,
}


async def _ask(answer: Awaitable[Value]) -> Value:
    """Return what a database answers; `BackendUnavailable` where it does not."""
    try:
        return await answer
    except (StateUnavailable, JobsUnavailable) as error:
        raise api.BackendUnavailable(error.message) from error


class Events:
    """The recorded events (`server.backend.Events`)."""

    def __init__(self, state: State) -> None:
        self._events = state.events

    async def list(self, wanted: EventFilter, part: api.Slice) -> api.Page[Event]:
        """Return a part of those that are *wanted*, newest first."""
        found = await _ask(self._events.page(wanted, before=part.before, limit=part.limit))
        return _page(found, part, [event.id for event in found])

    async def show(self, event: int) -> Event:
        """Return one, or raise `Missing`."""
        found = await _ask(self._events.get(event))
        if found is None:
            raise api.Missing(f"there is no event {event}")
        return found

    async def tally(self) -> EventCounts:
        """Return how many there are."""
        return await _ask(self._events.count_by_status())


class Rules:
    """The rules that hold now (`server.backend.Rules`)."""

    def __init__(self, book: LiveConfig, jobs: Queue, state: State, dispatcher: Dispatcher) -> None:
        self._book = book
        self._jobs = jobs
        self._state = state
        self._dispatcher = dispatcher

    async def list(self) -> Sequence[api.RuleView]:
        """Return all of them with their last and next times."""
        planned = {entry.rule: entry for entry in await _ask(self._state.schedules.list())}
        return [_rule(rule, planned.get(rule.name)) for rule in self._book.rules]

    async def run(self, name: str) -> int | None:
        """Return the job that runs the rule now, None where one waits already; `Missing`."""
        if self._book.find(name) is None:
            raise api.Missing(f"there is no rule {name!r}")
        return await _ask(self._jobs.request_rule(name, trigger=Trigger.REQUEST))

    async def run_waiting(self) -> int:
        """Make jobs of all events that wait for the tick, and return how many copies that were."""
        return await _ask(self._dispatcher.dispatch())

    async def registries(self) -> Sequence[api.RegistryView]:
        """Return the registries that the configuration names, in the order of their hosts."""
        return named_registries(self._book)


class Runs:
    """What was done (`server.backend.Runs`)."""

    def __init__(self, state: State) -> None:
        self._runs = state.runs

    async def list(self, rule: str | None, part: api.Slice) -> api.Page[api.RunView]:
        """Return a part of the runs, newest first, of one rule where that is not None."""
        found = await _ask(self._runs.page(rule=rule, before=part.before, limit=part.limit))
        return _page([_run(run) for run in found], part, [run.id for run in found])

    async def show(self, run: int) -> api.RunView:
        """Return one, or raise `Missing`."""
        found = await _ask(self._runs.get(run))
        if found is None:
            raise api.Missing(f"there is no run {run}")
        return _run(found)

    async def images(self, run: int, outcome: Outcome | None, part: api.Slice) -> api.Page[api.ImageView]:
        """Return a part of a run's images in their order (*part.before* is where the last page ended)."""
        await self.show(run)
        found, end = await _ask(self._runs.results(run, outcome=outcome, after=part.before or 0, limit=part.limit))
        shown = [_image(number, result) for number, result in enumerate(found, start=1)]
        return api.Page(shown, end if len(found) == part.limit else None)

    async def latest(self, wanted: ImageFilter, part: api.Slice) -> api.Page[api.ImageView]:
        """Return a part of all images, each with its last result."""
        found = await _ask(self._runs.images(wanted, before=part.before, limit=part.limit))
        return _page([_image(number, result) for number, result in found], part, [number for number, _ in found])


class Jobs:
    """What is to be done (`server.backend.Jobs`)."""

    def __init__(self, jobs: Queue) -> None:
        self._jobs = jobs

    async def list(self, wanted: api.JobFilter, part: api.Slice) -> api.Page[api.JobView]:
        """Return a part of those that are *wanted*, newest first."""
        statuses = None
        if wanted.status is not None:
            statuses = frozenset(ours for ours, theirs in _STATUSES.items() if theirs is wanted.status)
        lock = None if wanted.target is None else f"target {wanted.target}"
        chosen = QueueFilter(statuses, wanted.kind, lock, wanted.rule, part.before, part.limit)
        found = await _ask(self._jobs.list(chosen))
        return _page([_job(job) for job in found], part, [job.id for job in found])

    async def show(self, job: int) -> api.JobView:
        """Return one, or raise `Missing`."""
        found = await _ask(self._jobs.show(job))
        if found is None:
            raise api.Missing(f"there is no job {job}")
        return _job(found[0])

    async def retry(self, job: int) -> api.JobView:
        """Let a job that is over run again; `Missing` or `Conflict`."""
        shown = await self.show(job)
        if await _ask(self._jobs.retry(job)) is Replay.REFUSED:
            raise api.Conflict(f"job {job} is {shown.status.value}")
        return await self.show(job)

    async def cancel(self, job: int) -> api.JobView:
        """End a job that waits or runs; `Missing` or `Conflict`."""
        shown = await self.show(job)
        if not await _ask(self._jobs.abort(job)):
            raise api.Conflict(f"job {job} is {shown.status.value}")
        return await self.show(job)

    async def counts(self) -> Mapping[api.JobStatus, int]:
        """Return how many jobs have each status."""
        counted = dict.fromkeys(api.JobStatus, 0)
        for status, number in (await _ask(self._jobs.counts())).items():
            counted[_STATUSES[status]] += number
        return counted


class Health:
    """Whether we can do our work (`server.backend.Health`)."""

    def __init__(self, state: State, jobs: Queue) -> None:
        self._state = state
        self._jobs = jobs

    async def problems(self) -> Sequence[str]:
        """Return what stands against it."""
        found: list[str] = []
        for check in (self._state.ping, self._jobs.counts):
            try:
                await check()
            except (StateUnavailable, JobsUnavailable) as error:
                found.append(error.message)
        if not self._jobs.is_worker_alive:
            found.append("no worker is at work")
        return found


def _page(shown: Sequence[Value], part: api.Slice, ids: Sequence[int]) -> api.Page[Value]:
    return api.Page(shown, ids[-1] if len(ids) == part.limit else None)


def _rule(rule: Rule, planned: ScheduleRecord | None) -> api.RuleView:
    schedule = None if rule.triggers.schedule is None else _in_words(rule.triggers.schedule)
    targets = [str(target) for target in rule.targets]
    return api.RuleView(
        rule.name,
        str(rule.source),
        targets,
        str(rule.selection),
        rule.triggers.events,
        schedule,
        None if planned is None else planned.due_at,
        None if planned is None else planned.last_run_at,
    )


def _in_words(schedule: Schedule) -> str:
    """Return a schedule as it is written in the file, with its time zone."""
    if isinstance(schedule, Cron):
        return f"cron {schedule.expression} {schedule.timezone}"
    left, parts = round(schedule.seconds), list[str]()
    for unit, seconds in _UNITS:
        amount, left = divmod(left, seconds)
        parts += [f"{amount}{unit}"] if amount else []
    return f"every {''.join(parts)}"


def _run(run: RunRecord) -> api.RunView:
    return api.RunView(
        run.id,
        run.trigger,
        run.rules.split(", "),
        run.started_at,
        run.finished_at,
        run.counts[Outcome.COPIED],
        run.counts[Outcome.UNCHANGED],
        run.counts[Outcome.SKIPPED],
        run.counts[Outcome.FAILED],
        run.transferred.copied,
        run.warnings,
        run.unannounced,
    )


def _image(number: int, result: CopyResult) -> api.ImageView:
    return api.ImageView(
        number,
        result.rule,
        result.source,
        result.target,
        result.outcome,
        None if result.source_digest is None else str(result.source_digest),
        None if result.target_digest is None else str(result.target_digest),
        result.reason,
        result.remedy,
        result.transferred.copied,
        result.seconds,
        result.attempts,
    )


def _job(job: QueueView) -> api.JobView:
    over = job.status not in {QueueStatus.WAITING, QueueStatus.RUNNING}
    return api.JobView(
        job.id,
        job.kind,
        _STATUSES[job.status],
        job.args.get("rule"),
        job.args.get("source"),
        job.args.get("target"),
        job.attempts,
        job.created_at,
        job.next_at,
        job.changed_at if over else None,
        job.last_error,
    )
