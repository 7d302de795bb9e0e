"""Everything that runs for ever, in one task tree: the server, the dispatcher, the schedules and the worker."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from platformdirs import user_state_path
from prometheus_client import CollectorRegistry

from image_syncer.app import Options, open_app
from image_syncer.config.model import (
    Configuration,
    HeaderSecret,
    HmacSecret,
    HookSettings,
    Login,
    ServerSettings,
    TokenClaims,
    UrlSecret,
)
from image_syncer.daemon.backend import Events, Health, Jobs, Rules, Runs
from image_syncer.daemon.clockwork import Clockwork
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.intake import Intake, RuleBook
from image_syncer.daemon.upkeep import Upkeep
from image_syncer.daemon.work import Work, chance
from image_syncer.errors import UsageError
from image_syncer.events import signatures
from image_syncer.jobs import Handlers, JobRetryPolicy, WorkerOptions, open_jobs
from image_syncer.server import settings as web
from image_syncer.server.backend import Backend
from image_syncer.server.metrics import Metrics
from image_syncer.server.serving import Site, serve
from image_syncer.server.settings import Listen
from image_syncer.state import import_fork_queue, open_state

_STATE_PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where the state and the jobs are kept: URLs or paths."""

    state: str
    jobs: str


async def serve_for_ever(
    configuration: Configuration, *, stop: asyncio.Event, started: Callable[[Listen], None], allow_open: bool = False
) -> None:
    """Serve what *configuration* says until *stop* is set, then drain.

    *started* is told the address once requests are taken. `UsageError` where the configuration cannot be served.
    """
    server, fork = configuration.server, configuration.fork
    if server is None:
        raise UsageError("this file has no server", remedy="add server: with listen:, or use image-syncer sync")
    if configuration.queues:
        raise UsageError("queues (RabbitMQ) come with a later version of image-syncer", remedy="leave them out")
    places = _places(configuration)
    book, arrived, rng = RuleBook(configuration.rules), asyncio.Event(), chance()
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(places.state, patience=_STATE_PATIENCE_SECONDS))
        jobs = await stack.enter_async_context(open_jobs(places.jobs))
        options = Options(configuration.access, retries=0)
        if fork is not None:
            options = Options(configuration.access, proc=fork.transfers, retries=0)
            await import_fork_queue(Path(fork.queue_file), state.events, now=_now())
        book.options = options
        metrics = Metrics(CollectorRegistry())
        syncer = await stack.enter_async_context(open_app(options))
        tick = None if fork is None else fork.interval_seconds
        if configuration.state.url is None:
            await state.events.release_claims()  # Nobody else dispatches from our file.
        dispatcher = Dispatcher(state.events, jobs, book, arrived, _now, tick_seconds=tick)
        clockwork = Clockwork(state.schedules, jobs, book, _now, rng=rng)
        await clockwork.plan()
        upkeep = Upkeep(state, _now, keep=configuration.state.keep)
        backend = Backend(
            Intake(state.events, book, arrived, _now),
            Events(state),
            Rules(book, jobs, state, dispatcher),
            Runs(state),
            Jobs(jobs),
            Health(state, jobs),
        )
        site = _site(configuration, server, backend, metrics, allow_open=allow_open)
        policy = JobRetryPolicy(attempts=1 + (fork.retries if fork else JobRetryPolicy().attempts - 1))
        work = Work(syncer, state, book, _now, metrics, policy=policy)
        worker = WorkerOptions(drain=server.drain_seconds, retry=policy)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(dispatcher.run(), name="dispatcher"),
                group.create_task(clockwork.run(), name="schedules"),
                group.create_task(upkeep.run(), name="upkeep"),
            ]
            handlers = Handlers(work.copy, work.rule)
            group.create_task(jobs.run_worker(handlers, worker, stop=stop, rng=rng), name="worker")
            await serve(site, stop=stop, started=started)
            for task in background:
                task.cancel()


def _site(
    configuration: Configuration, server: ServerSettings, backend: Backend, metrics: Metrics, *, allow_open: bool
) -> Site:
    return Site(
        Listen(server.host, server.port),
        web_settings(configuration, server, allow_open=allow_open),
        backend,
        metrics=metrics,
        clock=lambda: _now().timestamp(),
    )


def web_settings(configuration: Configuration, server: ServerSettings, *, allow_open: bool) -> web.ServerSettings:
    """Return what the routes have to know."""
    login = None if server.login is None else signatures.Basic(server.login.username, server.login.password)
    logins: tuple[web.Login, ...] = tuple(signatures.Bearer(token) for token in server.tokens)
    return web.ServerSettings(
        logins=(*logins, *((login,) if login else ())),
        hooks={hook.name: _source(hook) for hook in configuration.hooks},
        fork=None if configuration.fork is None else web.ForkHook(login),
        allow_open=allow_open,
    )


def _source(hook: HookSettings) -> web.HookSource:
    return web.HookSource(hook.kind, hook.registry, _checks(hook), hook.prefix)


def _checks(hook: HookSettings) -> tuple[signatures.Check, ...]:
    match hook.proof:
        case None:
            return ()
        case Login(username, password):
            return (signatures.Basic(username, password),)
        case HmacSecret(secret):
            return (signatures.signed(hook.kind, secret),)
        case HeaderSecret(name, value):
            return (signatures.StaticHeader(value, name.lower()),)
        case UrlSecret(secret):
            return (signatures.UrlSecret(secret),)
        case TokenClaims():
            raise UsageError(
                f"{hook.origin}: hooks that prove themselves by a token come with a later version",
                remedy="use a secret in the URL",
            )


def _places(configuration: Configuration) -> Places:
    where = configuration.state
    if where.url is not None:
        return Places(where.url, where.url)
    directory = Path(where.path) if where.path is not None else user_state_path("image-syncer")
    directory.mkdir(parents=True, exist_ok=True)
    return Places(str(directory / "state.db"), str(directory / "jobs.db"))


def _now() -> datetime:
    return datetime.now(UTC)
