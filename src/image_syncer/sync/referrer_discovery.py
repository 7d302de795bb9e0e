"""Finds what is attached to an image at its source: referrers, referrers of referrers, and cosign's legacy tags."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, ProtocolError, StoreError, TooLarge
from image_syncer.oci import Descriptor, Digest, Index, Manifest, RawManifest, Repository
from image_syncer.oci.referrer import (
    REFERRERS_DEPTH_LIMIT,
    ReferrerKind,
    has_unknown_kind,
    kind_of,
    kind_of_legacy_tag,
    list_digest,
    referrer_entry,
)
from image_syncer.roles import Attachment, ReferrerSource, ReferrerStores
from image_syncer.structs import Struct, field
from image_syncer.sync.copy_failures import is_temporary
from image_syncer.sync.manifest_reader import LruBytes, ManifestReader
from image_syncer.sync.referrer_settings import ReferrerSettings

ATTACHMENTS_LIMIT: Final = 10_000
"""The most that is followed of one image."""

BLOB_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""The largest blob of an attached manifest that is read into memory, to verify it."""

KINDS_READ_LIMIT: Final = 100
"""How many attached manifests of one image are read for their kind, where their list does not tell it."""

_LOOKS_AT_ONCE: Final = 8
_KEPT_IMAGES: Final = 1_000


class Attached(Struct):
    """What is attached to an image: each manifest before its own referrers. *listed* changes whenever this does.

    *began* is the time of the search (`time.monotonic`). *problem* is the reason why the search failed for good.
    """

    attachments: tuple[Attachment, ...] = ()
    listed: Digest = field(default_factory=lambda: list_digest((), {}))
    began: float = 0.0
    problem: str = ""


Subjects = Mapping[Digest, Collection[Digest]]
"""The manifests of an image, each with the digests of its entries if it is an index."""


async def subjects_of(reader: ManifestReader, origin: Repository, root: RawManifest) -> Subjects:
    """Return the manifests of the image *root* in the source repository *origin*; `CopyFailed`."""
    found: dict[Digest, Collection[Digest]] = {}
    pending = [root]
    while pending:
        raw = pending.pop()
        parsed = raw.parse()
        entries = parsed.manifests if isinstance(parsed, Index) else ()
        found[raw.digest] = frozenset(entry.digest for entry in entries)
        for entry in entries:
            if entry.is_manifest and entry.digest not in found:
                found[entry.digest] = ()
                if entry.is_index:
                    pending.append(await reader.read(origin, str(entry.digest)))
    return found


class ReferrerDiscovery:
    """Finds attachments at the sources in *stores*; each image once for all its targets.

    *reader* reads manifests whose kind matters and is in no list.
    """

    def __init__(self, stores: ReferrerStores, reader: ManifestReader) -> None:
        self._stores = stores
        self._reader = reader
        self._finding: SingleFlight[tuple[Repository, Digest, ReferrerSettings], Attached] = SingleFlight()
        self._found: LruBytes[tuple[Repository, Digest, ReferrerSettings], Attached] = LruBytes(_KEPT_IMAGES)

    async def find(
        self,
        repository: Repository,
        root: Digest,
        subjects: Subjects,
        settings: ReferrerSettings,
        *,
        since: float = 0.0,
    ) -> Attached:
        """Return what is attached to *subjects*, the manifests of the image *root* in the source *repository*.

        Only what *settings* select; what is attached to something that they leave out is left out too. `CopyFailed` at
        step "find referrers". What an earlier search found counts only if it began *since* then (`time.monotonic`).
        """
        key = repository, root, settings
        known = self._found.find(key)
        while known is None or known.began < since:
            known = await self._finding.do(key, lambda: self._search(repository, subjects, settings))
            self._found.forget(key)
            self._found.keep(key, known, 1)
        return known

    async def _search(self, repository: Repository, subjects: Subjects, settings: ReferrerSettings) -> Attached:
        holder, began = settings.source_of(repository), time.monotonic()
        attachments = SourceAttachments(self._reader, holder)
        search = _Search(self._stores.referrer_source(holder), attachments, settings, seen=set(subjects))
        level: Subjects = subjects
        try:
            for _ in range(REFERRERS_DEPTH_LIMIT):
                level = await search.look(level)
                if not level:
                    break
        except StoreError as error:
            raise CopyFailed(error, side="source", step="find referrers") from error
        referrers = [one.entry for one in search.found if not one.tag]
        tags = {one.tag: one.entry.digest for one in search.found if one.tag}
        return Attached(tuple(search.found), list_digest(referrers, tags), began)


class _Search(Struct, frozen=False):
    """One search through *source*: what it *found*, and the manifests that it has *seen*, so that cycles end."""

    source: ReferrerSource
    reader: "SourceAttachments"
    settings: ReferrerSettings
    seen: set[Digest]
    found: list[Attachment] = field(default_factory=list[Attachment])
    kinds_read: int = 0

    async def look(self, subjects: Subjects) -> Subjects:
        """Add what is attached to *subjects*; return the new manifests, whose own referrers come next."""
        chosen: dict[Digest, list[Attachment]] = {}
        total = len(self.found)

        async def look_at(subject: Digest) -> None:
            nonlocal total
            chosen[subject] = await self._choose(subject, subjects[subject])
            total += len(chosen[subject])
            if total > ATTACHMENTS_LIMIT:  # Now, not after the level: each of 1 000 subjects may list 1 000.
                raise TooLarge(f"more than {ATTACHMENTS_LIMIT} manifests are attached to one image")

        await for_each(subjects, look_at, width=min(len(subjects), _LOOKS_AT_ONCE))
        further: dict[Digest, Collection[Digest]] = {}
        for subject in subjects:  # In the order of the image, whatever came first.
            self.found += chosen[subject]
            further |= {one.entry.digest: () for one in chosen[subject] if one.entry.digest not in self.seen}
            self.seen.update(further)
        return further

    async def _choose(self, subject: Digest, children: Collection[Digest]) -> list[Attachment]:
        """Return what is attached to *subject* and is selected."""
        referrers = await self._with_kinds(subject, await self.source.referrers(subject, children))
        chosen = [Attachment(subject, entry) for entry in referrers if self.settings.selects(entry)]
        if self.settings.legacy_tags:
            tags = await self.source.legacy_tags(subject)
            chosen += [Attachment(subject, entry, tag) for tag, entry in tags.items() if self._selects_tag(tag)]
        return chosen

    async def _with_kinds(self, subject: Digest, listed: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return the entries *listed*, with what their manifests say if that decides whether they are copied."""
        if not self.settings.selects_by_kind:
            return tuple(listed)
        return tuple([await self._with_kind(subject, entry) for entry in listed])

    async def _with_kind(self, subject: Digest, entry: Descriptor) -> Descriptor:
        if not has_unknown_kind(entry) or self.kinds_read >= KINDS_READ_LIMIT:
            return entry
        self.kinds_read += 1
        try:
            return referrer_entry(await self.reader.manifest(Attachment(subject, entry)))
        except ProtocolError:
            return entry  # It names another subject; copying it fails for that reason.
        except CopyFailed as failure:
            if is_temporary(failure.cause):
                raise
            return entry

    def _selects_tag(self, tag: str) -> bool:
        return self.settings.selects_type("", kind_of_legacy_tag(tag))


class SourceAttachments:
    """Reads attached manifests and their blobs in the source *repository* (`roles.AttachmentReader`)."""

    def __init__(self, reader: ManifestReader, repository: Repository) -> None:
        self._reader = reader
        self._repository = repository

    async def manifest(self, attachment: Attachment) -> RawManifest:
        """Return the attached manifest; `ProtocolError` if it is listed for a subject that it does not name."""
        raw = await self._reader.read(self._repository, str(attachment.entry.digest))
        subject = raw.parse().subject
        if not attachment.tag and (subject is None or subject.digest != attachment.subject):
            what = self._repository.at(raw.digest)
            raise ProtocolError(f"{what}: listed as a referrer of {attachment.subject}, which it does not name")
        return raw

    async def blob(self, attachment: Attachment, blob: Descriptor) -> bytes:
        """Return the verified content of *blob*; `TooLarge` above 32 MiB."""
        if blob.size is None or blob.size > BLOB_LIMIT_BYTES:
            what = f"{attachment.entry.digest}: its blob {blob.digest}"
            raise TooLarge(f"{what} is larger than {BLOB_LIMIT_BYTES // 1024**2} MiB")
        return await self._reader.read_blob(self._repository, blob)


def kind_of_attachment(attachment: Attachment) -> ReferrerKind:
    """Return what *attachment* is, for reports."""
    return kind_of_legacy_tag(attachment.tag) if attachment.tag else kind_of(attachment.entry)


def blobs_of(raw: RawManifest) -> tuple[Descriptor, ...]:
    """Return the blobs that an attached manifest names; empty for an index."""
    parsed = raw.parse()
    return parsed.blobs if isinstance(parsed, Manifest) else ()
