"""The dashboard's content, read from the backend: failures that need attention first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from image_syncer.jobs import JobFilter, JobStatus
from image_syncer.server.registry_health import RegistryOutage
from image_syncer.server.resources import (
    ImageView,
    JobView,
    RegistryView,
    RuleView,
    RunView,
    job_views,
    registry_views,
    rule_views,
    run_views,
)
from image_syncer.server.web_backend import Backend
from image_syncer.state import Event, EventFilter, EventLog, EventStatus, ImageFilter
from image_syncer.sync.result import Outcome

_SHOWN: Final = 15
_IN_QUEUE: Final = (JobStatus.RUNNING, JobStatus.WAITING)
_REASON_IN_LOG: Final = "see the log for the reason"


@dataclass(frozen=True, slots=True)
class Attention:
    """A failure that no further attempt will repair by itself, and the failed *job* that can be retried, if any.

    *target* is empty for the failure of a rule as a whole.
    """

    what: str
    target: str
    rule: str | None
    error: str
    remedy: str | None = None
    job: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Overview:
    """The content of the dashboard. *more_troubles* says that *troubles* is cut."""

    problems: Sequence[str]
    troubles: Sequence[Attention]
    more_troubles: bool
    counts: Mapping[JobStatus, int]
    queue: Sequence[JobView]
    runs: Sequence[RunView]
    events: Sequence[Event]
    event_counts: Mapping[str, Mapping[EventStatus, int]]
    waiting_since: datetime | None
    rules: Sequence[RuleView]
    registries: Sequence[RegistryView]
    file: str | None = None

    @property
    def in_queue(self) -> int:
        """The number of jobs that run or wait, shown or not."""
        return sum(self.counts.get(status, 0) for status in _IN_QUEUE)

    @property
    def pending_events(self) -> int:
        """The number of events that no job exists for yet."""
        return sum(counts.get(EventStatus.RECEIVED, 0) for counts in self.event_counts.values())

    @property
    def largest_run(self) -> int:
        """The number of images of the largest shown run, at least 1."""
        sizes = [run.copied + run.unchanged + run.skipped + run.failed for run in self.runs]
        return max([1, *sizes])


async def read_overview(backend: Backend) -> Overview:
    """Read everything from *backend*; of long lists the newest 15 entries."""
    state, jobs = backend.state, backend.jobs
    tally = await state.events.count_by_status()
    images = await state.runs.images(ImageFilter(outcome=Outcome.FAILED), limit=_SHOWN)
    failed = await jobs.list(JobFilter(frozenset({JobStatus.FAILED}), limit=_SHOWN))
    queue = [job for status in _IN_QUEUE for job in await jobs.list(JobFilter(frozenset({status}), limit=_SHOWN))]
    event_counts: dict[str, Counter[EventStatus]] = {}
    for (source, status), count in sorted(tally.counts.items()):
        event_counts.setdefault(source, Counter())[status] += count
    return Overview(
        problems=await backend.problems(),
        troubles=[
            *refusal_rows(backend.config.refused),
            *outage_rows(backend.health.outages),
            *troubles([ImageView.of(number, result) for number, result in images], job_views(failed)),
        ],
        more_troubles=_SHOWN in (len(images), len(failed)),
        counts=await jobs.counts(),
        queue=job_views(queue[:_SHOWN]),
        runs=run_views(await state.runs.page(limit=_SHOWN)),
        events=await _wanted_events(state.events),
        event_counts=event_counts,
        waiting_since=tally.waiting_since,
        rules=rule_views(backend.config, await state.schedules.list()),
        registries=registry_views(backend.config, backend.health.outages),
        file=backend.config.file,
    )


async def _wanted_events(log: EventLog) -> list[Event]:
    """Return the newest events that a rule wants or may want; unmatched ones, often many, are only counted."""
    wanted = (EventStatus.RECEIVED, EventStatus.DISPATCHED)
    found = [event for status in wanted for event in await log.page(EventFilter(status), limit=_SHOWN)]
    return sorted(found, key=lambda event: event.id, reverse=True)[:_SHOWN]


def refusal_rows(refused: str | None) -> list[Attention]:
    """Return a row for a reload that was refused."""
    if refused is None:
        return []
    remedy = "correct the file; the previous configuration stays in force"
    return [Attention("reload of the configuration", "", None, refused, remedy, attempts=0)]


def outage_rows(outages: Mapping[str, RegistryOutage]) -> list[Attention]:
    """Return one row for each registry that is down, instead of one for each of its copies, which wait for it."""
    return [
        Attention(registry, "", None, outage.error, outage.remedy, attempts=0) for registry, outage in outages.items()
    ]


def troubles(images: Sequence[ImageView], failed: Sequence[JobView]) -> list[Attention]:
    """Return the copies and jobs that failed for good, each copy once."""
    jobs = {(job.source, job.target): job for job in reversed(failed)}
    found: list[Attention] = []
    for image in images:
        job = jobs.pop((image.source, image.target), None)
        error = image.reason or _REASON_IN_LOG
        number = None if job is None else job.id
        found.append(Attention(image.source, image.target, image.rule, error, image.remedy, number, image.attempts))
    for job in reversed(jobs.values()):
        what = job.source or f"rule {job.rule}"
        error = job.error or _REASON_IN_LOG
        found.append(Attention(what, job.target or "", job.rule, error, job=job.id, attempts=job.attempts))
    return found
