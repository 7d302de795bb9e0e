"""Decides what to do with the copies of one source: from requests to both sides, or from the cache of earlier runs.

The cache is trusted only if it says that nothing has to be done. Otherwise the registries are asked, which costs no
more than a run without a cache.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Digest, PlatformFilter, Reference, Repository
from image_syncer.oci.digest import CANONICAL_ALGORITHM
from image_syncer.roles import ConfirmedCopy, DigestCache, Stores
from image_syncer.structs import Struct, replace
from image_syncer.sync.manifest_reader import LruBytes, ManifestReader
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.platform_filter import filter_index
from image_syncer.sync.refusals import ManifestRefusals
from image_syncer.sync.tag_selection import too_young

if TYPE_CHECKING:
    from image_syncer.sync.tag_dates import TagDates

NO_PLATFORM = "no manifest fits the platform filter"
NOT_SELECTED = "the rule does not select it by artifacts, annotations, labels or platforms"
CONVERTED = "converted to OCI"
TRIMMED = "trimmed index"
_NOTHING = Digest.of(b"")
"""In the cache of filtered digests: the filter leaves nothing."""
_KEPT_RESOLUTIONS = 20_000
_ANY_AGE_SECONDS = 100 * 365 * 86_400.0

_Resolution = tuple[Reference, PlatformFilter, int, bool]
"""A source, its filter, the round, and whether the cache may answer."""


class _Wanted(Struct):
    """The *digest* that the target should have; None if the platform filter leaves nothing.

    *cached*: it comes from the tag list, or from an earlier run's result of the platform filter.
    """

    source_digest: Digest
    digest: Digest | None
    cached: bool = False


class _Found(Struct):
    """The digest of the target, None without one; *cached*: an earlier run confirmed it.

    *same_as*: a digest by another algorithm that is known to be of the same manifest.
    """

    digest: Digest | None
    cached: bool = False
    same_as: Digest | None = None


class Decider:
    """Decides about copies between *stores* for one run, with the digests that *history* has from earlier runs."""

    def __init__(
        self,
        stores: Stores,
        reader: ManifestReader,
        history: DigestCache,
        refusals: ManifestRefusals | None = None,
        dates: "Callable[[], TagDates] | None" = None,
    ) -> None:
        self._stores = stores
        self._dates = dates
        self._reader = reader
        self._history = history
        self._refusals = refusals
        self._confirmed: SingleFlight[tuple[Repository, float], Mapping[str, Digest]] = SingleFlight(
            keep=True, share_failures=True
        )
        self._truthful: set[str] = set()
        """Target registries that rightly said by HEAD that something is gone."""
        self._resolving: SingleFlight[_Resolution, _Wanted | CopyFailed] = SingleFlight()
        self._resolved: LruBytes[_Resolution, _Wanted | CopyFailed] = LruBytes(_KEPT_RESOLUTIONS)

    async def decide(
        self, group: Sequence[Copy], *, force: bool, round_number: int | None = None
    ) -> dict[Copy, PlannedCopy]:
        """Decide about copies of one source; asks the source and the targets at the same time.

        *force* ignores the cache. With a *round* the resolved source is kept for further calls with the same round: the
        target registries of a run decide apart from each other, and the source is asked once for all.
        """
        wanted: list[_Wanted | CopyFailed] = []
        found: dict[Copy, _Found | CopyFailed] = {}

        async def look(task: Copy | None) -> None:
            if task is None:
                wanted.append(await self._resolve(group[0], round_number, use_cache=not force))
            else:
                found[task] = await self._found(task, use_cache=not force)

        await for_each([None, *group], look, width=len(group) + 1)
        certain = await self._confirm_cached(group, wanted[0], found, round_number)
        await self._compare_content(group, certain, found)
        decided = {copy: _decision(copy, certain, found[copy], force=force) for copy in group}
        if self._refusals is not None and not force:
            decided = {copy: await _unless_refused(planned, self._refusals) for copy, planned in decided.items()}
        if self._dates is not None and any(copy.min_age_seconds is not None for copy in group):
            dates = self._dates()
            decided = {copy: await _unless_too_young(planned, dates) for copy, planned in decided.items()}
        self._remember(certain, decided, found)
        return decided

    def confirm(self, planned: Sequence[PlannedCopy], *, written: bool) -> None:
        """Record for later runs that the targets of *planned* have the planned digest; *written*: this run wrote it."""
        self._history.record_copies([_confirmed(one, written=written) for one in planned])

    async def _confirm_cached(
        self,
        group: Sequence[Copy],
        wanted: _Wanted | CopyFailed,
        found: dict[Copy, _Found | CopyFailed],
        round_number: int | None,
    ) -> _Wanted | CopyFailed:
        """Ask the registries wherever cached digests do not say "unchanged"; return the confirmed digest."""
        if isinstance(wanted, CopyFailed) or wanted.digest is None:
            return wanted

        async def ask(copy: Copy) -> None:
            found[copy] = await self._found(copy, use_cache=False)

        doubtful = [copy for copy in group if _is_cached(found[copy]) and not _names(found[copy], wanted)]
        await for_each(doubtful, ask, width=len(doubtful) + 1)
        if wanted.cached and not all(_names(found[copy], wanted) for copy in group):
            # The copier filters the index again anyway, and this replaces a wrong entry of the cache.
            return await self._resolve(group[0], round_number, use_cache=False)
        return wanted

    async def _compare_content(
        self, group: Sequence[Copy], wanted: _Wanted | CopyFailed, found: dict[Copy, _Found | CopyFailed]
    ) -> None:
        """Compare by content where source and target use different digest algorithms; the manifest is read for that."""
        if isinstance(wanted, CopyFailed) or wanted.digest is None:
            return
        for copy in group:
            there = found[copy]
            if isinstance(there, CopyFailed) or there.digest is None:
                continue
            if there.digest.algorithm == wanted.digest.algorithm or not _may_rename(copy, wanted.digest):
                continue
            content = await self._content(copy, wanted)
            if content is not None and Digest.of(content, there.digest.algorithm) == there.digest:
                found[copy] = replace(there, same_as=wanted.digest)

    async def _content(self, copy: Copy, wanted: _Wanted) -> bytes | None:
        """Return the manifest that the target should have; None if it cannot be read: the copy then reports why."""
        try:
            root = await self._reader.read(copy.source.repository, str(wanted.source_digest))
            filtered = await filter_index(self._reader, copy.source.repository, root, copy.platforms)
        except (CopyFailed, StoreError):
            return None
        return None if filtered is None else filtered.root.content

    def _remember(
        self,
        wanted: _Wanted | CopyFailed,
        decided: Mapping[Copy, PlannedCopy],
        found: Mapping[Copy, _Found | CopyFailed],
    ) -> None:
        """Record unchanged targets where that saves requests of later runs; a plain run records nothing."""
        new = isinstance(wanted, _Wanted) and not wanted.cached
        unchanged = [
            planned
            for copy, planned in decided.items()
            if planned.action is Action.UNCHANGED
            and not _is_cached(found[copy])  # A renewed entry would never expire.
            and (copy.recheck_seconds is not None or (new and copy.platforms))
        ]
        if unchanged:
            self.confirm(unchanged, written=False)

    async def _resolve(self, copy: Copy, round_number: int | None, *, use_cache: bool) -> _Wanted | CopyFailed:
        """Return the digest that the targets of *copy* should have."""
        source, platforms = copy.source, copy.platforms
        if round_number is None:
            return await self._resolve_now(source, platforms, use_cache=use_cache)
        key = source, platforms, round_number, use_cache
        kept = self._resolved.find(key)
        if kept is None:
            kept = await self._resolving.do(key, lambda: self._resolve_now(source, platforms, use_cache=use_cache))
            self._resolved.keep(key, kept, 1)
        return kept

    async def _resolve_now(
        self, source: Reference, platforms: PlatformFilter, *, use_cache: bool
    ) -> _Wanted | CopyFailed:
        try:
            listed = (
                self._stores.source(source.repository).listed_digests().get(source.identifier) if use_cache else None
            )
            digest = listed or (await self._reader.resolve(source.repository, source.identifier)).digest
            if not platforms:
                return _Wanted(digest, digest, cached=listed is not None)
            known = await self._history.filtered_digest(digest, platforms) if use_cache else None
            if known is not None:
                return _Wanted(digest, None if known == _NOTHING else known, cached=True)
            return await self._trimmed(source.repository, digest, platforms)
        except CopyFailed as failure:
            return failure

    async def _trimmed(self, repository: Repository, digest: Digest, platforms: PlatformFilter) -> _Wanted:
        root = await self._reader.read(repository, str(digest))
        try:
            trimmed = await filter_index(self._reader, repository, root, platforms)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="read manifest") from error
        self._history.record_filtered(digest, platforms, trimmed.root.digest if trimmed is not None else _NOTHING)
        return _Wanted(digest, trimmed.root.digest if trimmed else None)

    async def _found(self, copy: Copy, *, use_cache: bool) -> _Found | CopyFailed:
        target = copy.target
        # To ask a layout costs nothing, and its directory may be another one by now.
        if use_cache and copy.recheck_seconds is not None and not target.repository.is_layout:
            known = (await self._known(target.repository, copy.recheck_seconds)).get(target.identifier)
            if known is not None:
                return _Found(known, cached=True)
        try:
            descriptor = await self._stores.target(target.repository).resolve(target.identifier)
        except StoreError as error:
            return CopyFailed(error, side="target", step="resolve")
        if descriptor is None and use_cache:
            descriptor = await self._read_instead(target)
        return _Found(descriptor.digest if descriptor else None)

    async def _read_instead(self, target: Reference) -> Descriptor | None:
        """Return the descriptor of *target* by a GET, where its registry answers 404 to a HEAD of what it holds.

        Asks only for what an earlier run confirmed, and no more once a registry turned out to be right.
        """
        repository = target.repository
        if repository.registry in self._truthful:
            return None
        if target.identifier not in await self._known(repository, _ANY_AGE_SECONDS):
            return None
        try:
            return await self._stores.source(repository).resolve(target.identifier)
        except StoreError:
            self._truthful.add(repository.registry)
            return None

    async def _known(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return the digests that *repository* had within the last *seconds*; one request to the cache per run."""
        return await self._confirmed.do(
            (repository, seconds), lambda: self._history.target_digests(repository, seconds)
        )


def _is_cached(found: _Found | CopyFailed) -> bool:
    return isinstance(found, _Found) and found.cached


def _names(found: _Found | CopyFailed, wanted: _Wanted) -> bool:
    if not isinstance(found, _Found):
        return False
    return found.digest == wanted.digest or (found.same_as is not None and found.same_as == wanted.digest)


def _may_rename(copy: Copy, digest: Digest) -> bool:
    """Whether the target may name *digest* by another algorithm: sha256 always, others as the rule says."""
    return copy.renames_digests or digest.algorithm == CANONICAL_ALGORITHM


def _confirmed(planned: PlannedCopy, *, written: bool) -> ConfirmedCopy:
    copy = planned.copy
    if planned.source_digest is None or planned.target_digest is None:
        raise ValueError(f"{copy.target}: a copy without a digest confirms nothing")
    return ConfirmedCopy(
        copy.rule, copy.source, planned.source_digest, copy.platforms, copy.target, planned.target_digest, written
    )


async def _unless_refused(planned: PlannedCopy, refusals: ManifestRefusals) -> PlannedCopy:
    failure = await refusals.find(planned) if planned.action is Action.COPY else None
    return planned if failure is None else replace(planned, action=Action.FAIL, failure=failure)


async def _unless_too_young(planned: PlannedCopy, dates: "TagDates") -> PlannedCopy:
    """Skip *planned* if its tag moved after it was selected, and is not public for long enough with its new digest."""
    least, digest = planned.copy.min_age_seconds, planned.source_digest
    source = planned.copy.source
    if least is None or digest is None or source.tag is None or planned.action is not Action.COPY:
        return planned
    try:
        age = await dates.age_seconds(source.repository, source.tag, digest)
    except CopyFailed as failure:
        return replace(planned, action=Action.FAIL, failure=failure)
    if age >= least:
        return planned
    return replace(planned, action=Action.SKIP, target_digest=None, reason=too_young(age, least))


def _decision(copy: Copy, wanted: _Wanted | CopyFailed, found: _Found | CopyFailed, *, force: bool) -> PlannedCopy:
    """Decide about one copy from the digests of both sides."""
    if isinstance(wanted, CopyFailed):
        return PlannedCopy(copy, Action.FAIL, failure=wanted)
    if wanted.digest is None:
        content = copy.platforms.content
        reason = NOT_SELECTED if content is not None and content.selects else NO_PLATFORM
        return PlannedCopy(copy, Action.SKIP, wanted.source_digest, reason=reason)
    if isinstance(found, CopyFailed):
        return PlannedCopy(copy, Action.FAIL, wanted.source_digest, wanted.digest, failure=found)
    if copy.target.digest is not None and copy.target.digest != wanted.digest:
        # A filtered index has another digest, and can be stored under that digest only.
        copy = replace(copy, target=copy.target.repository.at(wanted.digest))
    form = _form(copy.platforms, wanted)
    if _names(found, wanted) and not force:
        return PlannedCopy(
            copy, Action.UNCHANGED, wanted.source_digest, found.digest, replaces=found.digest, reason=form
        )
    return PlannedCopy(copy, Action.COPY, wanted.source_digest, wanted.digest, replaces=found.digest, reason=form)


def _form(platforms: PlatformFilter, wanted: _Wanted) -> str | None:
    """Return how the copy differs from the source, if the rule says something about that; None: in no way."""
    content = platforms.content
    if content is None:
        return None
    if wanted.digest == wanted.source_digest:
        return None
    return CONVERTED if content.to_oci else TRIMMED
