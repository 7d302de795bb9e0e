"""Every registry of a run: one connection pool, one host per registry and access, all requests counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from random import Random, SystemRandom
from types import MappingProxyType, TracebackType
from typing import Self

from image_syncer.cache import DigestCheckpoints, MemoryUploadJournal
from image_syncer.concurrency.sleeper import Sleeper
from image_syncer.errors import Side
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient
from image_syncer.registry.host import HostConnection
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.limits.limiter import HostLimiter
from image_syncer.registry.limits.retry import Clock, Retrying, RetryPolicy
from image_syncer.registry.login_rotation import Login, LoginPool, LoginServices
from image_syncer.registry.observer import RegistryObserver, SilentObserver
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.roles import UploadJournal


class Registries:
    """Hands out repositories (`store.Stores`), as an async context manager that closes every connection at its end.

    *environment* tells of proxies and certificates. Nothing is contacted, and no credential is looked for, before the
    first request to a repository. *watcher* is told when a registry makes us wait, and *journal* of uploads that have
    begun; who wants to hear of them sets them before there are any.
    """

    def __init__(
        self,
        keychain: Keychain,
        *,
        environment: Mapping[str, str],
        limits: Limits | None = None,
        policy: RetryPolicy | None = None,
        rng: Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._keychain = keychain
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._sleeper = Sleeper(self._clock.sleep)
        self._retrying = Retrying(policy or RetryPolicy(), rng or SystemRandom(), self._clock, self._sleeper.sleep)
        self._transport = Transport(self._limits, environment)
        self.observer: RegistryObserver = SilentObserver()
        self.journal: UploadJournal = MemoryUploadJournal()
        self._requests: Counter[Side] = Counter({"source": 0, "target": 0})
        self._trails = DigestCheckpoints()
        self._sources: dict[Repository, RegistrySource] = {}
        self._targets: dict[Repository, RegistryTarget] = {}
        self._throttles: dict[str, HostLimiter] = {}
        self._entries: dict[tuple[str, Credential | None, bool, bool | None], Login] = {}
        self._endpoints: dict[tuple[Login, ...], RegistryClient] = {}
        self._known: dict[Repository, RegistryClient] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def requests(self) -> Mapping[Side, int]:
        """How many HTTP requests were sent for each side so far, pings and tokens included."""
        return MappingProxyType(self._requests)

    def source(self, repository: Repository) -> RegistrySource:
        """Return *repository* to read from; the same object each time."""
        if repository not in self._sources:
            self._sources[repository] = RegistrySource(repository, self._connect, self._trails)
        return self._sources[repository]

    def target(self, repository: Repository) -> RegistryTarget:
        """Return *repository* to write to; the same object each time."""
        if repository not in self._targets:
            self._targets[repository] = RegistryTarget(repository, self._connect, self.journal)
        return self._targets[repository]

    def limiter(self, registry: str) -> HostLimiter:
        """Return the places of *registry*; the same object each time."""
        if registry not in self._throttles:
            self._throttles[registry] = HostLimiter(
                registry,
                self._limits.for_host(registry),
                self._clock,
                policy=self._retrying.policy,
                rests=self._sleeper,
                watcher=self.observer,
            )
        return self._throttles[registry]

    def end_waits(self) -> None:
        """End every wait for a registry with `Interrupted`, now and until `resume_waits`: we are told to stop."""
        self._sleeper.stop()

    def resume_waits(self) -> None:
        """Let registries be waited for again."""
        self._sleeper.resume()

    async def _connect(self, repository: Repository) -> RegistryClient:
        if repository not in self._known:
            # One at a time per registry: finding credentials may start a helper program, which need not run twice.
            async with self._locks.setdefault(repository.registry, asyncio.Lock()):
                if repository not in self._known:
                    access = await self._keychain.account_for(repository)
                    self._known[repository] = self._endpoint(repository.registry, access)
        return self._known[repository]

    def _endpoint(self, registry: str, access: RegistryAccount) -> RegistryClient:
        """Return the one endpoint for *registry* under *access*; all accesses of a registry share its places."""
        entries = tuple(self._entry(registry, one) for one in (access, *access.further))
        if entries not in self._endpoints:
            reception = LoginServices(self._clock, self._sleeper, self.observer, self._retrying.policy.quota_patience)
            self._endpoints[entries] = RegistryClient(
                LoginPool(registry, entries, reception), self.limiter(registry), self._retrying, self._limits
            )
        return self._endpoints[entries]

    def _entry(self, registry: str, access: RegistryAccount) -> Login:
        """Return the one entry to *registry* with the login of *access*, which has one quota."""
        credential = access.credential
        key = (registry, credential, access.insecure, access.private_network)
        if key not in self._entries:
            host = HostConnection(registry, access, self._transport, counter=self._count, clock=self._clock)
            self._entries[key] = Login(host, "" if credential is None else credential.username or "<token>")
        return self._entries[key]

    def _count(self, side: Side) -> None:
        self._requests[side] += 1
