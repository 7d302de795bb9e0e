"""Runs the daemon in one task tree: web server, queue consumers, dispatcher, scheduler, worker and upkeep."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import structlog

from image_syncer.concurrency.lossy_writer import DroppedLines
from image_syncer.config.locations import DatabaseLocations
from image_syncer.config.model import Configuration, QueueSettings, ServerConfig
from image_syncer.daemon.cluster_follower import ClusterFollower
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.event_rule_rechecks import EventRuleRechecks
from image_syncer.daemon.job_handlers import JobHandlers
from image_syncer.daemon.jwks import IssuerKeys, SnsAddresses
from image_syncer.daemon.reconciler import Reconciler
from image_syncer.daemon.reload import ConfigurationFile, Reloader
from image_syncer.daemon.retention import Retention
from image_syncer.daemon.scheduler import Scheduler
from image_syncer.daemon.services import Services, open_services, utc_now, web_settings, worker_options
from image_syncer.errors import UsageError
from image_syncer.jobs import JobsUnavailable
from image_syncer.jobs.lock_file import daemon_lock
from image_syncer.queues import EventSink, check_installed, consume
from image_syncer.registry.http.json_fetch import JsonFetcher
from image_syncer.server.runner import Site, UnavailableSite, serve
from image_syncer.server.server_settings import Listen
from image_syncer.server.web_backend import Backend
from image_syncer.state import EventLog, StateUnavailable, import_fork_queue

_RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class DaemonControl:
    """Requests of the operator, to stop or to reload the configuration, and the count of log lines lost."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    dropped_lines: DroppedLines = field(default_factory=DroppedLines)


async def serve_forever(
    file: ConfigurationFile,
    configuration: Configuration,
    control: DaemonControl,
    *,
    started: Callable[[Listen], None],
    allow_open: bool = False,
) -> None:
    """Serve *configuration* (the present content of *file*) until a stop is requested, then drain.

    *started* gets the address once the server accepts requests. `UsageError` for a configuration without a server.
    """
    if configuration.server is None:
        raise UsageError("this file has no server", remedy="add server: with listen:, or use image-syncer sync")
    check_installed(configuration.queues)
    async with AsyncExitStack() as stack:
        waiting = _Waiting(configuration, control.stop, Listen(configuration.server.host, configuration.server.port))
        services = await waiting.open_services(stack, started)
        if services is None:
            return
        services.config.file = str(file.path)
        if configuration.state.url is None:
            stack.enter_context(daemon_lock(Path(DatabaseLocations.of_state(configuration.state).state)))
        if configuration.fork is not None:
            await _import_fork_queue(Path(configuration.fork.queue_file), services.state.events)
        services.metrics.watch_dropped_lines(lambda: control.dropped_lines.count)
        fetcher = await stack.enter_async_context(JsonFetcher(os.environ))
        keys, sns = IssuerKeys(fetcher), SnsAddresses(fetcher)
        if configuration.state.url is None:
            await services.state.events.release_claims()  # No other process dispatches from this file.
        daemon = _Daemon(
            services, (keys, sns), configuration, configuration.server, stop=control.stop, allow_open=allow_open
        )
        await daemon.scheduler.plan()
        reloader = Reloader(file, configuration, daemon.apply, requested=control.reload, config=services.config)
        await _run(
            serve(daemon.site, stop=control.stop, started=waiting.ignore if waiting.has_served else started),
            workers=(_worker(services, configuration, control.stop), daemon.consumers.run()),
            background=(*daemon.background(), reloader.run()),
        )


async def work_forever(
    file: ConfigurationFile, configuration: Configuration, control: DaemonControl, *, started: Callable[[], None]
) -> None:
    """Run jobs of a fleet until a stop is requested, then drain; other processes receive the notifications.

    *started* is called once the databases are open. `UsageError` for a state that cannot be shared.
    """
    if configuration.state.url is None:
        raise UsageError(
            "a worker shares the jobs of other processes, which needs PostgreSQL",
            remedy="set state: url:, or use image-syncer serve alone",
        )
    async with AsyncExitStack() as stack:
        services = await _Waiting(configuration, control.stop).open_services(stack)
        if services is None:
            return
        reloader = Reloader(file, configuration, services.apply, requested=control.reload, config=services.config)
        started()
        await _run(
            control.stop.wait(),
            workers=(_worker(services, configuration, control.stop),),
            background=(reloader.run(),),
        )


class _Waiting:
    """Waits at the start until PostgreSQL answers; at *listen* (None: nowhere) requests get 503 meanwhile.

    So a daemon that starts with its database, or before it, goes on when the database is there.
    """

    def __init__(self, configuration: Configuration, stop: asyncio.Event, listen: Listen | None = None) -> None:
        self._configuration = configuration
        self._stop = stop
        self._listen = listen
        self._log: Any = structlog.get_logger()
        self.has_served = False

    async def open_services(
        self, stack: AsyncExitStack, started: Callable[[Listen], None] | None = None
    ) -> Services | None:
        """Open the services in *stack*; None if a stop was requested first."""
        try:
            return await stack.enter_async_context(open_services(self._configuration))
        except (StateUnavailable, JobsUnavailable) as error:
            if self._configuration.state.url is None:
                raise
            self._log.warning("daemon.database_unavailable", error=error.message, remedy=error.remedy)
        opened = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            if self._listen is not None:
                self.has_served = True
                site = UnavailableSite(self._listen)
                group.create_task(serve(site, stop=opened, started=started or self.ignore), name="daemon: waiting")
            try:
                return await self._retry(stack)
            finally:
                opened.set()

    async def _retry(self, stack: AsyncExitStack) -> Services | None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._stop.wait()
                    return None
            with suppress(StateUnavailable, JobsUnavailable):
                return await stack.enter_async_context(open_services(self._configuration))
        return None

    def ignore(self, _listen: Listen) -> None:
        """Ignore the second start of the server."""


class _Daemon:
    """The components of a process that serves."""

    def __init__(
        self,
        services: Services,
        verifiers: tuple[IssuerKeys, SnsAddresses],
        configuration: Configuration,
        server: ServerConfig,
        *,
        stop: asyncio.Event,
        allow_open: bool,
    ) -> None:
        self._services = services
        self._allow_open = allow_open
        self._keep = configuration.state.keep
        arrived = asyncio.Event()
        state, jobs, config, now = services.state, services.jobs, services.config, services.now
        self.dispatcher = Dispatcher(state, jobs, config, arrived, now, tick_seconds=_tick(configuration))
        self.scheduler = Scheduler(state.schedules, jobs, config, now, rng=services.rng)
        recorder = EventRecorder(state.events, config, arrived, now)
        self.consumers = QueueSupervisor(configuration.queues, recorder, stop, services.rng)
        self.site = Site(
            Listen(server.host, server.port),
            web_settings(configuration, server, allow_open=allow_open),
            Backend(recorder, config, self.dispatcher.dispatch, state, jobs, services.health, *verifiers),
            metrics=services.metrics,
            clock=lambda: now().timestamp(),
        )

    def background(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return the tasks beside the server and the worker."""
        state, now = self._services.state, self._services.now
        reconciler = Reconciler(state, self._services.jobs, now)
        retention = Retention(state, now, keep=self._keep)
        rechecks = EventRuleRechecks(self._services, keep=self._keep)
        clusters = ClusterFollower(self._services.jobs.request_rule, self._services.config, now, rng=self._services.rng)
        upkeep = reconciler.run(), retention.run(), rechecks.run()
        return self.dispatcher.run(), self.scheduler.run(), clusters.run(), *upkeep

    async def apply(self, configuration: Configuration) -> None:
        """Use *configuration* from now on; after a `UsageError` nothing has changed."""
        server = configuration.server
        if server is None:
            raise UsageError("this file has no server (any more)", remedy="add server: with listen:")
        check_installed(configuration.queues)
        self.site.change(web_settings(configuration, server, allow_open=self._allow_open))
        await self._services.apply(configuration)
        self.consumers.change(configuration.queues)
        self.dispatcher.tick_seconds = _tick(configuration)
        await self.scheduler.plan()


class QueueSupervisor:
    """Runs a consumer for each configured queue until *stop* is set."""

    def __init__(self, queues: Sequence[QueueSettings], sink: EventSink, stop: asyncio.Event, rng: Random) -> None:
        check_installed(queues)
        self._queues = tuple(queues)
        self._sink = sink
        self._stop = stop
        self._rng = rng
        self._changed = asyncio.Event()

    def change(self, queues: Sequence[QueueSettings]) -> None:
        """Consume *queues* from now on."""
        if self._queues != tuple(queues):
            self._queues = tuple(queues)
            self._changed.set()

    async def run(self) -> None:
        """Consume. After a change every consumer finishes its message in hand, then all start again."""
        while not self._stop.is_set():
            self._changed.clear()
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for queue in self._queues:
                    group.create_task(consume(queue, self._sink, ended, self._rng), name=f"queue {queue.name}")
                signals = [group.create_task(event.wait()) for event in (self._stop, self._changed)]
                await asyncio.wait(signals, return_when=asyncio.FIRST_COMPLETED)
                ended.set()
                for signal in signals:
                    signal.cancel()


async def _import_fork_queue(queue: Path, events: EventLog) -> None:
    """Record the images that wait in the fork's file, and log the result."""
    imported = await import_fork_queue(queue, events, now=utc_now())
    if imported is None:
        return
    log: Any = structlog.get_logger()
    log.info("fork_queue.imported", file=str(queue), entries=len(imported.queue.images), kept_as=str(imported.kept_as))
    for entry in imported.queue.rejected:
        log.warning("fork_queue.entry_refused", entry=entry)


def _tick(configuration: Configuration) -> float | None:
    return None if configuration.fork is None else configuration.fork.interval_seconds


def _worker(services: Services, configuration: Configuration, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    options = worker_options(configuration, services.trusted_now)
    handlers = JobHandlers(services, options.retry).handlers
    return services.jobs.run_worker(handlers, options, stop=stop, rng=services.rng)


async def _run(
    front: Coroutine[Any, Any, object],
    *,
    workers: tuple[Coroutine[Any, Any, None], ...],
    background: tuple[Coroutine[Any, Any, None], ...],
) -> None:
    """Run all of them until *front* and the *workers* have ended; the end of *front* cancels the *background*."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work, name="daemon: background") for work in background]
        for work in workers:
            group.create_task(work, name="daemon: worker")
        await front
        for task in tasks:
            task.cancel()
