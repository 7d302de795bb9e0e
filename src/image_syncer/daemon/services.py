"""The services of every daemon process: state, job queue, syncer, configuration in force; and their settings."""

from collections.abc import AsyncGenerator, Awaitable, Callable
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
from image_syncer.config.model import (
    BasicCredentials,
    Configuration,
    HeaderProof,
    HmacProof,
    HookSettings,
    ServerConfig,
    TokenClaims,
    UrlSecretProof,
)
from image_syncer.daemon.jwks import token_check
from image_syncer.daemon.reload import LiveConfig
from image_syncer.daemon.syncer_handle import SyncerHandle, open_syncer_handle
from image_syncer.events import signatures
from image_syncer.jobs import JobQueue, JobRetryPolicy, WorkerOptions, open_jobs
from image_syncer.server import server_settings as web
from image_syncer.server.metrics import Metrics
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.state import State, StateCacheBackend, open_state
from image_syncer.state.trusted_clock import TrustedClock

_STATE_PATIENCE_SECONDS: Final = 5.0  # the sender of a notification waits no longer
_DRAIN_SECONDS: Final = 30.0
_CACHE_PAUSE_SECONDS: Final = 60.0  # how long copies do without the cache after the state did not answer


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """The open services of one process."""

    state: State
    jobs: JobQueue
    syncers: SyncerHandle
    config: LiveConfig
    metrics: Metrics
    rng: Random
    health: RegistryHealth
    now: Callable[[], datetime] = utc_now

    async def trusted_now(self) -> datetime | None:
        """Return the time that is certainly not ahead; None if the state does not know it yet."""
        return (await TrustedClock(self.state.database, now=self.now).look()).now

    async def apply(self, configuration: Configuration) -> None:
        """Use *configuration* for everything that begins from now on."""
        await self.jobs.set_limits(configuration.limits)
        options = syncer_options(configuration)
        await self.syncers.change(options)
        self.config.apply(configuration.rules, options, configuration.limits)


@asynccontextmanager
async def open_services(configuration: Configuration) -> AsyncGenerator[Services]:
    """Open the services that *configuration* describes."""
    locations = DatabaseLocations.of_state(configuration.state)
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(locations.state, patience=_STATE_PATIENCE_SECONDS))
        jobs = await stack.enter_async_context(open_jobs(locations.jobs))
        options = syncer_options(configuration)
        cache = StateCacheBackend(state.database, keep=configuration.state.keep)
        caches = await stack.enter_async_context(_caches(cache))
        syncers = await stack.enter_async_context(open_syncer_handle(options, caches))
        await jobs.set_limits(configuration.limits)
        config = LiveConfig(configuration.rules, options, configuration.limits)
        rng = Random()  # noqa: S311 - jitter, no secrets
        yield Services(state, jobs, syncers, config, Metrics(CollectorRegistry()), rng, RegistryHealth(utc_now))


def _caches(backend: StateCacheBackend) -> AbstractAsyncContextManager[Caches]:
    """Return the caches that all copies share, stored in the state that is open already."""

    def warn(text: str) -> None:
        structlog.get_logger().warning("state.not_consulted", error=text)

    return for_daemon(LazyBackend(lambda: nullcontext(backend), lambda: False), warn, rest_seconds=_CACHE_PAUSE_SECONDS)


def worker_options(
    configuration: Configuration, trusted_now: Callable[[], Awaitable[datetime | None]]
) -> WorkerOptions:
    """Return how the worker retries and drains; it deletes old jobs by *trusted_now*."""
    fork, server = configuration.fork, configuration.server
    policy = JobRetryPolicy() if fork is None else JobRetryPolicy(attempts=1 + fork.retries)
    drain = _DRAIN_SECONDS if server is None else server.drain_seconds
    return WorkerOptions(drain=drain, retry=policy, trusted_now=trusted_now)


def syncer_options(configuration: Configuration) -> Options:
    """Return how registries are reached. The queue retries jobs, so the syncer does not retry copies."""
    if configuration.fork is None:
        return Options(
            configuration.accounts,
            retries=0,
            host_limits=configuration.host_limits,
            same_as=configuration.same_as,
            timeouts=configuration.timeouts,
            transports=configuration.transports,
            bandwidth=configuration.bandwidth,
            mirrors=configuration.mirrors,
            postpone_on_quota=True,
            trust=configuration.trust,
        )
    return Options(configuration.accounts, transfers=configuration.fork.transfers, retries=0, postpone_on_quota=True)


def web_settings(configuration: Configuration, server: ServerConfig, *, allow_open: bool) -> web.ServerSettings:
    """Return the settings of the web server."""
    login = None if server.login is None else signatures.Basic(server.login.username, server.login.password)
    logins: tuple[web.Login, ...] = tuple(signatures.Bearer(token) for token in server.tokens)
    return web.ServerSettings(
        logins=(*logins, *((login,) if login else ())),
        hooks={
            hook.name: web.HookSource(
                hook.kind, hook.registry, _checks(hook), hook.prefix, hook.topics, allow_open=hook.proof is None
            )
            for hook in configuration.hooks
        },
        fork=None if configuration.fork is None else web.ForkHook(login),
        allow_open=allow_open or server.allow_open,
        hosts=server.hosts,
    )


def _checks(hook: HookSettings) -> tuple[signatures.Check, ...]:
    match hook.proof:
        case None:
            return ()
        case BasicCredentials(username, password):
            return (signatures.Basic(username, password),)
        case HmacProof(secret):
            return (signatures.signed(hook.kind, secret),)
        case HeaderProof(name, value):
            return (signatures.StaticHeader(value, name.lower()),)
        case UrlSecretProof(secret):
            return (signatures.UrlSecret(secret),)
        case TokenClaims() as claims:
            return (token_check(claims),)
