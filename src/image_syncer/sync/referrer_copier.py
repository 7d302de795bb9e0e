"""Finds what is attached to an image, asks the gate of its rule, and copies it: after the manifests, before the tags.

A permanent refusal is part of the report, and the image is copied all the same (unless the rule says `required`).
Temporary trouble fails the image, so that it is tried again and no signature is lost.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, NotTrusted, Refused, StoreError
from image_syncer.oci import Descriptor, Digest, RawManifest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.roles import Attachment, GatedImage, Stores
from image_syncer.structs import replace
from image_syncer.sync.attached_image import AttachedImage, manifests_of
from image_syncer.sync.attestations import attest_copies
from image_syncer.sync.blob_placer import BlobPlacer
from image_syncer.sync.copy_failures import at_source, at_target, is_temporary
from image_syncer.sync.copy_state import CopyOptions, SourceImage, TargetProgress
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.referrer_carriage import PUSH_STEP, READ_STEP, Carriage, CarriedSubjects, Fate
from image_syncer.sync.referrer_discovery import Attached, ReferrerDiscovery, SourceAttachments, kind_of_attachment
from image_syncer.sync.referrer_report import SUBJECT_CHANGED, ReferrerProblem, ReferrerReport, counts, plain_report
from image_syncer.sync.rule_trust import ReferrerAccess

TRUST_STEP: Final = "trust"

_SUBJECTS_AT_ONCE: Final = 4
_REASON_LIMIT: Final = 500
_NOT_COPIED: Final = "its subject was not copied"


class ReferrerCopier:
    """Copies attachments between *stores* with what *access* has; one object serves a whole run."""

    def __init__(self, stores: Stores, access: ReferrerAccess, reader: ManifestReader, blobs: BlobPlacer) -> None:
        self._stores = stores
        self._access = access
        self._reader = reader
        self._blobs = blobs
        self._discovery = ReferrerDiscovery(access.stores, reader)
        self._subjects = CarriedSubjects()

    def is_wanted(self, copies: Sequence[PlannedCopy], goal: TargetProgress) -> bool:
        """Whether a rule of *copies* asks for anything about referrers, and the target may lack some of them."""
        if any(one.copy.rule in self._access.trust for one in copies):
            return True
        settings, origin = copies[0].copy.referrers, copies[0].copy.source.repository
        is_same = goal.is_source and settings.source_of(origin) == origin and settings.target is None
        return settings.enabled and not is_same

    async def find(
        self, planned: PlannedCopy, image: SourceImage, root: RawManifest, options: CopyOptions
    ) -> AttachedImage:
        """Return what is attached to the image of *planned*; *root* is its root at the target. `CopyFailed`."""
        settings, gate = planned.copy.referrers, self._access.trust_of(planned.copy.rule).gate
        manifests = await manifests_of(self._reader, image.origin, image.source_root, root, image.rewritten)
        found = Attached()
        if settings.enabled or gate is not None:
            searched = settings if gate is None else settings.without_selection()
            subjects, digest = manifests.subjects, image.source_root.digest
            try:
                found = await self._discovery.find(image.origin, digest, subjects, searched, since=options.since)
            except CopyFailed as failure:
                if gate is not None or settings.required or is_temporary(failure.cause):
                    raise
                found = replace(found, problem=failure.cause.message)
        return AttachedImage(image.origin, image.source_root.digest, manifests, found, settings)

    async def check(self, planned: PlannedCopy, attached: AttachedImage) -> None:
        """Ask the gate of the rule of *planned*, if any; `CopyFailed` at step "trust" if it refuses the image."""
        gate = self._access.trust_of(planned.copy.rule).gate
        if gate is None:
            return
        reader = SourceAttachments(self._reader, attached.settings.source_of(attached.origin))
        manifests = attached.manifests
        gated = GatedImage(
            planned.copy.source,
            attached.root,
            frozenset(manifests.subjects),
            attached.found.attachments,
            reader,
            manifests.platforms,
        )
        try:
            await gate.check(gated)
        except NotTrusted as error:
            raise at_source(error, TRUST_STEP) from error
        except StoreError as error:
            raise at_source(error, READ_STEP) from error

    def needs_root(self, attached: AttachedImage, copies: Iterable[PlannedCopy], goal: TargetProgress) -> bool:
        """Whether the root must be at the target by its digest before its tags, since something belongs to it."""
        if any(self._access.trust_of(one.copy.rule).attester is not None for one in copies):
            return True
        return attached.reaches_target and attached.settings.target_of(goal.repository) == goal.repository

    async def carry(
        self,
        attached: AttachedImage,
        copies: Sequence[PlannedCopy],
        goal: TargetProgress,
        options: CopyOptions,
        root: Descriptor,
        *,
        look_first: bool = False,
    ) -> ReferrerReport | None:
        """Copy what is attached to the repository of *goal*, and attest *copies* of the image *root* there.

        `CopyFailed`. Returns None if the rule copies no referrers. *look_first* as for `Carriage`.
        """
        report = None
        if attached.settings.enabled:
            report = _report(attached, await self._carry_all(attached, goal, options, look_first=look_first))
            if report.refused and attached.settings.required:
                first = report.refused[0]
                message = f"{len(report.refused)} of its referrers refused: {first.kind} {first.digest}: {first.reason}"
                remedy = "set required: false for the rule, to copy the image without them"
                raise at_target(Refused(message, remedy=remedy), PUSH_STEP)
        await attest_copies(self._access, copies, goal, root)
        return report

    def report_left(self, attached: AttachedImage, reason: str) -> ReferrerReport | None:
        """Return the report if nothing can be copied for *reason*; None if the rule copies no referrers."""
        if not attached.settings.enabled:
            return None
        return _report(attached, [Fate(one, not_carried=reason) for one in attached.selected])

    async def _carry_all(
        self, attached: AttachedImage, goal: TargetProgress, options: CopyOptions, *, look_first: bool
    ) -> Sequence[Fate]:
        carriage = self._carriage(attached, goal, look_first=look_first)
        there = set(attached.manifests.kept)
        fates: list[Fate] = []
        for level in _levels(attached):
            by_subject: dict[Digest, list[Attachment]] = {}
            for one in level:
                if one.subject in there:
                    by_subject.setdefault(one.subject, []).append(one)
                else:
                    changed = one.subject in attached.manifests.subjects
                    fates.append(Fate(one, not_carried=SUBJECT_CHANGED if changed else _NOT_COPIED))

            async def carry(item: tuple[Digest, list[Attachment]]) -> None:
                fates.extend(await self._subjects.carry(carriage, *item, options.since))

            await for_each(by_subject.items(), carry, width=min(len(by_subject), _SUBJECTS_AT_ONCE))
            there |= {fate.attachment.entry.digest for fate in fates if fate.is_there}
        return fates

    def _carriage(self, attached: AttachedImage, goal: TargetProgress, *, look_first: bool) -> Carriage:
        origin = attached.settings.source_of(attached.origin)
        repository = attached.settings.target_of(goal.repository)
        return Carriage(
            (origin, self._stores.source(origin)),
            repository,
            self._stores.target(repository),
            self._access.stores.referrer_target(repository),
            goal,
            reader=self._reader,
            blobs=self._blobs,
            held=self._stores.source(repository),
            cache=self._access.cache,
            look_first=look_first,
        )


def _levels(attached: AttachedImage) -> list[list[Attachment]]:
    """Return the selected attachments by depth: what belongs to the image, then what belongs to that, and so on."""
    depths = dict.fromkeys(attached.manifests.subjects, 0)
    levels: list[list[Attachment]] = []
    for one in attached.selected:
        depth = depths[one.subject] + 1
        depths.setdefault(one.entry.digest, depth)
        if depth > len(levels):
            levels.append([])
        levels[depth - 1].append(one)
    return levels


def _report(attached: AttachedImage, fates: Sequence[Fate]) -> ReferrerReport:
    source = counts(kind_of_attachment(fate.attachment) for fate in fates)
    target = counts(kind_of_attachment(fate.attachment) for fate in fates if fate.is_there)
    copied = sum(fate.is_new for fate in fates)
    refused = tuple(_problem(fate, fate.refused) for fate in fates if fate.refused)
    left = tuple(_problem(fate, fate.not_carried) for fate in fates if fate.not_carried)
    if attached.found.problem:
        digest = attached.root
        left = (*left, ReferrerProblem(digest, ReferrerKind.OTHER, attached.found.problem[:_REASON_LIMIT]))
    if not refused and not left:
        return plain_report(source, target, copied)
    return ReferrerReport(source, target, copied, refused, left)


def _problem(fate: Fate, reason: str) -> ReferrerProblem:
    return ReferrerProblem(fate.attachment.entry.digest, kind_of_attachment(fate.attachment), reason[:_REASON_LIMIT])
