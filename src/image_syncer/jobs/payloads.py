"""What can be asked for, and what a handler is given: values that survive the way through a database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from procrastinate.jobs import Job

from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter, Reference, Repository
from image_syncer.oci.reference import split_reference
from image_syncer.state import Trigger

_NAME_LIMIT: Final = 500  # A unique index of PostgreSQL takes about 2 700 bytes.
REGISTRIES: Final = "registries"
"""The argument that names the registries whose limits a job counts against."""
_PLATFORMS: Final = "platforms"
_ASKED_AT: Final = "asked_at"  # In seconds since 1970: operators are shown texts alone.
_TRIGGER: Final = "trigger"


class JobKind(StrEnum):
    """What a job does."""

    COPY = "copy"
    RULE = "rule"

    @property
    def queue(self) -> str:
        """The queue of such jobs. It names us, since PostgreSQL's channels are shared by a whole database."""
        return f"image-syncer.{self.value}"


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """One copy that is wanted: *source* to *target*.

    Of two waiting requests the higher *priority* is served first, then the older one. *digest* is what the event
    announced (None: whatever the source has), *rule* who wants it, *event* the id of the event behind it. It does not
    begin before the instant *not_before* (aware; None: at once). *platforms* travels along: the process that makes the
    copy may have read its configuration earlier or later than the one that asked.
    """

    source: Reference
    target: Reference
    priority: int = 0
    digest: Digest | None = None
    rule: str | None = None
    event: str | None = None
    not_before: datetime | None = None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)

    def to_job(self, asked_at: datetime) -> Job:
        """Return the job for it, wanted since *asked_at*.

        At most one waits for each (source, target), and at most one runs for each target.

        No event is not named, so that a job which an event waits for stays one when a rule asks for the same.
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
                _PLATFORMS: json.dumps(self.platforms.to_options()) if self.platforms else None,
                REGISTRIES: [*sorted({self.source.repository.registry, self.target.repository.registry})],
                _ASKED_AT: asked_at.timestamp(),
            },
        )


@dataclass(frozen=True, slots=True)
class CopyJob:
    """A copy to be made now, by a handler. *attempt* is 1 for the first; it has been wanted for *age* seconds."""

    id: int
    attempt: int
    source: Reference
    target: Reference
    digest: Digest | None
    rule: str | None
    event: str | None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    age: float = field(default=0.0, compare=False)

    @classmethod
    def of(cls, job: Job, age: float) -> Self:
        """Return what *job* asks for, wanted for *age* seconds."""
        arguments = text_arguments(job.task_kwargs)
        digest = arguments.get("digest")
        return cls(
            job.id or 0,
            job.attempts + 1,
            _reference(arguments["source"]),
            _reference(arguments["target"]),
            None if digest is None else Digest.parse(digest),
            arguments.get("rule"),
            arguments.get("event"),
            _platforms(arguments.get(_PLATFORMS)),
            age,
        )


@dataclass(frozen=True, slots=True)
class RuleJob:
    """A rule to be run now, by a handler. *attempt* is 1 for the first; *trigger* says why."""

    id: int
    attempt: int
    rule: str
    trigger: Trigger = Trigger.SCHEDULE

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return what *job* asks for."""
        arguments = text_arguments(job.task_kwargs)
        return cls(job.id or 0, job.attempts + 1, arguments["rule"], _trigger(arguments))


def rule_job(rule: str, priority: int, not_before: datetime | None, trigger: Trigger, asked_at: datetime) -> Job:
    """Return a job that runs *rule*, wanted since *asked_at*: one waits at most, and one runs at most.

    A schedule is not named: one that joins a job that somebody asked for does not change why that one runs.
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


def age_of(job: Job, now: datetime) -> float:
    """Return for how many seconds *job* has been wanted, since it was last asked for; 0 where that is not known."""
    asked_at = job.task_kwargs.get(_ASKED_AT)
    return max(0.0, now.timestamp() - asked_at) if isinstance(asked_at, int | float) else 0.0


def copy_lock(source: str, target: str) -> str:
    """Return the queueing lock of a copy: at most one of each waits."""
    return f"copy {source} {target}"


def rule_lock(name: str) -> str:
    """Return the lock, and the queueing lock, of the runs of a rule."""
    return f"rule {name}"


def target_lock(target: Reference | str) -> str:
    """Return the lock of all copies to *target*: the target alone, so that no reload and no limit can change it."""
    return f"target {target}"


def text_arguments(arguments: Mapping[str, object]) -> dict[str, str]:
    """Return the texts among the stored *arguments* of a job."""
    return {key: value for key, value in arguments.items() if isinstance(value, str)}


def _platforms(spelled: str | None) -> PlatformFilter:
    return PlatformFilter() if spelled is None else PlatformFilter.parse(*json.loads(spelled))


def _reference(text: str) -> Reference:
    """Return the reference that `str` wrote: its first part is always the registry, even without a dot."""
    registry, _, rest = text.partition("/")
    path, tag, digest = split_reference(rest)
    return Reference(Repository.of(registry, path), tag=tag, digest=None if digest is None else Digest.parse(digest))


def _trigger(arguments: Mapping[str, str]) -> Trigger:
    written = arguments.get(_TRIGGER)
    return next((trigger for trigger in Trigger if trigger.value == written), Trigger.SCHEDULE)


def _checked(text: str, what: str) -> str:
    if len(text) > _NAME_LIMIT or not text.isprintable():
        raise UsageError(f"{what} {text[:80]!r}: longer than {_NAME_LIMIT} characters, or with control characters")
    return text
