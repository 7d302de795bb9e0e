"""The composition root: the only place that builds objects, and the Python API (provisional until 1.0).

async with open_app(Options(access=(...))) as syncer:
    result = await syncer.sync(rules)
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

from image_syncer.cache import Caches, in_memory
from image_syncer.cache.backend import CacheBackend, LazyBackend
from image_syncer.cache.persistent import for_run
from image_syncer.concurrency.taskpool import Shutdown, background
from image_syncer.oci import Descriptor, Index, Manifest, Platform, PlatformFilter, RawManifest, Reference, Repository
from image_syncer.oci import media_type as types
from image_syncer.oci.manifest import platform_of_config
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.observer import RegistryObserver
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import HostLimits, Limits, RegistryAccount, Timeouts
from image_syncer.sync.copier import Copier
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Copy, Plan
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import Observer, RunResult, Silent
from image_syncer.sync.rule import Rule
from image_syncer.sync.run import Run, RunOptions

_SMALL_REQUESTS_PER_TRANSFER = 4
_BURST_SECONDS = 300.0
_LAST_NOTES_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves, whatever its rules.

    *proc* blobs move at once to each registry, and four small requests may run for each; *host_limits* say it otherwise
    for single registries, by host. Failed images that may succeed yet are repeated *retries* times at the end. After a
    stop, running copies have *drain_seconds* to finish. *environment* and *home* tell where proxies, certificates and
    docker's credentials are found; None means this process's own. *state* is a file or a URL (which may hold a
    password) of what runs tell each other, opened when it is first needed; None: they tell nothing. What was not
    confirmed for *keep* is forgotten there. *postpones*: a used-up quota is not waited for, since whoever asked has a
    queue to come back from.
    """

    access: tuple[RegistryAccount, ...] = ()
    proc: int = 5
    retries: int = 2
    drain_seconds: float = 10.0
    environment: Mapping[str, str] | None = None
    home: Path | None = None
    host_limits: Mapping[str, HostLimits] = field(default_factory=dict[str, HostLimits])
    state: str | None = field(default=None, repr=False)
    keep: timedelta = timedelta(days=30)
    timeouts: Timeouts = field(default_factory=Timeouts)
    postpones: bool = False

    @property
    def policy(self) -> RetryPolicy:
        """How requests are repeated, and for how long registries are waited for."""
        policy = RetryPolicy.patient(self.timeouts.patience)
        return replace(policy, quota_patience=0.0) if self.postpones else policy

    @property
    def limits(self) -> Limits:
        """The bounds of every conversation with a registry that follow from *proc* and *host_limits*."""
        transfers = max(1, self.proc)
        requests = max(16, transfers * 2 * _SMALL_REQUESTS_PER_TRANSFER)
        return Limits(
            transfers=transfers,
            requests_per_host=requests,
            connect_seconds=self.timeouts.connect,
            stall_seconds=self.timeouts.stall,
            host_limits=self.host_limits,
        )


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a reference names: its manifest, its platforms, and the blobs of all of them together."""

    reference: Reference
    manifest: RawManifest
    platforms: tuple[tuple[Platform, Descriptor], ...] = field(default=())
    blobs: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Order:
    """What a run is to do, and the wish to end it early."""

    stop: Shutdown
    execute: Callable[[Run, Shutdown], Awaitable[None]]


@dataclass(slots=True)
class _Burst:
    """Copies that run at the same time, and what they know together."""

    copier: Copier
    began: float
    users: int = 0


class Syncer:
    """Plans, copies and looks. Get one from `open_app`."""

    def __init__(self, registries: Registries, options: Options, memories: Caches, *, rng: Random) -> None:
        self._registries = registries
        self._options = options
        self._memories = memories
        self._rng = rng
        self._width = max(1, options.proc) * _SMALL_REQUESTS_PER_TRANSFER
        self._burst: _Burst | None = None

    async def plan(self, rules: Sequence[Rule], *, force: bool = False) -> Plan:
        """Return what *rules* lead to now, without changing anything."""
        reader = ManifestReader(self._registries)
        planner = Planner(self._registries, reader, width=self._width, history=self._memories.digests)
        plan = await planner.plan(rules, force=force)
        return replace(plan, warnings=(*plan.warnings, *await self._memories.flush()))

    async def sync(
        self,
        rules: Sequence[Rule],
        *,
        dry_run: bool = False,
        force: bool = False,
        observer: Observer | None = None,
        stop: Shutdown | None = None,
    ) -> RunResult:
        """Bring every target up to date; failures are in the result, not raised.

        A *dry_run* asks the registries and reports the outcomes that would be. *force* pushes what is unchanged too.
        """
        options = self._run_options(force=force, dry_run=dry_run)
        order = _Order(stop or self._stop(), lambda run, stop: run.execute(rules, stop=stop, rng=self._rng))
        return await self._run(options, observer, order)

    async def copy(
        self,
        source: Reference,
        targets: Sequence[Reference],
        *,
        platforms: PlatformFilter | None = None,
        force: bool = False,
        observer: Observer | None = None,
        stop: Shutdown | None = None,
    ) -> RunResult:
        """Copy one reference to *targets*; failures are in the result, not raised.

        Copies that run at the same time without an *observer* share what they know of the targets: a blob that one of
        them has put into a registry is mounted by the others.
        """
        options = self._run_options(force=force)
        wanted = platforms or PlatformFilter()
        copies = [Copy(str(source), source, target, wanted) for target in dict.fromkeys(targets)]
        order = _Order(stop or self._stop(), lambda run, stop: run.execute_copies(copies, stop=stop, rng=self._rng))
        if observer is not None:
            return await self._run(options, observer, order)
        with self._shared_copier() as copier:
            return await self._run(options, None, order, copier)

    def tags(self, repository: Repository) -> AsyncIterator[str]:
        """Yield the tags of *repository* in its registry's order; `StoreError` where that cannot be done."""
        return self._registries.source(repository).tags()

    async def inspect(self, reference: Reference) -> Inspection:
        """Return what *reference* names; reads manifests and configs, no layers."""
        source = self._registries.source(reference.repository)
        manifest = await source.manifest(reference.identifier)
        reader = ManifestReader(self._registries)
        images = [(entry, reader.read(reference.repository, str(entry.digest))) for entry in _images(manifest)]
        platforms: list[tuple[Platform, Descriptor]] = []
        blobs: dict[str, int] = {}
        for entry, reading in images:
            parsed = (await reading).parse()
            if isinstance(parsed, Manifest):
                blobs |= {str(blob.digest): blob.size or 0 for blob in parsed.blobs}
                platforms.append((entry.platform or await _platform(reader, reference.repository, parsed), entry))
        return Inspection(reference, manifest, tuple(platforms), len(blobs), sum(blobs.values()))

    @contextmanager
    def _shared_copier(self) -> Generator[Copier]:
        """Hand out the copier of the copies that run now; what it knows is forgotten after the last, or when it is old.

        A registry may lose what it had, so its knowledge is not kept for long.
        """
        burst, now = self._burst, time.monotonic()
        if burst is None or now - burst.began > _BURST_SECONDS:
            copier = self._copier(ManifestReader(self._registries), Silent())
            burst = self._burst = _Burst(copier, now)
        burst.users += 1
        try:
            yield burst.copier
        finally:
            burst.users -= 1
            if not burst.users and self._burst is burst:
                self._burst = None

    def _stop(self) -> Shutdown:
        return Shutdown(drain_seconds=self._options.drain_seconds)

    def _run_options(self, *, force: bool, dry_run: bool = False) -> RunOptions:
        timeouts = self._options.timeouts
        return RunOptions(
            self._width, self._options.retries, force=force, dry_run=dry_run, image_seconds=timeouts.image
        )

    @asynccontextmanager
    async def _without_waits_after(self, stop: Shutdown) -> AsyncGenerator[None]:
        """Within the context, end all waits for registries once *stop* is requested: nobody knows how long they are."""

        async def end_waits() -> None:
            await stop.requested.wait()
            self._registries.end_waits()

        async with background(end_waits()):
            try:
                yield
            finally:
                self._registries.resume_waits()

    async def _settle(self, stop: Shutdown) -> Sequence[str]:
        """Write down what is only noted and return what people should know; in some seconds, where we must end now."""
        limit = asyncio.timeout(None)

        async def hurry() -> None:
            await stop.at_once.wait()
            limit.reschedule(asyncio.get_running_loop().time() + _LAST_NOTES_SECONDS)

        try:
            async with background(hurry()), limit:
                return await self._memories.flush()
        except TimeoutError:
            if not limit.expired():
                raise
            return ("there was no time to note in the state what was found; the next run asks the registries again",)

    def _copier(self, reader: ManifestReader, observer: Observer) -> Copier:
        transfers = self._options.limits.transfers
        return Copier(
            self._registries, reader, observer=observer, knowledge=self._memories.blob_locations, transfers=transfers
        )

    async def _run(
        self,
        options: RunOptions,
        observer: Observer | None,
        order: _Order,
        copier: Copier | None = None,
    ) -> RunResult:
        observer = observer or Silent()
        reader = ManifestReader(self._registries)
        planner = Planner(self._registries, reader, width=options.width, history=self._memories.digests)
        copier = copier or self._copier(reader, observer)
        run = Run(planner, copier, observer, options=options, clock=time.monotonic)
        started_at = datetime.now(UTC)
        before = dict(self._registries.requests)
        async with self._without_waits_after(order.stop):
            await order.execute(run, order.stop)
        troubles = await self._settle(order.stop)
        after = self._registries.requests
        return RunResult(
            started_at,
            datetime.now(UTC),
            run.results,
            dry_run=options.dry_run,
            requests={side: after[side] - before.get(side, 0) for side in after},
            warnings=(*run.warnings, *troubles),
        )


@asynccontextmanager
async def open_app(
    options: Options | None = None,
    memories: Caches | None = None,
    *,
    watcher: RegistryObserver | None = None,
) -> AsyncGenerator[Syncer]:
    """Build everything for *options*, hand out the `Syncer`, and close every connection at the end.

    *memories* take the place of those in the state of *options*. *watcher* is told when a registry makes us wait; None:
    nobody is.
    """
    options = options or Options()
    environment = os.environ if options.environment is None else options.environment
    home = Path.home() if options.home is None else options.home
    rng = SystemRandom()
    keychain = Keychain(options.access, environment=environment, home=home)
    async with AsyncExitStack() as stack:
        registries = Registries(
            keychain, limits=options.limits, environment=environment, policy=options.policy, rng=rng
        )
        if watcher is not None:
            registries.observer = watcher
        await stack.enter_async_context(registries)
        if memories is None and options.state is not None:
            memories = await stack.enter_async_context(for_run(_shelf(options.state, options.keep)))
        memories = memories or in_memory()
        registries.journal = memories.uploads
        yield Syncer(registries, options, memories, rng=rng)


def _shelf(state: str, keep: timedelta) -> LazyBackend:
    """Return the archive in *state*, of which nothing is imported before it is opened."""

    def is_new() -> bool:
        return "://" not in state and not Path(state).expanduser().exists()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[CacheBackend]:
        open_archive = await asyncio.to_thread(_archive_opener)
        async with open_archive(state, keep=keep) as archive:
            yield archive

    return LazyBackend(opened, is_new)


def _archive_opener() -> Callable[..., AbstractAsyncContextManager[CacheBackend]]:
    # Hundreds of milliseconds, which a run that needs no history does not pay.
    from image_syncer.state import open_archive  # noqa: PLC0415

    return open_archive


def _images(manifest: RawManifest) -> list[Descriptor]:
    """Return the images of an index, or the image itself."""
    parsed = manifest.parse()
    if isinstance(parsed, Index):
        return [entry for entry in parsed.manifests if not entry.is_index]
    return [manifest.descriptor]


async def _platform(reader: ManifestReader, repository: Repository, manifest: Manifest) -> Platform:
    config = manifest.config
    if config is None or config.media_type not in types.IMAGE_CONFIGS:
        return Platform()
    return platform_of_config(await reader.read_config(repository, config))
