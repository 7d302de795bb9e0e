"""Every registry of a run: one connection pool, one host per registry and access, all requests counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from random import Random, SystemRandom
from types import MappingProxyType, TracebackType
from typing import Self

from image_syncer.cache import MemoryUploads, Trails
from image_syncer.concurrency.sleeper import Rests
from image_syncer.errors import Side
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import Endpoint
from image_syncer.registry.host import Host
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.limits.limiter import Throttle
from image_syncer.registry.limits.retry import Clock, Retrying, RetryPolicy
from image_syncer.registry.login_rotation import Entries, Entry, Reception
from image_syncer.registry.observer import Unwatched, Watcher
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.registry.settings import Access, Credential, Limits
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
        self._rests = Rests(self._clock.sleep)
        self._retrying = Retrying(policy or RetryPolicy(), rng or SystemRandom(), self._clock, self._rests.rest)
        self._transport = Transport(self._limits, environment)
        self.watcher: Watcher = Unwatched()
        self.journal: UploadJournal = MemoryUploads()
        self._requests: Counter[Side] = Counter({"source": 0, "target": 0})
        self._trails = Trails()
        self._sources: dict[Repository, RegistrySource] = {}
        self._targets: dict[Repository, RegistryTarget] = {}
        self._throttles: dict[str, Throttle] = {}
        self._entries: dict[tuple[str, Credential | None, bool, bool | None], Entry] = {}
        self._endpoints: dict[tuple[Entry, ...], Endpoint] = {}
        self._known: dict[Repository, Endpoint] = {}
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

    def throttle(self, registry: str) -> Throttle:
        """Return the places of *registry*; the same object each time."""
        if registry not in self._throttles:
            self._throttles[registry] = Throttle(
                registry,
                self._limits.of(registry),
                self._clock,
                policy=self._retrying.policy,
                rests=self._rests,
                watcher=self.watcher,
            )
        return self._throttles[registry]

    def end_waits(self) -> None:
        """End every wait for a registry with `Interrupted`, now and until `resume_waits`: we are told to stop."""
        self._rests.stop()

    def resume_waits(self) -> None:
        """Let registries be waited for again."""
        self._rests.resume()

    async def _connect(self, repository: Repository) -> Endpoint:
        if repository not in self._known:
            # One at a time per registry: finding credentials may start a helper program, which need not run twice.
            async with self._locks.setdefault(repository.registry, asyncio.Lock()):
                if repository not in self._known:
                    access = await self._keychain.access_for(repository)
                    self._known[repository] = self._endpoint(repository.registry, access)
        return self._known[repository]

    def _endpoint(self, registry: str, access: Access) -> Endpoint:
        """Return the one endpoint for *registry* under *access*; all accesses of a registry share its places."""
        entries = tuple(self._entry(registry, one) for one in (access, *access.further))
        if entries not in self._endpoints:
            reception = Reception(self._clock, self._rests, self.watcher, self._retrying.policy.quota_patience)
            self._endpoints[entries] = Endpoint(
                Entries(registry, entries, reception), self.throttle(registry), self._retrying, self._limits
            )
        return self._endpoints[entries]

    def _entry(self, registry: str, access: Access) -> Entry:
        """Return the one entry to *registry* with the login of *access*, which has one quota."""
        credential = access.credential
        key = (registry, credential, access.insecure, access.private_network)
        if key not in self._entries:
            host = Host(registry, access, self._transport, counter=self._count, clock=self._clock)
            self._entries[key] = Entry(host, "" if credential is None else credential.username or "<token>")
        return self._entries[key]

    def _count(self, side: Side) -> None:
        self._requests[side] += 1
