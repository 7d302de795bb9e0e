"""What every process of the daemon has: the state, the jobs, the way to the registries, and the rules that hold now."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from image_syncer.app import Options
from image_syncer.cache import Caches
from image_syncer.cache.backend import LazyBackend
from image_syncer.cache.persistent import for_daemon
from image_syncer.config.locations import DatabaseLocations
from image_syncer.config.model import Configuration
from image_syncer.daemon.event_recorder import LiveConfig
from image_syncer.daemon.job_handlers import Desk, JobHandlers
from image_syncer.daemon.syncer_handle import SyncerHandle, open_connections
from image_syncer.jobs import Handlers, JobQueue, JobRetryPolicy, WorkerOptions, open_jobs
from image_syncer.server.metrics import Metrics
from image_syncer.state import State, StateCacheBackend, open_state

_STATE_PATIENCE_SECONDS: Final = 5.0  # A sender of a notification waits no longer.
_DRAIN_SECONDS: Final = 30.0
_REST_SECONDS: Final = 60.0  # How long copies ask the registries alone after the state did not answer.


@dataclass(frozen=True, slots=True)
class Services:
    """The parts, open."""

    state: State
    jobs: JobQueue
    connections: SyncerHandle
    book: LiveConfig
    metrics: Metrics
    rng: Random

    async def change(self, configuration: Configuration) -> None:
        """Let *configuration* hold for all that begins from now on."""
        await self.jobs.set_limits(configuration.limits)
        options = options_of(configuration)
        await self.connections.change(options)
        self.book.rules, self.book.options, self.book.copy_limits = configuration.rules, options, configuration.limits


@asynccontextmanager
async def open_parts(configuration: Configuration) -> AsyncGenerator[Services]:
    """Open the parts that *configuration* wants."""
    places = DatabaseLocations.of(configuration)
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(places.state, patience=_STATE_PATIENCE_SECONDS))
        jobs = await stack.enter_async_context(open_jobs(places.jobs))
        options = options_of(configuration)
        archive = StateCacheBackend(state.database, keep=configuration.state.keep)
        memories = await stack.enter_async_context(_memories(archive))
        connections = await stack.enter_async_context(open_connections(options, memories))
        await jobs.set_limits(configuration.limits)
        book = LiveConfig(configuration.rules, options, configuration.limits)
        yield Services(state, jobs, connections, book, Metrics(CollectorRegistry()), chance())


def _memories(archive: StateCacheBackend) -> AbstractAsyncContextManager[Caches]:
    """Return what copies tell each other, kept in the state that is open anyway."""

    def warn(text: str) -> None:
        structlog.get_logger().warning("state.not_consulted", error=text)

    return for_daemon(LazyBackend(lambda: nullcontext(archive), lambda: False), warn, rest_seconds=_REST_SECONDS)


def handlers_of(parts: Services, policy: JobRetryPolicy) -> Handlers:
    """Return what the worker does with jobs; *policy* is the worker's, to know a last attempt."""
    work = JobHandlers(Desk(parts.connections, parts.state, parts.jobs, parts.book, now, parts.metrics, policy))
    return Handlers(work.copy, work.rule)


def worker_options_of(configuration: Configuration) -> WorkerOptions:
    """Return how the worker works."""
    fork, server = configuration.fork, configuration.server
    policy = JobRetryPolicy() if fork is None else JobRetryPolicy(attempts=1 + fork.retries)
    return WorkerOptions(drain=_DRAIN_SECONDS if server is None else server.drain_seconds, retry=policy)


def options_of(configuration: Configuration) -> Options:
    """Return how registries are talked to. Jobs are repeated by the queue, so copies are not."""
    if configuration.fork is None:
        return Options(
            configuration.accounts,
            retries=0,
            host_limits=configuration.host_limits,
            timeouts=configuration.timeouts,
            postpone_on_quota=True,
        )
    return Options(configuration.accounts, transfers=configuration.fork.transfers, retries=0, postpone_on_quota=True)


def now() -> datetime:
    """Return the daemon's time."""
    return datetime.now(UTC)


def chance() -> Random:
    """Return the daemon's random source."""
    return Random()  # noqa: S311 - jitter, no secrets
