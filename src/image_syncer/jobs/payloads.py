"""Requests for jobs and the jobs that handlers receive, stored as JSON in between."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from procrastinate.jobs import Job

from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Reference, Repository
from image_syncer.oci.layout_text import is_layout
from image_syncer.oci.reference import split_reference
from image_syncer.roles import Fence
from image_syncer.state import Trigger

_NAME_LIMIT: Final = 500  # A row of a unique index of PostgreSQL has at most about 2 700 bytes.
REGISTRIES: Final = "registries"
"""The argument with the registries whose limits the job counts against."""
_PLATFORMS: Final = "platforms"
_ASKED_AT: Final = "asked_at"  # Seconds since 1970: a number, since operators see only texts.
_TRIGGER: Final = "trigger"
_REFERRERS: Final = "referrers"


class JobKind(StrEnum):
    """The kind of a job."""

    COPY = "copy"
    RULE = "rule"

    @property
    def queue(self) -> str:
        """The queue's name. It contains the product, since PostgreSQL's channels are shared by the database."""
        return f"image-syncer.{self.value}"


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """A request for one copy from *source* to *target*.

    A higher *priority* runs first, then the older request. *digest* is that of the event (None: any), *rule* the
    requesting rule, *event* the id of the requesting event. *not_before* is the earliest start (aware; None: now).
    *platforms* is part of it, since the process that makes the copy may have another version of the configuration. It
    is wanted since *asked_at* (aware; None: the request): of pushes, the newest is copied first. *referrers*: what is
    attached to the image is compared even if the image is up to date.
    """

    source: Reference
    target: Reference
    priority: int = 0
    digest: Digest | None = None
    rule: str | None = None
    event: str | None = None
    not_before: datetime | None = None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    asked_at: datetime | None = None
    referrers: bool = False

    def to_job(self, now: datetime) -> Job:
        """Return the job for it, requested at *now*.

        At most one is queued per (source, target), and at most one runs per target. Without an event the argument is
        left out, so that a request of a rule that is merged into an event's job keeps that event; so is *referrers*.
        """
        return Job(
            queue=JobKind.COPY.queue,
            task_name=JobKind.COPY.value,
            queueing_lock=copy_lock(str(self.source), str(self.target)),
            lock=target_lock(self.target),
            priority=self.priority,
            scheduled_at=self.not_before,
            task_kwargs={
                "source": str(self.source),
                "target": str(self.target),
                "digest": None if self.digest is None else str(self.digest),
                "rule": None if self.rule is None else _checked(self.rule, "rule"),
                **({} if self.event is None else {"event": _checked(self.event, "event")}),
                **({_REFERRERS: True} if self.referrers else {}),
                _PLATFORMS: json.dumps(self.platforms.to_options()) if self.platforms else None,
                REGISTRIES: [*sorted({self.source.repository.registry, self.target.repository.registry})],
                _ASKED_AT: (self.asked_at or now).timestamp(),
            },
        )


@dataclass(frozen=True, slots=True)
class CopyJob:
    """A copy for a handler. *attempt* counts from 1; *age* is the time since the request in seconds.

    *lease* permits writes of tags; None: nothing can take the copy over. *referrers*: see `CopyRequest`.
    """

    id: int
    attempt: int
    source: Reference
    target: Reference
    digest: Digest | None
    rule: str | None
    event: str | None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    age: float = field(default=0.0, compare=False)
    lease: Fence | None = field(default=None, compare=False, repr=False)
    referrers: bool = False

    @classmethod
    def of(cls, job: Job, age: float, lease: Fence | None = None) -> Self:
        """Return the copy of *job*, requested *age* seconds ago."""
        arguments = text_arguments(job.task_kwargs)
        digest = arguments.get("digest")
        return cls(
            job.id or 0,
            job.attempts + 1,
            stored_reference(arguments["source"]),
            stored_reference(arguments["target"]),
            None if digest is None else Digest.parse(digest),
            arguments.get("rule"),
            arguments.get("event"),
            _platforms(arguments.get(_PLATFORMS)),
            age,
            lease,
            job.task_kwargs.get(_REFERRERS) is True,
        )


@dataclass(frozen=True, slots=True)
class RuleJob:
    """A rule for a handler to run. *attempt* counts from 1; *trigger* is the reason."""

    id: int
    attempt: int
    rule: str
    trigger: Trigger = Trigger.SCHEDULE

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the rule run of *job*."""
        arguments = text_arguments(job.task_kwargs)
        return cls(job.id or 0, job.attempts + 1, arguments["rule"], _trigger(arguments))


def rule_job(rule: str, priority: int, not_before: datetime | None, trigger: Trigger, asked_at: datetime) -> Job:
    """Return a job that runs *rule*, requested at *asked_at*; at most one is queued and at most one runs.

    The trigger "schedule" is left out, so that a schedule that is merged into a requested job keeps its trigger.
    """
    name = _checked(rule, "rule")
    return Job(
        queue=JobKind.RULE.queue,
        task_name=JobKind.RULE.value,
        queueing_lock=rule_lock(name),
        lock=rule_lock(name),
        priority=priority,
        scheduled_at=not_before,
        task_kwargs={
            "rule": name,
            **({} if trigger is Trigger.SCHEDULE else {_TRIGGER: trigger.value}),
            _ASKED_AT: asked_at.timestamp(),
        },
    )


def renewed(job: Job, priority: int, asked_at: datetime) -> Job:
    """Return a new job for the work of *job*, at *priority* or its own if that is higher, requested at *asked_at*."""
    return job.evolve(
        id=None,
        status="todo",
        attempts=0,
        scheduled_at=None,
        worker_id=None,
        priority=max(job.priority, priority),
        task_kwargs={**job.task_kwargs, _ASKED_AT: asked_at.timestamp()},
    )


def age_of(job: Job, now: datetime) -> float:
    """Return the seconds since the last request of *job*; 0 if unknown."""
    asked_at = job.task_kwargs.get(_ASKED_AT)
    return max(0.0, now.timestamp() - asked_at) if isinstance(asked_at, int | float) else 0.0


def copy_lock(source: str, target: str) -> str:
    """Return the queueing lock of a copy: at most one is queued."""
    return f"copy {source} {target}"


def rule_lock(name: str) -> str:
    """Return the lock and queueing lock of the runs of a rule."""
    return f"rule {name}"


def target_lock(target: Reference | str) -> str:
    """Return the lock of all copies to *target*; it depends on the target alone, so that no reload changes it."""
    return f"target {target}"


def text_arguments(arguments: Mapping[str, object]) -> dict[str, str]:
    """Return the text values of the *arguments* of a job."""
    return {key: value for key, value in arguments.items() if isinstance(value, str)}


def _platforms(options: str | None) -> PlatformFilter:
    return PlatformFilter() if options is None else PlatformFilter.parse(*json.loads(options))


def stored_reference(text: str) -> Reference:
    """Return the reference that `str` serialised: its first part is always the registry, even without a dot."""
    if is_layout(text):
        return Reference.parse(text, default_tag=None)
    registry, _, rest = text.partition("/")
    path, tag, digest = split_reference(rest)
    return Reference(Repository.of(registry, path), tag=tag, digest=None if digest is None else Digest.parse(digest))


def _trigger(arguments: Mapping[str, str]) -> Trigger:
    value = arguments.get(_TRIGGER)
    return next((trigger for trigger in Trigger if trigger.value == value), Trigger.SCHEDULE)


def _checked(text: str, what: str) -> str:
    if len(text) > _NAME_LIMIT or not text.isprintable():
        raise UsageError(f"{what} {text[:80]!r}: longer than {_NAME_LIMIT} characters, or with control characters")
    return text
