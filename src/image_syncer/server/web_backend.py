"""What the routes work on: the inbox of events, the configuration in force, the state and the job queue.

Every call may raise a retryable error of this program (`StateUnavailable`, `JobsUnavailable`): the server answers 503
with Retry-After. The server cancels a call after its patience, so each must be safe to cancel.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from image_syncer.app import Options
from image_syncer.errors import ImageSyncerError
from image_syncer.events import PushEvent
from image_syncer.events.oidc import Jwt, SigningKeys
from image_syncer.jobs import JobQueue, JobsUnavailable
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.state import State, StateUnavailable
from image_syncer.sync.rule import Rule


class BackendUnavailable(ImageSyncerError):
    """The server cannot do this now and accepted nothing; *retry_after* (seconds) says when to try again."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float = 5.0, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class Missing(ImageSyncerError):
    """No rule, run, job or event has that name or number."""


class Conflict(ImageSyncerError):
    """The job or rule exists, but its status or its settings do not allow the request."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durable event. *rules* are those that want it now; an event without any is recorded as unmatched."""

    event_id: int
    rules: tuple[str, ...] = ()


class EventInbox(Protocol):
    """Takes the events of webhooks."""

    async def accept(self, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        """Return one entry for each of *events*, in their order, once all of them are durable; all of them or none."""
        ...


class ConfigInForce(Protocol):
    """The configuration that the daemon runs with at this moment; a reload changes it."""

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules, in the order of the file."""
        ...

    @property
    def file(self) -> str | None:
        """The path of the configuration file; None if it is not known."""
        ...

    @property
    def refused(self) -> str | None:
        """Why the last reload was refused; None if the file is in force."""
        ...

    @property
    def options(self) -> Options:
        """How registries are reached."""
        ...

    @property
    def copy_limits(self) -> Mapping[str, int]:
        """How many copies of the whole fleet each registry takes at once, by host."""
        ...


class KeyRing(Protocol):
    """The public keys with which issuers sign tokens."""

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        """Return the keys of the issuers that *rules* trust.

        An unknown *key_id* makes it read them again, but not each time: strangers choose the id.
        """
        ...


class SnsClient(Protocol):
    """Reaches the addresses of Amazon SNS that a message names; both are checked before."""

    async def certificate(self, url: str) -> bytes:
        """Return the PEM certificate at *url*, fetched once and cached."""
        ...

    async def confirm(self, url: str) -> None:
        """Visit *url*, which confirms a subscription."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that the routes use. *dispatch* turns pending events into jobs now and returns the number of copies.

    *keys* None: no webhook authenticates by a signed token.
    """

    inbox: EventInbox
    config: ConfigInForce
    dispatch: Callable[[], Awaitable[int]]
    state: State
    jobs: JobQueue
    health: RegistryHealth
    keys: KeyRing | None = None
    sns: SnsClient | None = None

    async def problems(self) -> list[str]:
        """Return what keeps the daemon from its work (a database, the worker), for the log; empty if nothing does."""
        found: list[str] = []
        for check in (self.state.check_writable, self.jobs.counts):
            try:
                await check()
            except (StateUnavailable, JobsUnavailable) as error:
                found.append(error.message)
        if not self.jobs.is_worker_alive:
            found.append("no worker is running")
        return found
