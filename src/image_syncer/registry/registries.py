"""All registries of a run: one connection pool, one client per registry and account, all requests counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from random import Random, SystemRandom
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from image_syncer.cache import DigestCheckpoints, MemoryHostFacts, MemoryUploadJournal
from image_syncer.concurrency.sleeper import Sleeper
from image_syncer.errors import Side, StoreError
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.endpoint import RegistryClient, RepositoryRequests
from image_syncer.registry.error_mapping import ErrorContext
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.limits.limiter import HostLimiter
from image_syncer.registry.limits.retry import Clock, Retrying, RetryPolicy
from image_syncer.registry.login_rotation import Login, LoginPool
from image_syncer.registry.manifests import ReadAhead
from image_syncer.registry.observer import RegistryObserver, SilentObserver
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.registry.settings import Credential, CredentialSource, Limits, RegistryAccount
from image_syncer.registry.transport_settings import DIRECT, Bandwidth, TransportSettings
from image_syncer.roles import ALL_WAYS, EVERY_WAY, HostFacts, UploadJournal, Ways

if TYPE_CHECKING:
    from image_syncer.registry.catalogue import RegistryCatalogue
    from image_syncer.registry.mirrors import Mirror
    from image_syncer.registry.preparing.preparations import Preparations
    from image_syncer.registry.tag_lists.bulk_listing import BulkListings
    from image_syncer.registry.vendor_ways.offered_ways import OfferedWays


class Registries:
    """Hands out repositories (`roles.Stores`); an async context manager that closes every connection on exit.

    *environment* gives proxies and certificates. No registry is contacted and no credential is looked up before the
    first request to a repository. *observer* receives waits, *journal* records unfinished uploads, *facts* what is
    found out about hosts; by names of registries, *transports* says how they are reached, and *mirrors* what has the
    same content. Set them before the first repository is used. *bandwidth*, to be set before the context, bounds all
    registries together.
    """

    def __init__(  # noqa: PLR0913 - each is an independent part
        self,
        keychain: Keychain,
        *,
        environment: Mapping[str, str],
        limits: Limits | None = None,
        policy: RetryPolicy | None = None,
        rng: Random | None = None,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._keychain = keychain
        self._limits = limits or Limits()
        self._clock = clock or Clock()
        self._sleeper = Sleeper(self._clock.sleep)
        self._retrying = Retrying(policy or RetryPolicy(), rng or SystemRandom(), self._clock, self._sleeper.sleep)
        self._environment = environment
        self._transport = transport or Transport(self._limits, environment)
        self.transports: Mapping[str, TransportSettings] = {}
        self.mirrors: Mapping[str, tuple[str, ...]] = {}
        self.bandwidth: Bandwidth | None = None
        self.observer: RegistryObserver = SilentObserver()
        self.journal: UploadJournal = MemoryUploadJournal()
        self.facts: HostFacts = MemoryHostFacts()
        self._mirrors: dict[str, list[Mirror]] = {}
        self._mirror_registries: Registries | None = None
        self._preparations: Preparations | None = None
        self._offered_ways: OfferedWays | None = None
        self._find_preparations = self.preparations  # One object for all targets.
        self._bulk_listings: BulkListings | None = None
        self._find_bulk_listings = self.bulk_listings  # One object for all sources.
        self._requests: Counter[Side] = Counter({"source": 0, "target": 0})
        self._checkpoints = DigestCheckpoints()
        self._read_ahead = ReadAhead()
        self._sources: dict[Repository, RegistrySource] = {}
        self._targets: dict[Repository, RegistryTarget] = {}
        self._limiters: dict[str, HostLimiter] = {}
        self._logins: dict[tuple[str, CredentialSource | Credential | None, bool, bool | None], Login] = {}
        self._clients: dict[tuple[Login, ...], RegistryClient] = {}
        self._catalogues: dict[RegistryClient, RegistryCatalogue] = {}
        self._client_by_repository: dict[Repository, RegistryClient] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        self._transport.limit_bandwidth(self.bandwidth)
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def requests(self) -> Mapping[Side, int]:
        """The number of HTTP requests sent for each side so far, including pings and token requests."""
        if self._mirror_registries is None:
            return MappingProxyType(self._requests)
        return {side: count + self._mirror_registries.requests[side] for side, count in self._requests.items()}

    def source(self, repository: Repository) -> RegistrySource:
        """Return *repository* as a source; the same object each time."""
        if repository not in self._sources:
            common = (repository, self._connect, self._checkpoints, self._read_ahead, self._find_bulk_listings)
            locations = self.mirrors.get(repository.registry)
            if locations:
                from image_syncer.registry.mirrors import Mirror, MirroredSource  # noqa: PLC0415 - most runs have none

                mirrors = self._mirrors.setdefault(repository.registry, [Mirror(location) for location in locations])
                self._sources[repository] = MirroredSource(*common, mirrors=mirrors, source_at=self._mirror_source)
            else:
                self._sources[repository] = RegistrySource(*common)
        return self._sources[repository]

    def _mirror_source(self, repository: Repository) -> RegistrySource:
        """Return the *repository* of a mirror, with one attempt for each request."""
        if self._mirror_registries is None:
            from image_syncer.registry.mirrors import MIRROR_POLICY  # noqa: PLC0415 - most runs have none

            self._mirror_registries = registries = Registries(
                self._keychain,
                environment=self._environment,
                limits=self._limits,
                policy=MIRROR_POLICY,
                clock=self._clock,
                transport=self._transport,
            )
            registries.transports, registries.facts = self.transports, self.facts
        return self._mirror_registries.source(repository)

    def target(self, repository: Repository) -> RegistryTarget:
        """Return *repository* as a target; the same object each time."""
        if repository not in self._targets:
            self._targets[repository] = RegistryTarget(repository, self._connect, self.journal, self._find_preparations)
        return self._targets[repository]

    def preparations(self) -> "Preparations":
        """Return what creates missing repositories; the same object each time."""
        if self._preparations is None:
            from image_syncer.registry.preparing.preparations import Preparations  # noqa: PLC0415 - few runs need it

            self._preparations = Preparations(self._keychain, self._connect, self.transport, self._count)
        return self._preparations

    def bulk_listings(self) -> "BulkListings":
        """Return what lists digests in bulk; the same object each time."""
        if self._bulk_listings is None:
            from image_syncer.registry.tag_lists.bulk_listing import BulkListings  # noqa: PLC0415 - few runs need it

            self._bulk_listings = BulkListings(self._keychain, self._connect, self.transport, self._count)
        return self._bulk_listings

    def referrer_source(self, repository: Repository) -> RegistrySource:
        """Return *repository* as a source of referrers; the same object as its source."""
        return self.source(repository)

    def referrer_target(self, repository: Repository) -> RegistryTarget:
        """Return *repository* as a target of referrers; the same object as its target."""
        return self.target(repository)

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Discover the scheme of a registry, get a token, and open *connections* if it is far; ignores failures."""
        with suppress(StoreError):
            client = await self._connect(repository)
            scopes = RepositoryRequests(client, repository, side).scopes
            async with client.limiter.request():
                await client.host.prepare(scopes, side, connections)

    async def check_login(self, repository: Repository) -> None:
        """Ask the registry of *repository* whether it accepts its login; `Unauthorized` or `Denied` if it does not."""
        client = await self._connect(repository)
        context = ErrorContext(repository.registry, repository.registry)
        await client.request(Call("GET", "/v2/"), context, expect={HTTPStatus.OK}, retry=False)

    async def client(self, repository: Repository) -> RegistryClient:
        """Return the client for *repository*, with its logins; `Unauthorized` if a login cannot be read."""
        return await self._connect(repository)

    def transport(self, registry: str) -> Transport:
        """Return the transport that requests to *registry* use."""
        return self._transport.with_settings(self.transports.get(registry, DIRECT))

    async def catalogue(self, repository: Repository) -> "RegistryCatalogue":
        """Return the list of repositories at the registry of *repository*, which the login for *repository* reads."""
        from image_syncer.registry.catalogue import RegistryCatalogue  # noqa: PLC0415 - only patterns need it

        client = await self._connect(repository)
        return self._catalogues.setdefault(client, RegistryCatalogue(client))

    def limiter(self, registry: str) -> HostLimiter:
        """Return the limiter of *registry*; the same object each time."""
        if registry not in self._limiters:
            self._limiters[registry] = HostLimiter(
                registry,
                self._limits.for_host(registry),
                self._clock,
                policy=self._retrying.policy,
                sleeper=self._sleeper,
                observer=self.observer,
            )
            self._limiters[registry].is_far = partial(self.is_far, registry)
        return self._limiters[registry]

    def users(self, repository: Repository) -> tuple[str, ...]:
        """Return the user names for *repository*, in order of preference; empty before its first request."""
        client = self._client_by_repository.get(repository)
        return () if client is None else client.logins.users

    def ways(self, source: Repository, target: Repository) -> Ways:
        """Return the ways in which images of *source* can reach *target*; this sends no request."""
        account = self._keychain.configured_for(target)
        if account is None or not (account.control or account.pulls_from):
            return EVERY_WAY if account is None or account.ways == ALL_WAYS else Ways(account.ways)
        if self._offered_ways is None:
            from image_syncer.registry.vendor_ways.offered_ways import OfferedWays  # noqa: PLC0415 - few have such ways

            self._offered_ways = OfferedWays(self._keychain, self._connect, self.transport, self._count)
        return Ways(account.ways, self._offered_ways.between(source, target, account))

    def is_far(self, registry: str) -> bool:
        """Whether round trips to *registry* are long; False before its first response."""
        return any(login.host.is_far() for key, login in self._logins.items() if key[0] == registry)

    def end_waits(self) -> None:
        """End every wait for a registry with `Interrupted`, now and until `resume_waits`: the process shuts down."""
        self._sleeper.stop()
        if self._mirror_registries is not None:
            self._mirror_registries.end_waits()

    def resume_waits(self) -> None:
        """Allow waits for registries again."""
        self._sleeper.resume()
        if self._mirror_registries is not None:
            self._mirror_registries.resume_waits()

    async def _connect(self, repository: Repository) -> RegistryClient:
        if repository not in self._client_by_repository:
            # One at a time per registry, so that a credential helper is not started twice.
            async with self._locks.setdefault(repository.registry, asyncio.Lock()):
                if repository not in self._client_by_repository:
                    access = await self._keychain.account_for(repository)
                    self._client_by_repository[repository] = self._client(repository.registry, access)
        return self._client_by_repository[repository]

    def _client(self, registry: str, access: RegistryAccount) -> RegistryClient:
        """Return the client of *registry* for *access*; all clients of a registry share its limiter."""
        logins = tuple(self._login(registry, one) for one in (access, *access.further))
        if logins not in self._clients:
            pool = LoginPool(
                registry,
                logins,
                clock=self._clock,
                sleeper=self._sleeper,
                observer=self.observer,
                patience=self._retrying.policy.quota_patience,
            )
            self._clients[logins] = RegistryClient(
                pool, self.limiter(registry), self._retrying, self._limits, self.observer, self.facts
            )
        return self._clients[logins]

    def _login(self, registry: str, access: RegistryAccount) -> Login:
        """Return the login of *access* at *registry*; the same object each time, since it has one quota."""
        credential = access.credential
        key = (registry, access.source or credential, access.insecure, access.private_network)
        if key not in self._logins:
            transport = self.transport(registry)
            host = HostConnection(registry, access, transport, counter=self._count, clock=self._clock, facts=self.facts)
            self._logins[key] = Login(host, "" if credential is None else credential.username or "<token>")
        return self._logins[key]

    def _count(self, side: Side) -> None:
        self._requests[side] += 1
