"""What the dashboard shows, gathered from the backend: what needs somebody first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from image_syncer.server.backend import (
    Backend,
    ImageView,
    JobFilter,
    JobStatus,
    JobView,
    RegistryView,
    RuleView,
    RunView,
    Slice,
)
from image_syncer.state import Event, EventFilter, EventStatus, ImageFilter
from image_syncer.sync.result import Outcome

_SHOWN: Final = Slice(limit=15)
_IN_QUEUE: Final = (JobStatus.RUNNING, JobStatus.WAITING)


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that failed and will not come right by itself, with the *job* that can be retried, if there is one.

    *target* is empty where no single copy failed.
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
    """What the dashboard shows. *more_troubles*: not all of them are there."""

    problems: Sequence[str]
    troubles: Sequence[Attention]
    more_troubles: bool
    counts: Mapping[JobStatus, int]
    queue: Sequence[JobView]
    runs: Sequence[RunView]
    events: Sequence[Event]
    told: Mapping[str, Mapping[EventStatus, int]]
    waiting_events: int
    waiting_since: datetime | None
    rules: Sequence[RuleView]
    registries: Sequence[RegistryView]

    @property
    def in_queue(self) -> int:
        """How many jobs run or wait, shown or not."""
        return sum(self.counts.get(status, 0) for status in _IN_QUEUE)

    @property
    def largest_run(self) -> int:
        """How many images the largest of the shown runs has come to, 1 at least."""
        sizes = [run.copied + run.unchanged + run.skipped + run.failed for run in self.runs]
        return max([1, *sizes])


async def look_over(backend: Backend) -> Overview:
    """Ask *backend* for everything; the newest 15 of what there may be many of."""
    tally = await backend.events.tally()
    images = await backend.runs.latest(ImageFilter(outcome=Outcome.FAILED), _SHOWN)
    failed = await backend.jobs.list(JobFilter(JobStatus.FAILED), _SHOWN)
    queue = [job for status in _IN_QUEUE for job in (await backend.jobs.list(JobFilter(status), _SHOWN)).items]
    told: dict[str, Counter[EventStatus]] = {}
    for (source, status), count in sorted(tally.counts.items()):
        told.setdefault(source, Counter())[status] += count
    return Overview(
        problems=await backend.health.problems(),
        troubles=troubles(images.items, failed.items),
        more_troubles=images.next is not None or failed.next is not None,
        counts=await backend.jobs.counts(),
        queue=queue[: _SHOWN.limit],
        runs=(await backend.runs.list(None, _SHOWN)).items,
        events=(await backend.events.list(EventFilter(), _SHOWN)).items,
        told=told,
        waiting_events=sum(counts[EventStatus.RECEIVED] for counts in told.values()),
        waiting_since=tally.waiting_since,
        rules=await backend.rules.list(),
        registries=await backend.rules.registries(),
    )


def troubles(images: Sequence[ImageView], failed: Sequence[JobView]) -> list[Attention]:
    """Return what failed for good: copies that end so, and jobs, each copy once."""
    jobs = {(job.source, job.target): job for job in reversed(failed)}
    found: list[Attention] = []
    for image in images:
        job = jobs.pop((image.source, image.target), None)
        error = image.reason or "the log has the reason"
        number = None if job is None else job.id
        found.append(Attention(image.source, image.target, image.rule, error, image.remedy, number, image.attempts))
    for job in reversed(jobs.values()):
        what = job.source or f"rule {job.rule}"
        error = job.error or "the log has the reason"
        found.append(Attention(what, job.target or "", job.rule, error, job=job.id, attempts=job.attempts))
    return found
