"""The graph copy: blobs, then child manifests, then the index, then the tag, and everything once.

Nothing a puller can see changes before all that it needs is there. An image goes to all its targets in step, so that
what they lack is read once for all of them; a target that fails drops out, and the others go on. What was done is known
for the whole run: a manifest that is already in a repository costs one request for a further tag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress

from image_syncer.concurrency.batch_single_flight import BatchSingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, LeaseLost, MissingContent, ProtocolError, StoreError, Unavailable
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest, Repository
from image_syncer.roles import BlobLocations, Fence, Stores
from image_syncer.sync.blob_content import SourceBlob
from image_syncer.sync.blob_scheduler import BlobScheduler, TransfersOf
from image_syncer.sync.copy_state import SourceImage, TargetProgress, alive
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.platform_filter import check_depth, filter_index
from image_syncer.sync.result import RunObserver, Transferred

_PARTS_AT_ONCE = 16
_TAGS_AT_ONCE = 8
_MANY_TAGS = 3  # For fewer it is not worth finding out whether the target takes several at a time.
_LOOKS = 2  # How often what a target says it lacks is looked for again: for the image, and for a further tag of it.

_Key = tuple[Repository, Digest]

Finished = Callable[[PlannedCopy, Transferred | CopyFailed], None]
"""Is told how each copy ended, once."""


class Copier:
    """Copies images between *stores*; one object serves a whole run and remembers what it has placed where."""

    def __init__(
        self,
        stores: Stores,
        reader: ManifestReader,
        *,
        observer: RunObserver,
        knowledge: BlobLocations,
        transfers: TransfersOf,
    ) -> None:
        self._stores = stores
        self._reader = reader
        self._placement = BlobScheduler(knowledge, observer, transfers=transfers)
        # The failure of a blob is everybody's, since all would do the very same.
        self._blobs: BatchSingleFlight[_Key] = BatchSingleFlight(share_failures=True)
        # That of a manifest may be one of its tag, which may not move.
        self._manifests: BatchSingleFlight[_Key] = BatchSingleFlight(share_failures=False)

    async def copy(
        self,
        copies: Sequence[PlannedCopy],
        finished: Finished,
        *,
        force: bool = False,
        seconds: float | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Carry out planned copies of one source image, which may go to many targets, and tell how each ended.

        Of a copy that failed no tag has changed. What is not done within *seconds* (None: no limit) has failed.
        *fence* is checked right before each write of a tag; without its consent the copy fails with `LeaseLost`.
        """
        goals = self._goals(copies, force=force, fence=fence)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await self._copy_image(copies[0], list(goals.values()))
        except TimeoutError:
            if not limit.expired():
                raise
            _fail_all(goals.values(), _too_slow(copies[0], seconds))
        except CopyFailed as failure:
            _fail_all(goals.values(), failure)
        except StoreError as error:  # All I/O names its side; what is left is a manifest that cannot be parsed.
            failure = CopyFailed(error, side="source", step="read manifest")
            failure.__cause__ = error
            _fail_all(goals.values(), failure)
        for planned in copies:
            goal = goals[planned.copy.target.repository]
            name = planned.copy.target.identifier
            failure = goal.refused.get(name, goal.failure)
            if failure is not None and name not in goal.named:
                finished(planned, failure)
                continue
            # What was moved is told with the first name that it got there.
            moved, goal.transferred = goal.transferred, Transferred()
            finished(planned, moved)

    def _goals(
        self, copies: Sequence[PlannedCopy], *, force: bool, fence: Fence | None
    ) -> dict[Repository, TargetProgress]:
        """Return what is to be reached at each target repository."""
        goals: dict[Repository, TargetProgress] = {}
        for planned in copies:
            target = planned.copy.target
            probe = planned.replaces is not None and not force
            goal = goals.get(target.repository)
            if goal is None:
                store = self._stores.target(target.repository)
                goals[target.repository] = TargetProgress(
                    target.repository, store, [target.identifier], probe, fence=fence
                )
            else:
                goal.identifiers.append(target.identifier)
                goal.probe |= probe
        return goals

    async def _copy_image(self, planned: PlannedCopy, goals: Sequence[TargetProgress]) -> None:
        copy = planned.copy
        if planned.source_digest is None:
            raise ValueError(f"{copy.source}: a plan without a digest cannot be carried out")
        origin = copy.source.repository
        root = await self._reader.read(origin, str(planned.source_digest))
        trimmed = await filter_index(self._reader, origin, root, copy.platforms)
        if trimmed is None:
            raise ValueError(f"{copy.source}: planned, yet nothing is left of it")
        image = SourceImage(origin, self._stores.source(origin), dict(trimmed.rewritten), trimmed.root.digest)
        own = await self._together(goals, image.root, lambda mine: self._push_tree(image, trimmed.root, mine, depth=1))
        there = [goal for goal in alive(goals) if goal not in own]
        await for_each(there, lambda goal: self._put_again(image, trimmed.root, goal), width=len(there))

    async def _put_again(self, image: SourceImage, root: RawManifest, goal: TargetProgress) -> None:
        """Give what another copy has put into the repository its names; all of it goes again where it has vanished."""
        if await self._put(image, root, goal) is not None:
            self._forget_parts(root, goal)
            await self._push_tree(image, root, [goal], depth=1)

    async def _together(
        self,
        goals: Sequence[TargetProgress],
        digest: Digest,
        push: Callable[[Sequence[TargetProgress]], Awaitable[None]],
    ) -> Collection[TargetProgress]:
        """Let *push* put the manifest *digest* into those targets where nobody else does; return which those were."""
        by_key = {(goal.repository, digest): goal for goal in alive(goals)}
        claim = self._manifests.claim(by_key)
        while claim.pending:
            async with claim as mine:
                if mine:
                    await push([by_key[key] for key in mine])
                claim.failures |= {key: failure for key in mine if (failure := by_key[key].failure) is not None}
        return {by_key[key] for key in claim.own}

    async def _push_tree(
        self, image: SourceImage, raw: RawManifest, goals: Sequence[TargetProgress], *, depth: int
    ) -> None:
        """Put *raw* into the targets, after everything that it names."""
        await self._push_parts(image, raw, goals, depth)

        async def put(goal: TargetProgress) -> None:
            for _ in range(_LOOKS):
                if await self._put(image, raw, goal) is None:
                    return
                # The target said that it had something, or we remembered so, and it has not: an interrupted push or a
                # garbage collection can do that. Look once more, without trusting what we knew.
                self._forget_parts(raw, goal)
                await self._push_parts(image, raw, [goal], depth)
                if goal.failure is not None:
                    return
            goal.failure = await self._put(image, raw, goal) or goal.failure

        left = alive(goals)
        await for_each(left, put, width=len(left))

    async def _push_parts(
        self, image: SourceImage, raw: RawManifest, goals: Sequence[TargetProgress], depth: int
    ) -> None:
        """Put everything into the targets that *raw* names."""
        image.visit(raw)
        match raw.parse():
            case Index(manifests):
                check_depth(depth, raw)
                children = {entry.digest: entry for entry in manifests}.values()
                await for_each(
                    children, lambda entry: self._child(image, entry, goals, depth + 1), width=_PARTS_AT_ONCE
                )
            case Manifest() as manifest:
                await self._placement.expect(manifest.blobs, alive(goals))
                await for_each(manifest.blobs, lambda blob: self._blob(image, blob, goals), width=_PARTS_AT_ONCE)

    def _forget_parts(self, raw: RawManifest, goal: TargetProgress) -> None:
        goal.probe = False
        match raw.parse():
            case Index(manifests):
                for entry in manifests:
                    self._manifests.forget((goal.repository, entry.digest))
            case Manifest() as manifest:
                for blob in manifest.blobs:
                    self._blobs.forget((goal.repository, blob.digest))
                    self._placement.forget(goal.repository, blob.digest)

    async def _child(self, image: SourceImage, entry: Descriptor, goals: Sequence[TargetProgress], depth: int) -> None:
        """Put the child manifest *entry* into the targets, by digest."""

        async def push(mine: Sequence[TargetProgress]) -> None:
            lacking: list[TargetProgress] = []

            async def probe(goal: TargetProgress) -> None:
                if not (goal.probe and await self._is_there(goal, entry)):
                    lacking.append(goal)

            await for_each(mine, probe, width=len(mine))
            if alive(lacking):
                raw = image.rewritten.get(entry.digest) or await self._read_child(image, entry)
                await self._push_tree(image, raw, alive(lacking), depth=depth)

        await self._together(goals, entry.digest, push)

    async def _read_child(self, image: SourceImage, entry: Descriptor) -> RawManifest:
        """Return the child manifest that *entry* names; one of another size is refused, as every puller does."""
        raw = await self._reader.read(image.origin, str(entry.digest))
        if entry.size not in {None, len(raw.content)}:
            lie = ProtocolError(f"{entry.digest}: its index says {entry.size} bytes, it has {len(raw.content)}")
            raise CopyFailed(lie, side="source", step="read manifest")
        return raw

    async def _is_there(self, goal: TargetProgress, entry: Descriptor) -> bool:
        try:
            found = await goal.target.resolve(str(entry.digest))
        except StoreError as error:
            goal.failure = _at_target(error, "resolve")
            return False
        return found is not None

    async def _put(self, image: SourceImage, raw: RawManifest, goal: TargetProgress) -> CopyFailed | None:
        """Put *raw* by digest, or the image itself under all its names; failures are noted at *goal*.

        Returned is only the failure that content was missing: then nothing has changed.
        """
        if raw.digest != image.root:
            failure = await self._put_at(raw, goal, str(raw.digest))
            return _unless_missing(goal, failure)
        left, failure = goal.unnamed, None
        while left:
            failure = await self._put_at(raw, goal, left[0])
            if failure is None:
                break
            if isinstance(failure.cause, MissingContent):
                return failure
            if isinstance(failure.cause, LeaseLost):
                goal.failure = failure
                return None
            goal.refused[left[0]] = failure  # It may be this tag alone that must not move, or a moment's trouble.
            left = goal.unnamed if goal.is_worth_trying else []
        if not goal.named:
            goal.failure = failure
            return None
        return await self._put_further(raw, goal)

    async def _put_further(self, raw: RawManifest, goal: TargetProgress) -> CopyFailed | None:
        """Give what the target holds by now its other names: by one request, where it takes them so."""
        missing: list[CopyFailed] = []
        await self._put_many(raw, goal)

        async def put(name: str) -> None:
            failure = await self._put_at(raw, goal, name)
            if failure is not None and isinstance(failure.cause, MissingContent):
                missing.append(failure)
            elif failure is not None:
                goal.refused[name] = failure

        await for_each(goal.unnamed, put, width=_TAGS_AT_ONCE)
        return missing[0] if missing else None

    async def _put_many(self, raw: RawManifest, goal: TargetProgress) -> None:
        tags = [name for name in goal.unnamed if ":" not in name]
        if len(tags) < _MANY_TAGS:
            return
        with suppress(StoreError):  # One by one they tell what is wrong with which.
            goal.named |= await goal.target.push_tags(raw, tags, goal.fence)

    async def _put_at(self, raw: RawManifest, goal: TargetProgress, identifier: str) -> CopyFailed | None:
        try:
            await goal.target.push_manifest(raw, identifier, None if ":" in identifier else goal.fence)
        except StoreError as error:
            return _at_target(error, "push manifest")
        if identifier in goal.identifiers:
            goal.named.add(identifier)
        return None

    async def _blob(self, image: SourceImage, blob: Descriptor, goals: Sequence[TargetProgress]) -> None:
        """Make sure that the target repositories hold *blob*."""
        by_key = {(goal.repository, blob.digest): goal for goal in alive(goals)}
        content = SourceBlob(blob, image.origin, image.source, self._reader)
        claim = self._blobs.claim(by_key)
        while claim.pending:
            async with claim as mine:
                if mine:
                    failures = await self._placement.place(content, [by_key[key] for key in mine])
                    claim.failures |= {key: failures[by_key[key]] for key in mine if by_key[key] in failures}
        for key, goal in by_key.items():
            failure = claim.failures.get(key)
            if isinstance(failure, CopyFailed):
                goal.failure = failure
            elif key not in claim.own:
                goal.count(existing=blob.size or 0)


def _fail_all(goals: Iterable[TargetProgress], failure: CopyFailed) -> None:
    for goal in alive(goals):
        goal.failure = failure


def _too_slow(planned: PlannedCopy, seconds: float | None) -> CopyFailed:
    error = Unavailable(
        f"{planned.copy.source}: not copied within the {seconds or 0:g} s that one image may take",
        remedy="give it more time with --image-timeout, or timeouts.image of the file",
    )
    return CopyFailed(error, side=None, step="copy")


def _at_target(error: StoreError, step: str) -> CopyFailed:
    failure = CopyFailed(error, side="target", step=step)
    failure.__cause__ = error
    return failure


def _unless_missing(goal: TargetProgress, failure: CopyFailed | None) -> CopyFailed | None:
    """Return *failure* if it is that content was missing; another one ends *goal*."""
    if failure is not None and isinstance(failure.cause, MissingContent):
        return failure
    goal.failure = failure
    return None
