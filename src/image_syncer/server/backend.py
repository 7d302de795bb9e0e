"""What the server needs from below: roles of a few methods each, and the values that they speak in.

Every method may raise `BackendUnavailable`, or another retryable error of ours: 503 with Retry-After. Each is given up
after the server's patience, so it must be safe to cancel. Identifiers count upwards; lists are newest first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from image_syncer.errors import ImageSyncerError
from image_syncer.events import PushEvent
from image_syncer.events.oidc import Jwt, SigningKeys
from image_syncer.state import Event, EventCounts, EventFilter, ImageFilter, Trigger
from image_syncer.sync.result import Outcome

T = TypeVar("T")


class BackendUnavailable(ImageSyncerError):
    """What was asked for can not be done now, and nothing was accepted; *retry_after* in seconds says when to try."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float = 5.0, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class Missing(ImageSyncerError):
    """There is no rule, run, job or event of that name or number."""


class Conflict(ImageSyncerError):
    """The thing is there, and is not in the state that the request needs."""


class JobStatus(StrEnum):
    """How far a job has come. `superseded`: a newer job for the same copy took over what it had left to do."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list: at most *limit* entries, older than the identifier *before* (None: the newest)."""

    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list. *next* is the `before` of the following part, None where there is none."""

    items: Sequence[T]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is durably recorded. *rules* are those that want it now; none: it is recorded as unmatched."""

    event_id: int
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleView:
    """What was asked for, as it is written; *schedule* and *next_at* are None where a rule has no times.

    *last_run_at* is when its last time came, None where none did yet.
    """

    name: str
    source: str
    targets: Sequence[str]
    selection: str
    events: bool
    schedule: str | None = None
    next_at: datetime | None = None
    last_run_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RegistryView:
    """A registry that the configuration names: whether rules read from it (*source*) and write to it (*target*).

    *logins* are the prefixes, the host or a namespace of it, for which the configuration has a login. *requests* and
    *transfers* are how many small requests and how many blobs of a process are on their way at once, at most; *copies*
    is how many copies of the whole fleet, None where that is not bounded.
    """

    host: str
    source: bool
    target: bool
    logins: Sequence[str]
    insecure: bool
    requests: int
    transfers: int
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """One execution of rules; *finished_at* None while it goes on.

    *unannounced* is how many images it had to copy that no event had told of; None where that was not asked.
    """

    id: int
    trigger: Trigger
    rules: Sequence[str]
    started_at: datetime
    finished_at: datetime | None
    copied: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    bytes_copied: int = 0
    warnings: Sequence[str] = ()
    unannounced: int | None = None


@dataclass(frozen=True, slots=True)
class ImageView:
    """The end of one copy within a run."""

    id: int
    rule: str
    source: str
    target: str
    outcome: Outcome
    source_digest: str | None = None
    target_digest: str | None = None
    reason: str | None = None
    remedy: str | None = None
    bytes_copied: int = 0
    seconds: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class JobView:
    """A durable unit of work, `rule` or `copy`. *next_at*: when it is tried (again); *error*: of the last attempt."""

    id: int
    kind: str
    status: JobStatus
    rule: str | None
    source: str | None
    target: str | None
    attempts: int
    created_at: datetime
    next_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None means any."""

    status: JobStatus | None = None
    kind: str | None = None
    rule: str | None = None
    target: str | None = None


class Inbox(Protocol):
    """Where events go."""

    async def accept(self, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return one entry for each of *events*, in their order, once all of them are durable; all of them or none."""
        ...


class Events(Protocol):
    """The recorded events."""

    async def list(self, wanted: EventFilter, part: Slice) -> Page[Event]:
        """Return a part of those that are *wanted*."""
        ...

    async def show(self, event: int) -> Event:
        """Return one, or raise `Missing`."""
        ...

    async def tally(self) -> EventCounts:
        """Return how many there are."""
        ...


class Rules(Protocol):
    """The rules that hold now."""

    async def list(self) -> Sequence[RuleView]:
        """Return all of them, in the order of the configuration."""
        ...

    async def run(self, name: str) -> int | None:
        """Return the job that runs the rule now, None where one waited already; `Missing` where there is no rule."""
        ...

    async def run_waiting(self) -> int:
        """Start what waits for its time, and return how many copies or events that were."""
        ...

    async def registries(self) -> Sequence[RegistryView]:
        """Return the registries that the configuration names, in the order of their hosts."""
        ...


class Runs(Protocol):
    """What was done."""

    async def list(self, rule: str | None, part: Slice) -> Page[RunView]:
        """Return a part of the runs, of one rule where that is not None."""
        ...

    async def show(self, run: int) -> RunView:
        """Return one, or raise `Missing`."""
        ...

    async def images(self, run: int, outcome: Outcome | None, part: Slice) -> Page[ImageView]:
        """Return a part of a run's images, or raise `Missing`."""
        ...

    async def latest(self, wanted: ImageFilter, part: Slice) -> Page[ImageView]:
        """Return a part of all images, each with its last result."""
        ...


class Jobs(Protocol):
    """What is to be done."""

    async def list(self, wanted: JobFilter, part: Slice) -> Page[JobView]:
        """Return a part of those that are *wanted*."""
        ...

    async def show(self, job: int) -> JobView:
        """Return one, or raise `Missing`."""
        ...

    async def retry(self, job: int) -> JobView:
        """Let a job that is over run again, and return it; `Missing`, or `Conflict` where it is not over."""
        ...

    async def cancel(self, job: int) -> JobView:
        """Withdraw a job that waits, stop one that runs; `Missing`, or `Conflict` where it is over."""
        ...

    async def counts(self) -> Mapping[JobStatus, int]:
        """Return how many jobs have each status; what is not there counts as 0."""
        ...


class Health(Protocol):
    """Whether we can do our work."""

    async def problems(self) -> Sequence[str]:
        """Return what stands against it (the database, the worker), for the log; empty where nothing does."""
        ...


class KeyRing(Protocol):
    """The keys by which issuers sign tokens."""

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        """Return the keys of the issuers that *rules* trust.

        They are read anew where *key_id* is unknown, but not each time: strangers choose it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything from below, one field for each role. *keys* None: no source proves itself by a token."""

    inbox: Inbox
    events: Events
    rules: Rules
    runs: Runs
    jobs: Jobs
    health: Health
    keys: KeyRing | None = None
