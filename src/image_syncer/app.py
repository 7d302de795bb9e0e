"""The composition root: the only place that builds objects, and the Python API (provisional until 1.0).

async with open_app(Options(access=(...))) as syncer:
    result = await syncer.sync(rules)
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import UTC, datetime
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from image_syncer.app_options import SMALL_REQUESTS_PER_TRANSFER, Options
from image_syncer.app_stores import RunStores
from image_syncer.cache import Caches, in_memory
from image_syncer.cache.persistent import for_run
from image_syncer.concurrency.taskpool import Shutdown, background
from image_syncer.image_sources import RegistryImageFinder
from image_syncer.oci import PlatformFilter, Reference, Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.auth.docker_config import home_directory
from image_syncer.registry.observer import RegistryObserver
from image_syncer.registry.registries import Registries
from image_syncer.roles import Fence
from image_syncer.structs import Struct, replace
from image_syncer.sync.copier import Copier
from image_syncer.sync.image_lists import FoundImages, ImageList
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pairing import single_copy
from image_syncer.sync.plan import Action, Plan, PlannedCopy
from image_syncer.sync.planner import Planner
from image_syncer.sync.referrer_rechecks import ReferrerRechecks
from image_syncer.sync.referrer_settings import ReferrerSettings
from image_syncer.sync.refusals import ManifestRefusals
from image_syncer.sync.result import RunObserver, RunResult, SilentRunObserver, fail_incomplete
from image_syncer.sync.rule import Rule
from image_syncer.sync.rule_trust import ReferrerAccess
from image_syncer.sync.run import Run, RunOptions
from image_syncer.sync.transfer_probe import NEAR_TRANSFERS, transfers_between

if TYPE_CHECKING:
    from image_syncer.sync.inspection import AttachmentTree, Inspection, Inspector, ReadSigners
    from image_syncer.sync.tag_dates import TagDates
    from image_syncer.trust.attestation import CopyStatement

__all__ = ["Options", "Syncer", "open_app"]

_COPIER_SECONDS = 300.0
_LAST_WRITES_SECONDS = 3.0


class _SharedCopier(Struct, frozen=False):
    """The copier of concurrent copies, which share its cache; *users* counts them."""

    copier: Copier
    created_at: float
    users: int = 0


class _Execution(Struct, frozen=False):
    """One run and, once it has ended, its result."""

    run: Run
    finished: RunResult | None = None

    @property
    def result(self) -> RunResult:
        """The result; `RuntimeError` before the end of the run."""
        if self.finished is None:
            raise RuntimeError("the run has not ended yet")
        return self.finished


class Syncer:
    """Plans rules, copies images and reads from registries. Get one from `open_app`."""

    def __init__(
        self,
        registries: Registries,
        options: Options,
        caches: Caches,
        *,
        rng: Random,
        has_state: bool = False,
        has_history: bool = False,
    ) -> None:
        self._registries = registries
        self._stores = RunStores(registries)
        self._options = options
        self._caches = caches
        self._has_state = has_state
        self._has_history = has_history
        self._rng = rng
        self._far_images = max(1, options.transfers) * SMALL_REQUESTS_PER_TRANSFER
        self._near_images = min(self._far_images, NEAR_TRANSFERS * SMALL_REQUESTS_PER_TRANSFER)
        self._shared: _SharedCopier | None = None
        self._refusals = ManifestRefusals(caches.facts, registries.users)
        self._finder = RegistryImageFinder(self._stores, options.environment)

    async def plan(self, rules: Sequence[Rule], *, force: bool = False) -> Plan:
        """Return the plan for *rules* as of now; changes nothing."""
        plan = await self.planner().plan(rules, force=force)
        return replace(plan, warnings=(*plan.warnings, *await self._caches.flush()))

    async def due_referrers(self, planned: Sequence[PlannedCopy]) -> Sequence[PlannedCopy]:
        """Return those of the unchanged images in *planned* whose referrers have to be compared now.

        Records as seen the images that were never compared.
        """
        unchanged = [one for one in planned if one.action is Action.UNCHANGED]
        selected = await ReferrerRechecks(self._referrer_access()).select(unchanged, forced=False)
        await self._caches.flush()
        return selected.due

    async def sync(
        self,
        rules: Sequence[Rule],
        *,
        dry_run: bool = False,
        force: bool = False,
        referrers: bool = False,
        observer: RunObserver | None = None,
        stop: Shutdown | None = None,
    ) -> RunResult:
        """Bring every target up to date; failures are in the result, not raised.

        A *dry_run* only reads and reports the outcomes that a run would have. *force* also pushes what is up to date.
        *referrers*: compare what is attached to images that are up to date, too.
        """
        stop = stop or self._shutdown()
        options = self._run_options(force=force, dry_run=dry_run, referrers=referrers)
        async with self._executing(options, observer, stop) as execution:
            await execution.run.execute(rules, stop=stop)
        return execution.result

    async def copy(  # noqa: PLR0913 - each is an independent wish of the caller
        self,
        source: Reference,
        targets: Sequence[Reference],
        *,
        platforms: PlatformFilter | None = None,
        force: bool = False,
        observer: RunObserver | None = None,
        stop: Shutdown | None = None,
        fence: Fence | None = None,
        rule: Rule | None = None,
        referrers: ReferrerSettings | None = None,
        compare_referrers: bool = False,
        wanted_for: float = 0.0,
    ) -> RunResult:
        """Copy one reference to *targets*; failures are in the result, not raised.

        Concurrent copies without an *observer* share a copier: a blob that one of them pushed to a registry is mounted
        by the others. *fence* is checked right before each write of a tag (`LeaseLost`).
        Content is copied as *rule* says: its layers with `urls`, its digests of other algorithms, and what is attached
        to it; *referrers* replace the rule's settings of the latter. *compare_referrers*: also of images that are up to
        date. The copy is wanted for *wanted_for* seconds already: no older list of tags of referrers is used.
        """
        copies = [single_copy(source, target, platforms, rule, referrers) for target in dict.fromkeys(targets)]
        self._stores.forget_listed(source)
        for holder in {copy.referrers.source_of(source.repository) for copy in copies}:
            self._stores.need_listing(holder, time.monotonic() - wanted_for)
        stop = stop or self._shutdown()
        with self._shared_copier() if observer is None else nullcontext() as copier:
            options = self._run_options(force=force, fence=fence, referrers=compare_referrers)
            async with self._executing(options, observer, stop, copier) as execution:
                await execution.run.execute(copies=copies, stop=stop)
        return execution.result

    def tags(self, repository: Repository) -> AsyncIterator[str]:
        """Yield the tags of *repository* in its registry's order; raises `StoreError`."""
        return self._stores.source(repository).tags()

    async def inspect(self, reference: Reference) -> "Inspection":
        """Return the image or index that *reference* names; reads manifests and configs, no layers."""
        return await self._inspector().inspect(reference)

    async def attached(self, reference: Reference) -> "AttachmentTree":
        """Return what is attached to the image *reference*: signatures, SBOMs, attestations.

        With the names of their signers, if the extra `trust` is installed.
        """
        from image_syncer.trust.trust_settings import is_installed  # noqa: PLC0415 - runs need it not

        if not is_installed():
            return await self._inspector().attached(reference)
        from image_syncer.trust.claimed_signers import claimed_signers  # noqa: PLC0415 - see above

        return await self._inspector(claimed_signers).attached(reference)

    async def attestations(self, reference: Reference, key: bytes, what: str) -> "Sequence[CopyStatement]":
        """Return the statements about copies at *reference* that the public *key* in PEM, named *what*, has signed.

        `NotTrusted` without any; `UsageError` if the extra `trust` is not installed or *key* is none.
        """
        from image_syncer.trust.trust_settings import check_installed  # noqa: PLC0415 - runs need it not

        check_installed("attestation verify")
        from image_syncer.trust.attestation import find_statements, load_verification_key  # noqa: PLC0415 - see above

        return await find_statements(self._stores, self._stores, reference, load_verification_key(key, what))

    async def close_layouts(self) -> None:
        """Close the files of all layouts that were used."""
        await self._stores.close()

    def _inspector(self, read_signers: "ReadSigners | None" = None) -> "Inspector":
        from image_syncer.sync.inspection import Inspector  # noqa: PLC0415 - runs need it not

        return Inspector(self._stores, self._stores, read_signers)

    @contextmanager
    def _shared_copier(self) -> Generator[Copier]:
        """Share one copier between concurrent copies, until the last one ends or for 5 minutes.

        A registry may lose blobs, so a copier that knows where they are is not used for long.
        """
        shared, now = self._shared, time.monotonic()
        if shared is None or now - shared.created_at > _COPIER_SECONDS:
            copier = self._copier(ManifestReader(self._stores), SilentRunObserver())
            shared = self._shared = _SharedCopier(copier, now)
        shared.users += 1
        try:
            yield shared.copier
        finally:
            shared.users -= 1
            if not shared.users and self._shared is shared:
                self._shared = None

    def _shutdown(self) -> Shutdown:
        return Shutdown(drain_seconds=self._options.drain_seconds)

    def _run_options(
        self, *, force: bool, dry_run: bool = False, fence: Fence | None = None, referrers: bool = False
    ) -> RunOptions:
        options = self._options
        return RunOptions(
            self._near_images,
            self._far_images,
            options.retries,
            force=force,
            dry_run=dry_run,
            image_seconds=options.timeouts.image,
            fence=fence,
            same_as=options.same_as,
            referrers=referrers,
        )

    async def find_images(self, wanted: ImageList) -> FoundImages:
        """Return the images of the list *wanted* as of now; raises `StoreError`."""
        return await self._finder.find(wanted)

    def planner(self, reader: ManifestReader | None = None) -> Planner:
        """Return a new planner, which keeps what it reads."""
        reader = reader or ManifestReader(self._stores)
        return Planner(
            self._stores,
            reader,
            width=self._near_images,
            far_width=self._far_images,
            history=self._caches.digests,
            refusals=self._refusals,
            finder=self._finder,
            dates=partial(self._tag_dates, reader),
            date=datetime.now(UTC).date().isoformat(),
        )

    def _tag_dates(self, reader: ManifestReader) -> "TagDates":
        from image_syncer.sync.tag_dates import TagDates  # noqa: PLC0415 - most runs need it not

        caches, width = self._caches, self._far_images
        return TagDates(self._stores, reader, caches.first_seen, caches.image_dates, width=width)

    def _copier(self, reader: ManifestReader, observer: RunObserver) -> Copier:
        limits = self._options.limits
        return Copier(
            self._stores,
            reader,
            observer=observer,
            locations=self._caches.blob_locations,
            transfers=lambda registry: transfers_between(
                limits.for_host(registry).transfers, is_far=self._stores.is_far(registry)
            ),
            refusals=self._refusals,
            referrers=self._referrer_access(),
            ways=self._stores.ways,
        )

    def _referrer_access(self) -> ReferrerAccess:
        cache = self._caches.referrers if self._has_state else None
        return ReferrerAccess(self._stores, cache, self._options.trust, self._has_history)

    @asynccontextmanager
    async def _executing(
        self, options: RunOptions, observer: RunObserver | None, stop: Shutdown, copier: Copier | None = None
    ) -> AsyncGenerator[_Execution]:
        """Provide a run to execute; at the end write the caches and complete the result."""
        observer = observer or SilentRunObserver()
        reader = ManifestReader(self._stores)
        copier = copier or self._copier(reader, observer)
        run = Run(self.planner(reader), copier, observer, options=options, clock=time.monotonic, rng=self._rng)
        started_at = datetime.now(UTC)
        before = dict(self._registries.requests)
        execution = _Execution(run)
        async with self._no_waits_after(stop):
            yield execution
        results = fail_incomplete(run.results, await self._stores.finish(stop.at_once), observer)
        warnings = await self._flush_caches(stop)
        created = await self._stores.announce_creations(results) if options.dry_run else ()
        after = self._registries.requests
        execution.finished = RunResult(
            started_at,
            datetime.now(UTC),
            results,
            dry_run=options.dry_run,
            requests={side: after[side] - before.get(side, 0) for side in after},
            warnings=(*run.warnings, *warnings, *created),
            unchecked_referrers=run.unchecked_referrers,
        )

    @asynccontextmanager
    async def _no_waits_after(self, stop: Shutdown) -> AsyncGenerator[None]:
        """Within the context, a request to stop ends all waits for registries, which may be longer than a drain."""

        async def end_waits() -> None:
            await stop.requested.wait()
            self._registries.end_waits()

        async with background(end_waits()):
            try:
                yield
            finally:
                self._registries.resume_waits()

    async def _flush_caches(self, stop: Shutdown) -> Sequence[str]:
        """Write the caches and return warnings; after a request to stop at once, for 3 seconds at most."""
        limit = asyncio.timeout(None)

        async def set_deadline() -> None:
            await stop.at_once.wait()
            limit.reschedule(asyncio.get_running_loop().time() + _LAST_WRITES_SECONDS)

        try:
            async with background(set_deadline()), limit:
                return await self._caches.flush()
        except TimeoutError:
            if not limit.expired():
                raise
            return ("stopped before the state was written; the next run asks the registries again",)


@asynccontextmanager
async def open_app(
    options: Options | None = None,
    caches: Caches | None = None,
    *,
    registry_observer: RegistryObserver | None = None,
) -> AsyncGenerator[Syncer]:
    """Build everything for *options*, yield the `Syncer`, and close every connection at the end.

    *caches* replace those in the state of *options*. *registry_observer* receives waits for registries and changes of
    login.
    """
    options = options or Options()
    environment = os.environ if options.environment is None else options.environment
    home = home_directory() if options.home is None else options.home
    rng = SystemRandom()
    keychain = Keychain(options.access, environment=environment, home=home)
    async with AsyncExitStack() as stack:
        registries = Registries(
            keychain, limits=options.limits, environment=environment, policy=options.policy, rng=rng
        )
        registries.transports, registries.bandwidth = options.transports, options.bandwidth
        registries.mirrors = options.mirrors
        if registry_observer is not None:
            registries.observer = registry_observer
        await stack.enter_async_context(registries)
        has_history = caches is not None
        if caches is None and options.state is not None:
            warnings: list[str] = []
            from image_syncer.state.lazy_backend import lazy_cache_backend  # noqa: PLC0415 - needed with a state only

            backend = lazy_cache_backend(options.state, keep=options.keep_state, warn=warnings.append)
            has_history = not backend.is_new()
            caches = await stack.enter_async_context(for_run(backend, warnings))
        has_state = caches is not None
        caches = caches or in_memory()
        registries.journal, registries.facts = caches.uploads, caches.facts
        syncer = Syncer(registries, options, caches, rng=rng, has_state=has_state, has_history=has_history)
        stack.push_async_callback(syncer.close_layouts)
        yield syncer
