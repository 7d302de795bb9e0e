"""Carries attached manifests to one repository: subject by subject, each level after the one that it belongs to."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, MissingContent, NotFound, ProtocolError, Refused, StoreError
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest, Repository
from image_syncer.oci.referrer import referrer_entry
from image_syncer.roles import Attachment, Fence, ReferrerCache, ReferrerTarget, Source, Target
from image_syncer.structs import Struct, replace
from image_syncer.sync.blob_placer import BlobPlacer
from image_syncer.sync.copy_failures import at_target, is_temporary
from image_syncer.sync.copy_state import TargetProgress
from image_syncer.sync.fan_out import FanOut
from image_syncer.sync.manifest_reader import LruBytes, ManifestReader
from image_syncer.sync.platform_filter import check_depth
from image_syncer.sync.referrer_discovery import SourceAttachments

T = TypeVar("T")

PUSH_STEP: Final = "push referrer"
READ_STEP: Final = "read referrer"

_PUSHES_AT_ONCE: Final = 4
_KEPT_SUBJECTS: Final = 2_000


class Fate(Struct):
    """What became of one attachment: it is at the target (*is_new*: by this copy), or there is a reason why not."""

    attachment: Attachment
    is_new: bool = False
    refused: str = ""
    not_carried: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the target has it."""
        return not self.refused and not self.not_carried


SubjectKey = tuple[Repository, Digest, tuple[tuple[Digest, str], ...], float]
"""A repository, a subject, what is to be attached to it, and the time of the run."""


class CarriedSubjects:
    """Carries what belongs to a subject once per repository and run, for all the images that contain it."""

    def __init__(self) -> None:
        self._running: SingleFlight[SubjectKey, Sequence[Fate]] = SingleFlight(share_failures=False)
        self._done: LruBytes[SubjectKey, Sequence[Fate]] = LruBytes(_KEPT_SUBJECTS)

    async def carry(
        self, carriage: "Carriage", subject: Digest, attachments: Sequence[Attachment], since: float
    ) -> Sequence[Fate]:
        """Carry the *attachments* of *subject*, unless that was done since the run began; `CopyFailed`."""
        key = carriage.repository, subject, tuple((one.entry.digest, one.tag) for one in attachments), since
        done = self._done.find(key)
        if done is not None:
            return done

        async def work() -> Sequence[Fate]:
            fates = await carriage.carry_subject(subject, attachments)
            self._done.keep(key, [replace(one, is_new=False) for one in fates], 1)
            return fates

        return await self._running.do(key, work)


class Carriage:
    """Carries attachments from *origin* to *repository*. *goal* counts the bytes, and has the fence.

    With *look_first* the target is asked which referrers it has, since most of them are probably there.
    """

    def __init__(  # noqa: PLR0913 - what a copy between two repositories needs
        self,
        origin: tuple[Repository, Source],
        repository: Repository,
        target: Target,
        referrers: ReferrerTarget,
        goal: TargetProgress,
        *,
        reader: ManifestReader,
        blobs: BlobPlacer,
        held: Source,
        cache: ReferrerCache | None,
        look_first: bool,
    ) -> None:
        self.repository = repository
        self._origin, self._source = origin
        self._target = target
        self._referrers = referrers
        self._goal = goal
        self._reader = reader
        self._attachments = SourceAttachments(reader, self._origin)
        self._blobs = blobs
        self._held = held
        self._cache = cache
        self._look_first = look_first

    @property
    def _fence(self) -> Fence | None:
        return self._goal.fence

    async def carry_subject(self, subject: Digest, attachments: Sequence[Attachment]) -> Sequence[Fate]:
        """Copy the *attachments* of *subject*, and list those that the registry does not list by itself."""
        there = await self._existing(subject, attachments)
        fates: dict[tuple[Digest, str], Fate] = {}
        unlisted: list[Descriptor] = []

        async def carry(one: Attachment) -> None:
            is_there = not one.tag and one.entry.digest in there
            fates[one.entry.digest, one.tag] = Fate(one) if is_there else await self._carry_one(one, unlisted)

        await for_each(attachments, carry, width=min(len(attachments), _PUSHES_AT_ONCE))
        if unlisted:
            failure = await self._list(subject, unlisted)
            if failure is not None:
                for entry in unlisted:
                    fates[entry.digest, ""] = replace(fates[entry.digest, ""], is_new=False, refused=failure)
        return list(fates.values())

    async def _existing(self, subject: Digest, attachments: Sequence[Attachment]) -> frozenset[Digest]:
        if not self._look_first or all(one.tag for one in attachments):
            return frozenset()
        try:
            return frozenset(entry.digest for entry in await self._referrers.referrers(subject))
        except StoreError as error:
            raise at_target(error, "find referrers") from error

    async def _carry_one(self, one: Attachment, unlisted: list[Descriptor]) -> Fate:
        try:
            raw = await self._attachments.manifest(one)
        except CopyFailed as failure:
            if is_temporary(failure.cause):
                raise
            return Fate(one, not_carried=failure.cause.message)
        except StoreError as error:  # It is no referrer of this subject, or no manifest.
            return Fate(one, not_carried=error.message)
        try:
            if one.tag:
                return await self._carry_tag(one, raw)
            await self._push(raw)
            one = replace(one, entry=referrer_entry(raw))  # The source's list may lack the type and annotations.
            if not await self._push_last(raw):
                unlisted.append(one.entry)
        except CopyFailed as failure:
            if is_temporary(failure.cause):
                raise
            if failure.side == "source":
                return Fate(one, not_carried=failure.cause.message)
            return Fate(one, refused=failure.cause.message)
        return Fate(one, is_new=True)

    async def _push_last(self, raw: RawManifest) -> bool:
        """Push the referrer *raw*, whose parts are at the target; whether the registry lists it by itself."""
        return await self._put(raw, partial(self._referrers.push_referrer, raw, self._fence))

    async def _put(
        self, raw: RawManifest, put: Callable[[], Awaitable[T]], *, trusted: bool = True, depth: int = 1
    ) -> T:
        """Push *raw* by *put*, a second time if the target lacks parts of it after all; `CopyFailed`.

        A part may be gone, or be uploaded by another client at this moment. Nothing below *raw* is put a third time.
        """
        try:
            return await put()
        except MissingContent as error:
            if not trusted:
                raise at_target(error, PUSH_STEP) from error
            await self._push(raw, trusted=False, depth=depth)
        except StoreError as error:
            raise at_target(error, PUSH_STEP) from error
        try:
            return await put()
        except StoreError as error:
            raise at_target(error, PUSH_STEP) from error

    async def _push(self, raw: RawManifest, *, trusted: bool = True, depth: int = 1) -> None:
        """Make the target hold everything that *raw* names; `CopyFailed`."""
        match raw.parse():
            case Index(manifests):
                check_depth(depth, raw)
                for entry in {entry.digest: entry for entry in manifests}.values():
                    await self._push_child(entry, trusted=trusted, depth=depth + 1)
            case Manifest() as manifest:
                await self._place(manifest.blobs, trusted=trusted)

    async def _push_child(self, entry: Descriptor, *, trusted: bool, depth: int) -> None:
        if not entry.is_manifest:
            await self._place((entry,), trusted=trusted)
            return
        raw = await self._reader.read(self._origin, str(entry.digest))
        await self._push(raw, trusted=trusted, depth=depth)
        by_digest = partial(self._target.push_manifest, raw, str(raw.digest))
        await self._put(raw, by_digest, trusted=trusted, depth=depth)

    async def _place(self, blobs: Sequence[Descriptor], *, trusted: bool) -> None:
        """Place blobs apart from those of the image: their failure is not that of the image."""
        goal = self._goal
        part = TargetProgress(self.repository, self._target, [], FanOut(()), trusted=trusted, ways=goal.ways)
        if goal.mount_origin is not None and goal.mount_origin.registry == self.repository.registry:
            part.mount_origin = Repository(self.repository.registry, self._origin.path)
        if not trusted:
            for blob in blobs:
                self._blobs.forget(self.repository, blob.digest)
        await self._blobs.place_all(blobs, self._origin, self._source, part)
        goal.transferred += part.transferred
        goal.attached += part.transferred
        if part.failure is not None:
            raise part.failure

    async def _list(self, subject: Digest, entries: Sequence[Descriptor]) -> str | None:
        """List *entries* in the index of the tag schema; return the reason if the target refuses that for good."""
        try:
            await self._referrers.list_referrers(subject, entries, self._fence)
        except StoreError as error:
            if is_temporary(error):
                raise at_target(error, PUSH_STEP) from error
            return error.message
        return None

    async def _carry_tag(self, one: Attachment, raw: RawManifest) -> Fate:
        """Copy a legacy tag of cosign, unless the target has another one that this tool did not write."""
        try:
            existing = await self._target.resolve(one.tag)
            if existing is not None and existing.digest == raw.digest:
                return Fate(one)
            if existing is not None and not await self._may_replace(one.tag, existing.digest, raw):
                kept = f"the target's own {one.tag} is kept: this tool did not write it, and it has other layers"
                return Fate(one, refused=kept)
        except StoreError as error:
            raise at_target(error, PUSH_STEP) from error
        await self._push(raw)
        await self._put(raw, partial(self._target.push_manifest, raw, one.tag, self._fence))
        if self._cache is not None:
            self._cache.record_written_tag(self.repository, one.tag, raw.digest)
        return Fate(one, is_new=True)

    async def _may_replace(self, tag: str, existing: Digest, raw: RawManifest) -> bool:
        """Whether the legacy *tag*, which names *existing* now, is ours, or all its layers are in *raw* too."""
        written: Mapping[str, Digest] = {}
        if self._cache is not None:
            written = await self._cache.written_tags(self.repository)
        if written.get(tag) == existing:
            return True
        try:
            held = (await self._held.manifest(str(existing))).parse()
        except NotFound:
            return True  # It was deleted meanwhile.
        except (ProtocolError, Refused):
            return False
        new = raw.parse()
        if not isinstance(held, Manifest) or not isinstance(new, Manifest):
            return False
        return {layer.digest for layer in held.layers} <= {layer.digest for layer in new.layers}
