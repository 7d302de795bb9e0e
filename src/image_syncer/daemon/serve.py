"""Everything that runs for ever, in one task tree: the server, the dispatcher, the schedules and the worker."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from image_syncer.config.model import Configuration, ServerConfig
from image_syncer.daemon.backend import Events, Health, Jobs, Rules, Runs
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.jwks import IssuerKeys
from image_syncer.daemon.queue_supervisor import QueueSupervisor
from image_syncer.daemon.reconciler import Reconciler
from image_syncer.daemon.reload import ConfigurationFile, Reloader
from image_syncer.daemon.retention import Retention
from image_syncer.daemon.scheduler import Scheduler
from image_syncer.daemon.services import Services, handlers_of, now, open_parts, worker_options_of
from image_syncer.daemon.web import web_settings
from image_syncer.errors import UsageError
from image_syncer.queues import check_installed
from image_syncer.registry.http.json_fetch import JsonFetcher
from image_syncer.server.backend import Backend
from image_syncer.server.runner import Site, serve
from image_syncer.server.server_settings import Listen
from image_syncer.state import EventLog, import_fork_queue


@dataclass(frozen=True, slots=True)
class DaemonControl:
    """What the operator wants: to end, or to have the configuration read again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


async def serve_for_ever(
    file: ConfigurationFile,
    configuration: Configuration,
    wishes: DaemonControl,
    *,
    started: Callable[[Listen], None],
    allow_open: bool = False,
) -> None:
    """Serve what *configuration* (what *file* says now) says until a stop is wished for, then drain.

    *started* is told the address once requests are taken. `UsageError` where the configuration cannot be served.
    """
    if configuration.server is None:
        raise UsageError("this file has no server", remedy="add server: with listen:, or use image-syncer sync")
    check_installed(configuration.queues)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(configuration))
        if configuration.fork is not None:
            await _take_over(Path(configuration.fork.queue_file), parts.state.events)
        keys = IssuerKeys(await stack.enter_async_context(JsonFetcher(os.environ)))
        if configuration.state.url is None:
            await parts.state.events.release_claims()  # Nobody else dispatches from our file.
        daemon = _Daemon(parts, keys, configuration, configuration.server, stop=wishes.stop, allow_open=allow_open)
        await daemon.clockwork.plan()
        reloader = Reloader(file, configuration, daemon.change, asked=wishes.reload)
        await _run(
            serve(daemon.site, stop=wishes.stop, started=started),
            workers=(_worker(parts, configuration, wishes.stop), daemon.listeners.run()),
            background=(*daemon.background(), reloader.run()),
        )


async def work_for_ever(
    file: ConfigurationFile, configuration: Configuration, wishes: DaemonControl, *, started: Callable[[], None]
) -> None:
    """Do the jobs of a fleet until a stop is wished for, then drain; others take the notifications.

    *started* is called once the databases are open. `UsageError` where they are not a fleet's.
    """
    if configuration.state.url is None:
        raise UsageError(
            "a worker shares the jobs of others, which only PostgreSQL can",
            remedy="set state: url:, or use image-syncer serve alone",
        )
    async with open_parts(configuration) as parts:
        reloader = Reloader(file, configuration, parts.change, asked=wishes.reload)
        started()
        await _run(
            wishes.stop.wait(), workers=(_worker(parts, configuration, wishes.stop),), background=(reloader.run(),)
        )


class _Daemon:
    """The parts of a process that serves."""

    def __init__(
        self,
        parts: Services,
        keys: IssuerKeys,
        configuration: Configuration,
        server: ServerConfig,
        *,
        stop: asyncio.Event,
        allow_open: bool,
    ) -> None:
        self._parts = parts
        self._allow_open = allow_open
        self._keep = configuration.state.keep
        arrived = asyncio.Event()
        state, jobs, book = parts.state, parts.jobs, parts.book
        self.dispatcher = Dispatcher(state.events, jobs, book, arrived, now, tick_seconds=_tick(configuration))
        self.clockwork = Scheduler(state.schedules, jobs, book, now, rng=parts.rng)
        intake = EventRecorder(state.events, book, arrived, now)
        self.listeners = QueueSupervisor(configuration.queues, intake, stop, parts.rng)
        backend = Backend(
            intake,
            Events(state),
            Rules(book, jobs, state, self.dispatcher),
            Runs(state),
            Jobs(jobs),
            Health(state, jobs),
            keys,
        )
        self.site = Site(
            Listen(server.host, server.port),
            web_settings(configuration, server, allow_open=allow_open),
            backend,
            metrics=parts.metrics,
            clock=lambda: now().timestamp(),
        )

    def background(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what goes on beside the server and the worker."""
        leftovers = Reconciler(self._parts.state, self._parts.jobs, now)
        upkeep = Retention(self._parts.state, now, keep=self._keep)
        return self.dispatcher.run(), self.clockwork.run(), leftovers.run(), upkeep.run()

    async def change(self, configuration: Configuration) -> None:
        """Let *configuration* hold from now on; `UsageError` where it cannot, and then nothing has changed."""
        server = configuration.server
        if server is None:
            raise UsageError("this file has no server (any more)", remedy="add server: with listen:")
        check_installed(configuration.queues)
        self.site.change(web_settings(configuration, server, allow_open=self._allow_open))
        await self._parts.change(configuration)
        self.listeners.change(configuration.queues)
        self.dispatcher.tick_seconds = _tick(configuration)
        await self.clockwork.plan()


async def _take_over(queue: Path, events: EventLog) -> None:
    """Record what waits in the fork's file, and say what became of it."""
    imported = await import_fork_queue(queue, events, now=now())
    if imported is None:
        return
    log: Any = structlog.get_logger()
    log.info("fork_queue.imported", file=str(queue), entries=len(imported.queue.images), kept_as=str(imported.kept_as))
    for entry in imported.queue.rejected:
        log.warning("fork_queue.entry_refused", entry=entry)


def _tick(configuration: Configuration) -> float | None:
    return None if configuration.fork is None else configuration.fork.interval_seconds


def _worker(parts: Services, configuration: Configuration, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    options = worker_options_of(configuration)
    return parts.jobs.run_worker(handlers_of(parts, options.retry), options, stop=stop, rng=parts.rng)


async def _run(
    front: Coroutine[Any, Any, object],
    *,
    workers: tuple[Coroutine[Any, Any, None], ...],
    background: tuple[Coroutine[Any, Any, None], ...],
) -> None:
    """Run all of them until *front* and the *workers* have ended; what is in the *background* ends with the front."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work, name="daemon: background") for work in background]
        for work in workers:
            group.create_task(work, name="daemon: worker")
        await front
        for task in tasks:
            task.cancel()
