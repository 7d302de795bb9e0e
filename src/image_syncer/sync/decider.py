"""What is to be done about copies of one source: both sides are asked, or what earlier runs found is trusted.

Memory is only ever believed where it says that nothing has to be done. Wherever it says anything else the registries
are asked, which costs no more than having no memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Digest, PlatformFilter, Reference, Repository
from image_syncer.roles import ConfirmedCopy, DigestCache, Stores
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.platform_filter import filter_index

NO_PLATFORM = "no manifest fits the platform filter"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the target shall name; *digest* None where the platform filter leaves nothing.

    *remembered*: that is what the list of tags said, or what an earlier run found that the filter leaves.
    """

    source_digest: Digest
    digest: Digest | None
    remembered: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What the target names, None if nothing; *remembered*: what it named for an earlier run."""

    digest: Digest | None
    remembered: bool = False


class Decider:
    """Decides about copies over *stores*, with what *history* knows, for one run."""

    def __init__(self, stores: Stores, reader: ManifestReader, history: DigestCache) -> None:
        self._stores = stores
        self._reader = reader
        self._history = history
        self._confirmed: SingleFlight[tuple[Repository, float], Mapping[str, Digest]] = SingleFlight(
            keep=True, share_failures=True
        )

    async def decide(self, group: Sequence[Copy], *, force: bool) -> dict[Copy, PlannedCopy]:
        """Decide copies of one source; the source and the targets are asked at the same time.

        With *force* nothing is believed that the registries did not say now.
        """
        wanted: list[_Wanted | CopyFailed] = []
        found: dict[Copy, _Found | CopyFailed] = {}

        async def look(task: Copy | None) -> None:
            if task is None:
                wanted.append(await self._wanted(group[0].source, group[0].platforms, believe=not force))
            else:
                found[task] = await self._found(task, believe=not force)

        await for_each([None, *group], look, width=len(group) + 1)
        certain = await self._make_certain(group, wanted[0], found)
        decided = {copy: _decision(copy, certain, found[copy], force=force) for copy in group}
        self._remember(certain, decided, found)
        return decided

    def confirm(self, planned: Sequence[PlannedCopy], *, written: bool) -> None:
        """Note for later runs that the targets of *planned* name what was planned; *written*: since we put it there."""
        self._history.record_copies([_confirmed(one, written=written) for one in planned])

    async def _make_certain(
        self, group: Sequence[Copy], wanted: _Wanted | CopyFailed, found: dict[Copy, _Found | CopyFailed]
    ) -> _Wanted | CopyFailed:
        """Ask wherever memory does not say that all is well, and return what is wanted for certain."""
        if isinstance(wanted, CopyFailed):
            return wanted

        async def ask(copy: Copy) -> None:
            found[copy] = await self._found(copy, believe=False)

        doubtful = [copy for copy in group if _is_remembered(found[copy]) and not _names(found[copy], wanted)]
        await for_each(doubtful, ask, width=len(doubtful) + 1)
        if wanted.remembered and not all(_names(found[copy], wanted) for copy in group):
            # Who copies it trims it anew anyway; a note that was wrong is put right by that.
            return await self._wanted(group[0].source, group[0].platforms, believe=False)
        return wanted

    def _remember(
        self,
        wanted: _Wanted | CopyFailed,
        decided: Mapping[Copy, PlannedCopy],
        found: Mapping[Copy, _Found | CopyFailed],
    ) -> None:
        """Note what was found unchanged where that spares later runs a request; a plain run notes nothing."""
        new = isinstance(wanted, _Wanted) and not wanted.remembered
        unchanged = [
            planned
            for copy, planned in decided.items()
            if planned.action is Action.UNCHANGED
            and not _is_remembered(found[copy])  # Or it would never be asked again.
            and (copy.recheck_seconds is not None or (new and copy.platforms))
        ]
        if unchanged:
            self.confirm(unchanged, written=False)

    async def _wanted(self, source: Reference, platforms: PlatformFilter, *, believe: bool) -> _Wanted | CopyFailed:
        try:
            listed = self._stores.source(source.repository).listed_digests().get(source.identifier) if believe else None
            digest = listed or (await self._reader.resolve(source.repository, source.identifier)).digest
            if not platforms:
                return _Wanted(digest, digest, remembered=listed is not None)
            known = await self._history.filtered_digest(digest, platforms) if believe else None
            if known is not None:
                return _Wanted(digest, known, remembered=True)
            return await self._trimmed(source.repository, digest, platforms)
        except CopyFailed as failure:
            return failure

    async def _trimmed(self, repository: Repository, digest: Digest, platforms: PlatformFilter) -> _Wanted:
        root = await self._reader.read(repository, str(digest))
        try:
            trimmed = await filter_index(self._reader, repository, root, platforms)
        except StoreError as error:
            raise CopyFailed(error, side="source", step="read manifest") from error
        if trimmed is not None:
            self._history.record_filtered(digest, platforms, trimmed.root.digest)
        return _Wanted(digest, trimmed.root.digest if trimmed else None)

    async def _found(self, copy: Copy, *, believe: bool) -> _Found | CopyFailed:
        target = copy.target
        if believe and copy.recheck_seconds is not None:
            known = (await self._known(target.repository, copy.recheck_seconds)).get(target.identifier)
            if known is not None:
                return _Found(known, remembered=True)
        try:
            descriptor = await self._stores.target(target.repository).resolve(target.identifier)
        except StoreError as error:
            return CopyFailed(error, side="target", step="resolve")
        return _Found(descriptor.digest if descriptor else None)

    async def _known(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what *repository* is known to have named within the last *seconds*, asked for once in a run."""
        return await self._confirmed.do(
            (repository, seconds), lambda: self._history.target_digests(repository, seconds)
        )


def _is_remembered(found: _Found | CopyFailed) -> bool:
    return isinstance(found, _Found) and found.remembered


def _names(found: _Found | CopyFailed, wanted: _Wanted) -> bool:
    return isinstance(found, _Found) and found.digest == wanted.digest


def _confirmed(planned: PlannedCopy, *, written: bool) -> ConfirmedCopy:
    copy = planned.copy
    if planned.source_digest is None or planned.target_digest is None:
        raise ValueError(f"{copy.target}: a copy of which no digest is known confirms nothing")
    return ConfirmedCopy(
        copy.rule, copy.source, planned.source_digest, copy.platforms, copy.target, planned.target_digest, written
    )


def _decision(copy: Copy, wanted: _Wanted | CopyFailed, found: _Found | CopyFailed, *, force: bool) -> PlannedCopy:
    """Decide one copy from what was found on both sides."""
    if isinstance(wanted, CopyFailed):
        return PlannedCopy(copy, Action.FAIL, failure=wanted)
    if wanted.digest is None:
        return PlannedCopy(copy, Action.SKIP, wanted.source_digest, reason=NO_PLATFORM)
    if isinstance(found, CopyFailed):
        return PlannedCopy(copy, Action.FAIL, wanted.source_digest, wanted.digest, failure=found)
    if copy.target.digest is not None and copy.target.digest != wanted.digest:
        # A trimmed index has a digest of its own: it can only be stored under that one.
        copy = replace(copy, target=copy.target.repository.at(wanted.digest))
    action = Action.UNCHANGED if found.digest == wanted.digest and not force else Action.COPY
    return PlannedCopy(copy, action, wanted.source_digest, wanted.digest, replaces=found.digest)
