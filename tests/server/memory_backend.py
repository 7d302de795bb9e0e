"""The backend in memory, and a running server over it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import aiohttp
import jwt
from prometheus_client import CollectorRegistry

from image_syncer.events import PushEvent
from image_syncer.events.oidc import Jwt, SigningKeys
from image_syncer.server.backend import (
    Accepted,
    Backend,
    BackendUnavailable,
    Conflict,
    ImageView,
    JobFilter,
    JobStatus,
    JobView,
    KeyRing,
    Missing,
    Page,
    RegistryView,
    RuleView,
    RunView,
    Slice,
)
from image_syncer.server.metrics import Metrics
from image_syncer.server.runner import Site, serve
from image_syncer.server.server_settings import Listen, ServerSettings
from image_syncer.state import Event, EventCopy, EventCounts, EventFilter, EventStatus, ImageFilter, Trigger
from image_syncer.sync.result import Outcome

T = TypeVar("T", Event, RunView, ImageView, JobView)

NOW = datetime(2026, 5, 4, 9, 12, 33, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=2)
OVER = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUPERSEDED})


@dataclass
class MemoryBackend:
    """All roles in one process. The one rule wants repositories that begin with *wanted*; *down* and *slow* disturb.

    Tokens are verified with the keys *signing*, or with those of *key_ring* where that is not None.
    """

    wanted: str = "registry.example.com/team/"
    down: bool = False
    slow: float = 0.0
    dead_worker: bool = False
    event_rows: list[Event] = field(default_factory=list[Event])
    rule_rows: list[RuleView] = field(default_factory=list[RuleView])
    registry_rows: list[RegistryView] = field(default_factory=list[RegistryView])
    run_rows: list[RunView] = field(default_factory=list[RunView])
    image_rows: list[ImageView] = field(default_factory=list[ImageView])
    job_rows: list[JobView] = field(default_factory=list[JobView])
    signing: SigningKeys = field(default_factory=dict[str, jwt.PyJWK])
    key_ring: KeyRing | None = None
    asked_keys: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    started: int = 0

    def backend(self) -> Backend:
        """Return the roles."""
        keys = self.key_ring or _KeyRing(self)
        return Backend(_Inbox(self), _Events(self), _Rules(self), _Runs(self), _Jobs(self), _Health(self), keys)

    async def reach(self) -> None:
        """Be slow or unavailable, as the test wants it."""
        await asyncio.sleep(self.slow)
        if self.down:
            raise BackendUnavailable("state.db: disk I/O error", retry_after=7)


class _Inbox:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def accept(self, source: str, events: Sequence[PushEvent]) -> list[Accepted]:
        await self._memory.reach()
        accepted: list[Accepted] = []
        for event in events:
            repository = str(event.repository)
            rules = ("team",) if repository.startswith(self._memory.wanted) else ()
            status = EventStatus.RECEIVED if rules else EventStatus.UNMATCHED
            digest = str(event.digest) if event.digest else None
            number = len(self._memory.event_rows) + 1
            row = recorded(number, source, repository, event.tag, digest, received_at=NOW, status=status)
            self._memory.event_rows.append(row)
            accepted.append(Accepted(number, rules))
        return accepted


class _Events:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def list(self, wanted: EventFilter, part: Slice) -> Page[Event]:
        await self._memory.reach()
        pairs = ((wanted.status, "status"), (wanted.source, "source"), (wanted.repository, "repository"))
        return _page([row for row in self._memory.event_rows if _fits(row, pairs)], part)

    async def show(self, event: int) -> Event:
        await self._memory.reach()
        return _found(self._memory.event_rows, event)

    async def tally(self) -> EventCounts:
        await self._memory.reach()
        rows = self._memory.event_rows
        waiting = [row.received_at for row in rows if row.status is EventStatus.RECEIVED]
        return EventCounts(Counter((row.source, row.status) for row in rows), min(waiting, default=None))


class _Rules:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def list(self) -> Sequence[RuleView]:
        await self._memory.reach()
        return self._memory.rule_rows

    async def run(self, name: str) -> int | None:
        await self._memory.reach()
        if name not in {rule.name for rule in self._memory.rule_rows}:
            raise Missing("there is no such rule")
        if any(job.rule == name and job.status is JobStatus.WAITING for job in self._memory.job_rows):
            return None
        number = len(self._memory.job_rows) + 1
        self._memory.job_rows.append(JobView(number, "rule", JobStatus.WAITING, name, None, None, 0, NOW))
        return number

    async def run_waiting(self) -> int:
        await self._memory.reach()
        self._memory.started += 1
        return sum(1 for event in self._memory.event_rows if event.status is EventStatus.RECEIVED)

    async def registries(self) -> Sequence[RegistryView]:
        await self._memory.reach()
        return self._memory.registry_rows


class _Runs:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def list(self, rule: str | None, part: Slice) -> Page[RunView]:
        await self._memory.reach()
        return _page([row for row in self._memory.run_rows if rule is None or rule in row.rules], part)

    async def show(self, run: int) -> RunView:
        await self._memory.reach()
        return _found(self._memory.run_rows, run)

    async def images(self, run: int, outcome: Outcome | None, part: Slice) -> Page[ImageView]:
        await self.show(run)
        return _page([row for row in self._memory.image_rows if outcome in (None, row.outcome)], part)

    async def latest(self, wanted: ImageFilter, part: Slice) -> Page[ImageView]:
        await self._memory.reach()
        pairs = ((wanted.rule, "rule"), (wanted.outcome, "outcome"))
        named = wanted.repository
        rows = [row for row in self._memory.image_rows if named in (None, *map(_name, (row.source, row.target)))]
        return _page([row for row in rows if _fits(row, pairs)], part)


class _Jobs:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def list(self, wanted: JobFilter, part: Slice) -> Page[JobView]:
        await self._memory.reach()
        pairs = ((wanted.status, "status"), (wanted.kind, "kind"), (wanted.rule, "rule"), (wanted.target, "target"))
        return _page([row for row in self._memory.job_rows if _fits(row, pairs)], part)

    async def show(self, job: int) -> JobView:
        await self._memory.reach()
        return _found(self._memory.job_rows, job)

    async def retry(self, job: int) -> JobView:
        return await self._change(job, JobStatus.WAITING, from_over=True)

    async def cancel(self, job: int) -> JobView:
        return await self._change(job, JobStatus.CANCELLED, from_over=False)

    async def counts(self) -> Mapping[JobStatus, int]:
        await self._memory.reach()
        return Counter(row.status for row in self._memory.job_rows)

    async def _change(self, job: int, status: JobStatus, *, from_over: bool) -> JobView:
        row = await self.show(job)
        if (row.status in OVER) != from_over:
            raise Conflict(f"job {job} is {row.status}")
        changed = replace(row, status=status)
        self._memory.job_rows[self._memory.job_rows.index(row)] = changed
        return changed


class _Health:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def problems(self) -> Sequence[str]:
        await self._memory.reach()
        return ["no worker has shown itself for 40 s"] if self._memory.dead_worker else []


class _KeyRing:
    def __init__(self, memory: MemoryBackend) -> None:
        self._memory = memory

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        await self._memory.reach()
        self._memory.asked_keys.append((*rules.issuers, key_id))
        return self._memory.signing


@dataclass(frozen=True)
class Running:
    """A server on a free port, a client of it, and what is behind it."""

    url: str
    client: aiohttp.ClientSession
    memory: MemoryBackend
    site: Site
    listen: Listen
    stop: asyncio.Event
    metrics: Metrics

    async def status(self, method: str, path: str, **options: object) -> int:
        """Return the status alone."""
        async with self.client.request(method, path, **options) as response:  # pyright: ignore[reportArgumentType] - passed on
            return response.status


@asynccontextmanager
async def running(
    settings: ServerSettings | None = None, memory: MemoryBackend | None = None
) -> AsyncGenerator[Running]:
    """Serve the backend in memory at a free port of 127.0.0.1 as long as the context lasts."""
    memory = memory or MemoryBackend()
    metrics = Metrics(CollectorRegistry())
    site = Site(
        Listen("127.0.0.1", 0), settings or ServerSettings(), memory.backend(), metrics=metrics, clock=time.time
    )
    stop = asyncio.Event()
    address: asyncio.Future[Listen] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(site, stop=stop, started=address.set_result, drain_seconds=2))
        listen = await address
        url = f"http://{listen}"
        try:
            async with aiohttp.ClientSession(url) as client:
                yield Running(url, client, memory, site, listen, stop, metrics)
        finally:
            serving.cancel()  # A graceful stop takes 0.2 s, and has tests of its own.


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header of HTTP Basic."""
    return {"authorization": aiohttp.encode_basic_auth(username, password, encoding="utf-8")}


def filled() -> MemoryBackend:
    """Return a backend in which something has happened already."""
    memory = MemoryBackend()
    target = "mirror.example.com/team/app:1.4.2"
    source = "registry.example.com/team/app:1.4.2"
    memory.rule_rows += [
        RuleView("team", "registry.example.com/team/**", ["mirror.example.com/{repository}"], "all tags", events=True),
        RuleView(
            "docker.io/library/nginx",
            "docker.io/library/nginx",
            ["mirror.example.com/hub/nginx", "backup.example.com/nginx"],
            "1.*",
            events=False,
            schedule="every 10 min",
            next_at=NOW + timedelta(minutes=4),
        ),
    ]
    memory.registry_rows += [
        RegistryView("docker.io", source=True, target=False, logins=[], insecure=False, requests=40, transfers=5),
        RegistryView(
            "mirror.test", source=False, target=True, logins=["mirror.test"], insecure=False, requests=40, transfers=5
        ),
    ]
    memory.run_rows += [
        RunView(1, Trigger.SCHEDULE, ["docker.io/library/nginx"], EARLIER, NOW, 3, 40, 1, 1, 734_003_200),
        RunView(2, Trigger.REQUEST, ["team"], NOW - timedelta(seconds=20), None),
    ]
    memory.image_rows += [
        ImageView(1, "nginx", "docker.io/library/nginx:1.27", "mirror.example.com/hub/nginx:1.27", Outcome.COPIED),
        ImageView(2, "nginx", "docker.io/library/nginx:1.9", "mirror.example.com/hub/nginx:1.9", Outcome.FAILED),
    ]
    error = "target: push blob: mirror.example.com/team/app: 507 no space left"
    ago = NOW - timedelta(minutes=9)
    memory.job_rows += [
        JobView(1, "copy", JobStatus.FAILED, "team", source, target, 5, ago, None, NOW, error),
        JobView(2, "copy", JobStatus.RUNNING, "team", source, target, 1, NOW),
        JobView(3, "copy", JobStatus.WAITING, "team", source, target, 2, NOW, NOW + timedelta(seconds=30), None, error),
    ]
    memory.event_rows += told(source, target, ago)
    return memory


def told(source: str, target: str, ago: datetime) -> list[Event]:
    """Return an event that was copied, which came three times, and one that nobody wants."""
    copies = (EventCopy(source, target, "copied", None, NOW),)
    image, done = "registry.example.com/team/app", EventStatus.DISPATCHED
    other, unwanted = "registry.example.com/other/app", EventStatus.UNMATCHED
    return [
        recorded(1, "harbor", image, "1.4.2", received_at=ago, status=done, repetitions=2, copies=copies),
        recorded(2, "images/sync/hook", other, "2", received_at=NOW, status=unwanted),
    ]


def recorded(  # noqa: PLR0913 - an event has so many parts
    number: int,
    source: str,
    repository: str,
    tag: str,
    digest: str | None = None,
    *,
    received_at: datetime,
    status: EventStatus,
    repetitions: int = 0,
    copies: tuple[EventCopy, ...] = (),
) -> Event:
    """Return an event that has come as far as *status* says."""
    decided_at = None if status is EventStatus.RECEIVED else received_at
    return Event(number, source, repository, tag, digest, None, received_at, status, decided_at, repetitions, copies)


def _page(rows: Sequence[T], part: Slice) -> Page[T]:
    older = [row for row in reversed(rows) if part.before is None or row.id < part.before]
    items = older[: part.limit]
    return Page(items, items[-1].id if len(older) > len(items) else None)


def _found(rows: Sequence[T], number: int) -> T:
    for row in rows:
        if row.id == number:
            return row
    raise Missing(f"there is no {number}")


def _name(reference: str) -> str:
    return reference.rpartition(":")[0]


def _fits(row: object, pairs: Sequence[tuple[object, str]]) -> bool:
    return all(value is None or getattr(row, name) == value for value, name in pairs)
