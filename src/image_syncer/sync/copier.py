"""The graph copy of one image to one repository: blobs, then child manifests, then the index, then the tags.

Pullers see no change before everything that it needs is in place. Copies of one image to several registries run side by
side: they share what is read of the source, and none waits for another beyond a bound (`blob_scheduler`). What a run
has done once is known to all its copies: a manifest that is in the repository costs one request for each further tag.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress

from image_syncer.concurrency.batch_single_flight import BatchSingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import (
    CopyFailed,
    LeaseLost,
    MissingContent,
    ProtocolError,
    StoreError,
    UnsupportedDigest,
)
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest, Repository
from image_syncer.roles import BlobLocations, Stores
from image_syncer.structs import replace
from image_syncer.sync.attachment_step import AttachmentStep
from image_syncer.sync.blob_placer import BlobPlacer
from image_syncer.sync.blob_scheduler import BlobScheduler, TransfersOf
from image_syncer.sync.connect_ahead import ConnectAhead
from image_syncer.sync.copy_ends import Finished, collecting_failure, report_ends
from image_syncer.sync.copy_failures import (
    at_target,
    explained,
    is_other_kind,
    looks_like_manifest,
    refused_sparse,
)
from image_syncer.sync.copy_state import CopyOptions, SourceImage, TargetProgress
from image_syncer.sync.fan_out import FanOut
from image_syncer.sync.image_ways import ImageWays, WaysOf, every_way
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import Action, PlannedCopy
from image_syncer.sync.platform_filter import filter_index
from image_syncer.sync.referrer_copier import ReferrerCopier
from image_syncer.sync.refusals import ManifestRefusals, is_manifest_refusal
from image_syncer.sync.result import RunObserver, Transferred
from image_syncer.sync.rule_trust import ReferrerAccess
from image_syncer.sync.trimmed import check_depth

SPARSE = "sparse index"
"""The reason of a copied result whose target lacks manifests of the index."""

_PARTS_AT_ONCE = 16
_TAGS_AT_ONCE = 8
_MANY_TAGS = 3
"""With fewer tags it does not pay to find out whether the target accepts several in one request."""
_LOOKS = 2
"""How often a copy looks again for content that a target reports as missing."""

_Key = tuple[Repository, Digest]


class Copier:
    """Copies images between *stores*; one object serves a whole run and remembers what is where."""

    def __init__(  # noqa: PLR0913 - what a run consists of
        self,
        stores: Stores,
        reader: ManifestReader,
        *,
        observer: RunObserver,
        locations: BlobLocations,
        transfers: TransfersOf,
        refusals: ManifestRefusals | None = None,
        referrers: ReferrerAccess | None = None,
        ways: WaysOf = every_way,
    ) -> None:
        self._refusals = refusals
        self._connect_ahead = ConnectAhead(stores)
        self._stores = stores
        self._reader = reader
        self._blobs = BlobPlacer(BlobScheduler(locations, observer, transfers=transfers), reader)
        self.ways = ImageWays(ways, reader, self._blobs)
        self._access = referrers
        self._referrers = None if referrers is None else ReferrerCopier(stores, referrers, reader, self._blobs)
        # A manifest's failure may concern only its caller's tag, which may be immutable.
        self._manifests: BatchSingleFlight[_Key] = BatchSingleFlight(share_failures=False)

    @property
    def referrers(self) -> ReferrerAccess | None:
        """What this copier knows about referrers; None if it copies none."""
        return self._access

    @property
    def falls_behind(self) -> Mapping[str, int]:
        """How often each target registry was too slow to share reads with others."""
        return self._blobs.falls_behind

    async def copy(
        self,
        copies: Sequence[PlannedCopy],
        finished: Finished,
        options: CopyOptions | None = None,
        fan_out: FanOut | None = None,
    ) -> None:
        """Make planned copies of one source image to one repository, and report how each ended.

        Of unchanged images only what is attached is compared and copied. All *copies* have the same action, and rules
        that want the same of referrers. A failed copy has not changed its tag. *fan_out* has the registries that
        receive the image at the same time.
        """
        options = options or CopyOptions()
        goal = self._goal(copies, options, fan_out or FanOut(()))
        limit = asyncio.timeout(options.seconds)
        with collecting_failure(goal, copies[0], limit, options.seconds):
            async with limit, self._connect_ahead.connecting(copies, goal):
                image, root = await self._load(copies[0])
                if image.skipped:
                    copies = [replace(planned, reason=SPARSE) for planned in copies]
                step = self._attachment_step(copies, image, root, goal, options)
                async with step.searching() if step is not None else nullcontext():
                    is_copied = copies[0].action is not Action.UNCHANGED
                    if step is not None and not is_copied:
                        await step.compare()
                    claim = self._manifests.claim([(goal.repository, root.digest)] if is_copied else ())
                    while claim.pending:
                        async with claim as mine:
                            if mine:
                                await self.ways.bring(image, root, goal, step)
                                await self._push_tree(image, root, goal, depth=1)
                            claim.failures |= {key: goal.failure for key in mine if goal.failure is not None}
                    if is_copied and not claim.own and goal.failure is None:
                        await self._tag_again(image, root, goal)
        if self._refusals is not None:
            self._refusals.learn(copies[0], goal.failures, forced=options.force)
        report_ends(copies, goal, finished)

    def _attachment_step(
        self,
        copies: Sequence[PlannedCopy],
        image: SourceImage,
        root: RawManifest,
        goal: TargetProgress,
        options: CopyOptions,
    ) -> AttachmentStep | None:
        """Return the step that copies what is attached to *image*; None if no rule of *copies* asks for it."""
        if self._referrers is None or not self._referrers.is_wanted(copies, goal):
            return None
        step = AttachmentStep(self._referrers, copies, image, root, goal, options)
        goal.before_tags = step
        return step

    def _goal(self, copies: Sequence[PlannedCopy], options: CopyOptions, fan_out: FanOut) -> TargetProgress:
        origin, repository = copies[0].copy.source.repository, copies[0].copy.target.repository
        is_one_registry = options.are_one_registry(origin.registry, repository.registry)
        return TargetProgress(
            repository,
            self._stores.target(repository),
            [planned.copy.target.identifier for planned in copies],
            fan_out,
            mount_origin=Repository(repository.registry, origin.path) if is_one_registry else None,
            probe=not options.force and any(planned.replaces is not None for planned in copies),
            fence=options.fence,
            may_rename=all(planned.copy.renames_digests for planned in copies),
            ways=self.ways.allowed(origin, repository, copies),
        )

    async def _load(self, planned: PlannedCopy) -> tuple[SourceImage, RawManifest]:
        """Return the image that *planned* copies, and its root manifest."""
        copy = planned.copy
        if planned.source_digest is None:
            raise ValueError(f"{copy.source}: a plan without a digest cannot be executed")
        origin = copy.source.repository
        root = await self._reader.read(origin, str(planned.source_digest))
        filtered = await filter_index(self._reader, origin, root, copy.platforms)
        if filtered is None:
            raise ValueError(f"{copy.source}: planned, but its platform filter leaves nothing")
        rewritten = dict(filtered.rewritten)
        if filtered.root.digest != root.digest:
            rewritten[filtered.root.digest] = filtered.root
        source, digest = self._stores.source(origin), filtered.root.digest
        image = SourceImage(
            origin, source, rewritten, digest, root, copy.nondistributable_layers, skipped=filtered.skipped
        )
        image.can_trim = copy.platforms.content is not None and copy.platforms.content.index.is_auto
        return image, filtered.root

    async def _tag_again(self, image: SourceImage, root: RawManifest, goal: TargetProgress) -> None:
        """Tag a manifest that another copy pushed to the repository; push the whole image if it has vanished."""
        if goal.before_tags is not None:
            await goal.before_tags.run(None)
        if goal.failure is None and await self._put(image, root, goal) is not None:
            self._forget_parts(root, goal)
            await self._push_tree(image, root, goal, depth=1)

    async def _push_tree(self, image: SourceImage, raw: RawManifest, goal: TargetProgress, *, depth: int) -> None:
        """Push *raw* after everything that it names; a failure ends in `goal.failure`.

        The target may report missing content that it claimed to have, or that this run has found there: after an
        interrupted push or a garbage collection. Then everything is looked for again, without trusting what we know.
        """
        for look in range(_LOOKS + 1):
            await self._push_parts(image, raw, goal, depth)
            if goal.failure is not None:
                return
            missing = await self._run_before_tags(image, raw, goal)
            if missing is None and goal.failure is None:
                missing = await self._put(image, raw, goal)
            if missing is None:
                return
            if image.skipped and raw.digest == image.root:
                goal.failure = refused_sparse(missing, can_trim=image.can_trim)
                return
            if look == _LOOKS:
                goal.failure = explained(missing, raw, image)
                return
            self._forget_parts(raw, goal)

    async def _run_before_tags(self, image: SourceImage, raw: RawManifest, goal: TargetProgress) -> CopyFailed | None:
        if raw.digest != image.root or goal.before_tags is None:
            return None

        async def push_root() -> CopyFailed | None:
            failure = await self._put_as(image, raw, goal, str(raw.digest))
            goal.written.clear()  # Even a copy to a digest has not succeeded before its referrers.
            return failure

        return await goal.before_tags.run(push_root)

    async def _push_parts(self, image: SourceImage, raw: RawManifest, goal: TargetProgress, depth: int) -> None:
        """Push everything that *raw* names; nothing if the target repository is the source itself."""
        image.count_manifest(raw)
        if (goal.is_source and raw.digest not in image.rewritten) or goal.way is not None:
            return
        match raw.parse():
            case Index(manifests):
                check_depth(depth, raw)
                children = {entry.digest: entry for entry in manifests if entry.digest not in image.skipped}.values()
                await for_each(children, lambda entry: self._child(image, entry, goal, depth + 1), width=_PARTS_AT_ONCE)
            case Manifest() as manifest:
                blobs = (*manifest.blobs, *(manifest.external_layers if image.with_external else ()))
                await self._blobs.place_all(blobs, image.origin, image.source, goal)

    def _forget_parts(self, raw: RawManifest, goal: TargetProgress) -> None:
        goal.probe = goal.trusted = False
        if goal.way is not None:  # Its vendor has not brought what was found there.
            goal.way, goal.transferred, goal.attached = None, Transferred(), Transferred()
        match raw.parse():
            case Index(manifests):
                for entry in manifests:
                    self._manifests.forget((goal.repository, entry.digest))
                    self._blobs.forget_upload(goal.repository, entry.digest)
            case Manifest() as manifest:
                for blob in (*manifest.blobs, *manifest.external_layers):
                    self._blobs.forget(goal.repository, blob.digest)

    async def _child(self, image: SourceImage, entry: Descriptor, goal: TargetProgress, depth: int) -> None:
        """Push the *entry* of an index: a manifest with everything that it names, or a blob (a BuildKit cache).

        The media type decides. If it is no known one, the other kind is tried where the source has no such content, or
        fails on it as distribution 2.8 does.
        """
        if goal.is_source and entry.digest not in image.rewritten:
            return  # The target repository is the source itself.
        if entry.is_manifest:
            await self._child_manifest(image, entry, goal, depth)
            return
        first, second = self._child_blob, self._child_manifest
        if looks_like_manifest(entry.media_type):
            first, second = second, first
        try:
            await first(image, entry, goal, depth)
        except CopyFailed as failure:
            if not is_other_kind(failure):
                raise
            await second(image, entry, goal, depth)

    async def _child_blob(self, image: SourceImage, entry: Descriptor, goal: TargetProgress, _depth: int) -> None:
        await self._blobs.place(entry, image.origin, image.source, goal)
        if goal.failure is not None and is_other_kind(goal.failure):
            failure, goal.failure = goal.failure, None
            raise failure

    async def _child_manifest(self, image: SourceImage, entry: Descriptor, goal: TargetProgress, depth: int) -> None:
        """Push the child manifest *entry* by its digest."""
        if goal.failure is not None:
            return
        key = goal.repository, entry.digest
        claim = self._manifests.claim([key])
        while claim.pending:
            async with claim as mine:
                if mine and not (goal.probe and await self._exists(goal, entry)) and goal.failure is None:
                    raw = image.rewritten.get(entry.digest) or await self._read_child(image, entry)
                    await self._push_tree(image, raw, goal, depth=depth)
                if mine and goal.failure is not None:
                    claim.failures[key] = goal.failure

    async def _read_child(self, image: SourceImage, entry: Descriptor) -> RawManifest:
        """Return the manifest of *entry*; `CopyFailed` if its size is not that of the entry, as pullers refuse it."""
        raw = await self._reader.read(image.origin, str(entry.digest))
        if entry.size not in {None, len(raw.content)}:
            error = ProtocolError(f"{entry.digest}: its index says {entry.size} bytes, it has {len(raw.content)}")
            raise CopyFailed(error, side="source", step="read manifest")
        return raw

    async def _exists(self, goal: TargetProgress, entry: Descriptor) -> bool:
        try:
            found = await goal.target.resolve(str(entry.digest))
        except StoreError as error:
            goal.failure = at_target(error, "resolve")
            return False
        return found is not None

    async def _put(self, image: SourceImage, raw: RawManifest, goal: TargetProgress) -> CopyFailed | None:
        """Put *raw* by its digest, or the root under all its names; failures end in *goal*.

        Returns the failure if content is missing at the target; then no tag has changed.
        """
        if raw.digest != image.root:
            failure = await self._put_as(image, raw, goal, str(raw.digest))
            if failure is not None and isinstance(failure.cause, MissingContent):
                return failure
            goal.failure = goal.failure or failure
            return None
        failure = None
        while (names := goal.unwritten) and not goal.written:
            failure = await self._put_as(image, raw, goal, names[0])
            if failure is None:
                continue
            if isinstance(failure.cause, MissingContent):
                return failure
            goal.refused[names[0]] = failure  # Perhaps only this tag is immutable, or the failure is temporary.
            if isinstance(failure.cause, LeaseLost) or is_manifest_refusal(failure) or not goal.can_try_another:
                break
        if not goal.written:
            goal.failure = failure
            return None
        return await self._put_further(image, raw, goal)

    async def _put_further(self, image: SourceImage, raw: RawManifest, goal: TargetProgress) -> CopyFailed | None:
        """Tag a manifest that the target holds: by one request if it accepts that, otherwise one by one."""
        missing: list[CopyFailed] = []
        tags = [name for name in goal.unwritten if ":" not in name]
        if len(tags) >= _MANY_TAGS:
            with suppress(StoreError):  # The requests one by one find out which tag is refused.
                goal.written |= await goal.target.push_tags(_renamed(raw, goal), tags, goal.fence)

        async def put(name: str) -> None:
            failure = await self._put_as(image, raw, goal, name)
            if failure is not None and isinstance(failure.cause, MissingContent):
                missing.append(failure)
            elif failure is not None:
                goal.refused[name] = failure

        await for_each(goal.unwritten, put, width=_TAGS_AT_ONCE)
        return missing[0] if missing else None

    async def _put_as(
        self, image: SourceImage, raw: RawManifest, goal: TargetProgress, identifier: str
    ) -> CopyFailed | None:
        is_tag = ":" not in identifier
        try:
            if is_tag:
                await goal.target.push_manifest(_renamed(raw, goal), identifier, goal.fence)
            else:
                await goal.target.push_manifest(raw, identifier)
        except UnsupportedDigest as error:
            if not (is_tag and goal.may_rename):
                return at_target(error, "push manifest")
            goal.renamed = Digest.of(raw.content)
            return await self._put_as(image, raw, goal, identifier)
        except StoreError as error:
            failure = at_target(error, "push manifest")
            return failure if isinstance(error, MissingContent) else explained(failure, raw, image)
        if identifier in goal.identifiers:
            goal.written.add(identifier)
        return None


def _renamed(raw: RawManifest, goal: TargetProgress) -> RawManifest:
    """Return *raw* under the digest that the target stores it under."""
    return raw if goal.renamed is None else replace(raw, digest=goal.renamed)
