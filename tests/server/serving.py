"""A running server over a real state and a real queue in SQLite files, whose failures tests can switch on."""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import aiohttp
from procrastinate.exceptions import ConnectorException
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from image_syncer.app import Options
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.reload import LiveConfig
from image_syncer.events.oidc import Jwt, SigningKeys
from image_syncer.jobs import CopyRequest, JobQueue, open_jobs
from image_syncer.oci import Repository
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.server.metrics import Metrics
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.server.runner import Site, serve
from image_syncer.server.server_settings import Listen, ServerSettings
from image_syncer.server.web_backend import Backend, KeyRing, SnsClient
from image_syncer.state import (
    CopyEnd,
    Event,
    NewEvent,
    NewRun,
    State,
    StateUnavailable,
    Trigger,
    open_state,
)
from image_syncer.state import IntervalSchedule as StoredEvery
from image_syncer.state.tables import runs, schedules
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import AllTags, Every, Rule, RuleTarget, TagFilter, Triggers

NOW = datetime(2026, 5, 4, 9, 12, 33, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=2)
SOURCE = Repository("registry.example.com", "team/app")
TARGET = Repository("mirror.example.com", "team/app")
NGINX = Repository("docker.io", "library/nginx")
NO_SPACE = "target: push blob: mirror.example.com/team/app: 507 no space left"


def event_rule(registry: str = "registry.example.com", pattern: str = "team/**") -> Rule:
    """Return the rule `team`, which mirrors every push to *pattern* at *registry*."""
    target = TargetTemplate.of("mirror.example.com", "{repository}")
    source = SourcePattern.of(registry, pattern)
    return Rule("team", source, AllTags(), (target,), triggers=Triggers(events=True))


NGINX_RULE = Rule(
    "docker.io/library/nginx",
    NGINX,
    TagFilter(("1.27", "1.9")),
    (RuleTarget(Repository("mirror.example.com", "hub/nginx")), RuleTarget(Repository("backup.example.com", "nginx"))),
    triggers=Triggers(Every(600.0)),
)


@dataclass
class Databases:
    """A state and a queue, the configuration in force, and the switches of failures.

    *is_down*: no database answers. *delay*: seconds before each answer of the state.
    """

    state: State
    jobs: JobQueue
    config: LiveConfig
    folder: Path
    is_down: bool = False
    health: RegistryHealth = field(default_factory=lambda: RegistryHealth(_now))
    delay: float = 0.0

    async def events(self) -> list[Event]:
        """Return all events, oldest first."""
        return [*reversed(await self.state.events.page(limit=500))]

    def set_worker(self, *, alive: bool) -> None:
        """Make the queue report a worker of this process, or none."""
        worker: Any = SimpleNamespace(is_alive=alive)
        self.jobs._supervisor = worker  # pyright: ignore[reportPrivateUsage] - no worker runs here

    async def set_job(self, number: int, status: str, attempts: int, error: str | None = None) -> None:
        """Give a job the *status* that a worker would give it."""
        await asyncio.to_thread(_set_job, self.folder / "jobs.db", number, (status, attempts), error)

    async def set_run(self, number: int, **values: object) -> None:
        """Set columns of a run."""
        await self.state.database.write(
            lambda connection: connection.execute(update(runs).where(runs.c.id == number).values(**values))
        )

    async def fail_or_wait(self) -> None:
        """Wait as long as the state is slow; raise if it is down."""
        await asyncio.sleep(self.delay)
        if self.is_down:
            raise StateUnavailable("state.db: disk I/O error")


Fill = Callable[[Databases], Awaitable[None]]


@dataclass(frozen=True)
class Running:
    """A server on a free port, a client of it, and its databases."""

    url: str
    client: aiohttp.ClientSession
    databases: Databases
    site: Site
    listen: Listen
    stop: asyncio.Event
    metrics: Metrics

    async def status(self, method: str, path: str, **options: object) -> int:
        """Return the status of a response."""
        async with self.client.request(method, path, **options) as response:  # pyright: ignore[reportArgumentType] - passed on
            return response.status

    async def events(self) -> list[Event]:
        """Return all recorded events, oldest first."""
        return await self.databases.events()


@asynccontextmanager
async def open_databases(rules: Sequence[Rule] | None = None) -> AsyncGenerator[Databases]:
    """Open an empty state and an empty queue in a new folder, with failures that can be switched on."""
    access = (RegistryAccount("mirror.example.com", Credential("alice", "hunter2")),)
    config = LiveConfig(tuple(rules or (event_rule(),)), Options(access))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with open_state(str(folder / "state.db")) as state, open_jobs(str(folder / "jobs.db")) as jobs:
            databases = Databases(state, jobs, config, folder)
            databases.set_worker(alive=True)
            _add_switches(databases)
            yield databases


@asynccontextmanager
async def running(
    settings: ServerSettings | None = None,
    fill: Fill | None = None,
    *,
    rules: Sequence[Rule] | None = None,
    keys: KeyRing | None = None,
    sns: SnsClient | None = None,
) -> AsyncGenerator[Running]:
    """Serve databases, prepared by *fill*, at a free port of 127.0.0.1 as long as the context lasts."""
    async with open_databases(rules) as databases:
        if fill is not None:
            await fill(databases)
        metrics = Metrics(CollectorRegistry())
        backend = backend_over(databases, keys, sns)
        site = Site(Listen("127.0.0.1", 0), settings or ServerSettings(), backend, metrics=metrics, clock=time.time)
        stop = asyncio.Event()
        address: asyncio.Future[Listen] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            server = group.create_task(serve(site, stop=stop, started=address.set_result, drain_seconds=2))
            listen = await address
            url = f"http://{listen}"
            try:
                async with aiohttp.ClientSession(url) as client:
                    yield Running(url, client, databases, site, listen, stop, metrics)
            finally:
                server.cancel()  # A graceful stop takes 0.2 s and has other tests.


def backend_over(databases: Databases, keys: KeyRing | None = None, sns: SnsClient | None = None) -> Backend:
    """Return the server's backend over *databases*, without the background tasks of a daemon."""
    state, jobs, config = databases.state, databases.jobs, databases.config
    arrived = asyncio.Event()
    dispatcher = Dispatcher(state, jobs, config, arrived, _now, tick_seconds=None)
    recorder = EventRecorder(state.events, config, arrived, _now)
    return Backend(recorder, config, dispatcher.dispatch, state, jobs, databases.health, keys, sns)


def unused_backend() -> Backend:
    """Return a backend for servers whose requests never reach it."""
    nothing: Any = SimpleNamespace(runs=None)
    return Backend(nothing, nothing, nothing, nothing, nothing, nothing)


@dataclass
class FixedKeys:
    """A key ring that always returns *keys*, and remembers its calls."""

    keys: SigningKeys
    calls: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    async def keys_for(self, rules: Jwt, key_id: str) -> SigningKeys:
        """Return the keys."""
        self.calls.append((*rules.issuers, key_id))
        return self.keys


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header of HTTP Basic."""
    return {"authorization": aiohttp.encode_basic_auth(username, password, encoding="utf-8")}


async def fill(databases: Databases) -> None:
    """Record two rules, two runs with images, three jobs and two events."""
    databases.config.apply((event_rule(), NGINX_RULE), databases.config.options, {})
    await _fill_runs(databases)
    await _fill_jobs(databases)
    await _fill_events(databases.state)
    schedules_of = databases.state.schedules
    await schedules_of.replace_all({NGINX_RULE.name: StoredEvery(timedelta(minutes=10))}, now=NOW, rng=Random(1))
    due = update(schedules).values(due_at=NOW + timedelta(minutes=4))
    await databases.state.database.write(lambda connection: connection.execute(due))


async def _fill_runs(databases: Databases) -> None:
    log = databases.state.runs
    ended = await log.begin(NewRun(Trigger.SCHEDULE, [NGINX_RULE.name], EARLIER))
    await log.begin(NewRun(Trigger.REQUEST, ["team"], NOW - timedelta(seconds=20)))
    await log.add(ended, [image("1.27", Outcome.COPIED), image("1.9", Outcome.FAILED)])
    await databases.set_run(
        ended, finished_at=NOW, copied=3, unchanged=40, skipped=1, failed=1, bytes_copied=734_003_200
    )


async def _fill_jobs(databases: Databases) -> None:
    await request_copy(databases, "1.4.2")
    await databases.set_job(1, "failed", 5, NO_SPACE)
    await request_copy(databases, "1.4.2")
    await databases.set_job(2, "doing", 1)
    await request_copy(databases, "1.4.3", not_before=NOW + timedelta(days=36_500))
    await databases.set_job(3, "todo", 2, NO_SPACE)


async def _fill_events(state: State) -> None:
    ago, name = NOW - timedelta(minutes=9), str(SOURCE)
    delivered = NewEvent("harbor", name, "1.4.2", delivery="one")
    for _ in range(2):
        await state.events.record([delivered], now=ago)
    [copied] = await state.events.record([delivered], now=ago)
    [unwanted] = await state.events.record(
        [NewEvent("images/sync/hook", "registry.example.com/other/app", "2")], now=NOW
    )
    source, target = str(SOURCE.tag("1.4.2")), str(TARGET.tag("1.4.2"))
    await state.events.assign({copied: [(source, target)]})
    await state.events.mark_dispatched([copied], now=ago)
    await state.events.mark_unmatched([unwanted], now=NOW)
    await state.events.settle(CopyEnd(source, target, NOW, NOW, "copied"))


async def request_copy(databases: Databases, tag: str, *, not_before: datetime | None = None) -> int | None:
    """Queue the copy of a tag of the rule `team`."""
    return await databases.jobs.request_copy(
        CopyRequest(SOURCE.tag(tag), TARGET.tag(tag), rule="team", not_before=not_before)
    )


def image(tag: str, outcome: Outcome, *, reason: str | None = None, remedy: str | None = None) -> CopyResult:
    """Return the result of a copy of nginx."""
    ends = f"docker.io/library/nginx:{tag}", f"mirror.example.com/hub/nginx:{tag}"
    return CopyResult("nginx", *ends, outcome, reason=reason, remedy=remedy)


def _add_switches(databases: Databases) -> None:
    database: Any = databases.state.database
    connector: Any = databases.jobs._manager.connector  # pyright: ignore[reportPrivateUsage] - the seam to the file
    for name in ("read", "write"):
        setattr(database, name, _switched(databases, getattr(database, name)))
    for name in ("execute_query_async", "execute_query_one_async", "execute_query_all_async"):
        setattr(connector, name, _failing(databases, getattr(connector, name)))


def _switched(databases: Databases, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def answer(*arguments: Any, **options: Any) -> Any:
        await databases.fail_or_wait()
        return await call(*arguments, **options)

    return answer


def _failing(databases: Databases, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def answer(*arguments: Any, **options: Any) -> Any:
        if databases.is_down:
            raise ConnectorException from OSError("disk I/O error")
        return await call(*arguments, **options)

    return answer


def _set_job(file: Path, number: int, standing: tuple[str, int], error: str | None) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE jobs SET status = ?, attempts = ? WHERE id = ?", (*standing, number))
        if error is not None:
            database.execute("INSERT INTO notes VALUES (?, ?, 0)", (number, error))


def _now() -> datetime:
    return datetime.now(UTC)
