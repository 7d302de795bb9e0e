"""Looks at one image in a repository: its platforms and blobs, and what is attached to it. Reads, never writes."""

from collections.abc import Awaitable, Callable
from typing import Final

from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Index, Manifest, Platform, RawManifest, Reference, Repository
from image_syncer.oci import media_type as types
from image_syncer.oci.manifest import platform_of_config
from image_syncer.oci.referrer import ReferrerKind, kind_of, referrer_entry
from image_syncer.roles import Attachment, ReferrerStores, Stores
from image_syncer.structs import Struct, field
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.referrer_discovery import ReferrerDiscovery, kind_of_attachment, subjects_of
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS

SIGNATURES_LIMIT: Final = 100
"""How many attached manifests of one image are read for their signers."""


class Inspection(Struct):
    """The manifest that a reference names, its platforms, and the number and size of all their blobs."""

    reference: Reference
    manifest: RawManifest
    platforms: tuple[tuple[Platform, Descriptor], ...] = field(default=())
    blobs: int = 0
    size_bytes: int = 0


class AttachedManifest(Struct):
    """A manifest that is attached to another one: its kind, and the size of it and of its blobs in bytes.

    *attachment* says to what, and by which legacy tag. *manifest* is None if it cannot be read, for *problem*.
    *attached* are its own referrers. *signers* are the names that its signatures give, unverified; None if
    nothing reads them.
    """

    attachment: Attachment
    kind: ReferrerKind
    size_bytes: int
    manifest: RawManifest | None = None
    problem: str = ""
    attached: tuple["AttachedManifest", ...] = ()
    signers: tuple[str, ...] | None = None


class AttachmentTree(Struct):
    """What is attached to the image *reference*, by the manifest of the image that it belongs to.

    *names* are the names of those manifests: their platforms; empty for the image itself.
    """

    reference: Reference
    manifest: RawManifest
    names: tuple[tuple[Descriptor, str], ...]
    attached: dict[str, tuple[AttachedManifest, ...]]


ReadSigners = Callable[[RawManifest, Callable[[Descriptor], Awaitable[bytes]]], Awaitable[tuple[str, ...]]]
"""Returns the names that the signatures in a manifest give, by a function that reads its blobs."""


class Inspector:
    """Reads images from *stores*, and the names of signers by *read_signers*; None reads none."""

    def __init__(self, stores: Stores, referrers: ReferrerStores, read_signers: ReadSigners | None = None) -> None:
        self._stores = stores
        self._read_signers = read_signers
        self._signatures_left = SIGNATURES_LIMIT
        self._reader = ManifestReader(stores)
        self._discovery = ReferrerDiscovery(referrers, self._reader)

    async def inspect(self, reference: Reference) -> Inspection:
        """Return the image or index that *reference* names; reads manifests and configs, no layers."""
        manifest = await self._stores.source(reference.repository).manifest(reference.identifier)
        platforms: list[tuple[Platform, Descriptor]] = []
        blobs: dict[str, int] = {}
        for entry in _images(manifest):
            if not entry.is_manifest:  # A blob of a BuildKit cache.
                blobs[str(entry.digest)] = entry.size or 0
                continue
            parsed = (await self._reader.read(reference.repository, str(entry.digest))).parse()
            if isinstance(parsed, Manifest):
                blobs |= {str(blob.digest): blob.size or 0 for blob in parsed.blobs}
                platforms.append((entry.platform or await self._platform(reference.repository, parsed), entry))
        return Inspection(reference, manifest, tuple(platforms), len(blobs), sum(blobs.values()))

    async def attached(self, reference: Reference) -> AttachmentTree:
        """Return what is attached to the image *reference* and to its manifests; reads blobs of signatures only."""
        repository = reference.repository
        manifest = await self._stores.source(repository).manifest(reference.identifier)
        subjects = await subjects_of(self._reader, repository, manifest)
        found = await self._discovery.find(repository, manifest.digest, subjects, DEFAULT_REFERRERS)
        by_subject: dict[str, list[Attachment]] = {}
        for attachment in found.attachments:
            by_subject.setdefault(str(attachment.subject), []).append(attachment)
        names = [(manifest.descriptor, "")]
        names += [(entry, _name(entry)) for entry in _images(manifest) if entry.digest != manifest.digest]
        trees = {str(entry.digest): await self._trees(repository, by_subject, str(entry.digest)) for entry, _ in names}
        return AttachmentTree(reference, manifest, tuple(names), trees)

    async def _trees(
        self, repository: Repository, by_subject: dict[str, list[Attachment]], subject: str
    ) -> tuple[AttachedManifest, ...]:
        # Each subject is taken out, so that a cycle of referrers ends.
        return tuple([await self._tree(repository, by_subject, one) for one in by_subject.pop(subject, [])])

    async def _tree(
        self, repository: Repository, by_subject: dict[str, list[Attachment]], attachment: Attachment
    ) -> AttachedManifest:
        manifest, problem, size_bytes, kind = None, "", attachment.entry.size or 0, kind_of_attachment(attachment)
        try:
            manifest = await self._reader.read(repository, str(attachment.entry.digest))
            parsed = manifest.parse()
            if not attachment.tag:  # The list of the tag schema may lack what the manifest says of itself.
                kind = kind_of(referrer_entry(manifest))
            if isinstance(parsed, Manifest):
                size_bytes += sum(blob.size or 0 for blob in parsed.blobs)
        except CopyFailed as failure:
            problem = failure.cause.message
        except StoreError as error:
            problem = error.message
        signers = await self._signers(repository, manifest)
        below = await self._trees(repository, by_subject, str(attachment.entry.digest))
        return AttachedManifest(attachment, kind, size_bytes, manifest, problem, below, signers)

    async def _signers(self, repository: Repository, manifest: RawManifest | None) -> tuple[str, ...] | None:
        if self._read_signers is None or manifest is None or not self._signatures_left:
            return None
        try:
            names = await self._read_signers(manifest, lambda blob: self._reader.read_blob(repository, blob))
        except CopyFailed:
            return None
        self._signatures_left -= bool(names)
        return names

    async def _platform(self, repository: Repository, manifest: Manifest) -> Platform:
        config = manifest.config
        if config is None or config.media_type not in types.IMAGE_CONFIGS:
            return Platform()
        return platform_of_config(await self._reader.read_config(repository, config))


def _images(manifest: RawManifest) -> list[Descriptor]:
    """Return the images of an index, or the image itself."""
    parsed = manifest.parse()
    if isinstance(parsed, Index):
        return [entry for entry in parsed.manifests if not entry.is_index]
    return [manifest.descriptor]


def _name(entry: Descriptor) -> str:
    if entry.attested_digest:
        return "attestation"
    return str(entry.platform) if entry.platform is not None else entry.media_type
