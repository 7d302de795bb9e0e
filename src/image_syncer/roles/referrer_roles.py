"""The roles about what is attached to images: referrers at both sides, gates and attesters."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from image_syncer.oci import Descriptor, Digest, RawManifest, Reference, Repository
from image_syncer.roles.hints import ConfirmedCopy
from image_syncer.roles.repositories import Fence
from image_syncer.structs import Struct


class ReferrerSource(Protocol):
    """What is attached to the manifests of a repository, at the source."""

    async def referrers(self, subject: Digest, children: Collection[Digest] = ()) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is *subject*, by the referrers API or else by the tag schema.

        Each has its artifact type and its annotations, as far as the list states them. Empty without any. *children*
        are the entries of *subject*, if that is an index: a list of them is no list of referrers.
        """
        ...

    async def legacy_tags(self, subject: Digest) -> Mapping[str, Descriptor]:
        """Return cosign's legacy tags of *subject* that exist; without a request if the tag list was read before."""
        ...

    def listed_referrer_tags(self) -> Collection[str]:
        """Return the tags of the tag schema and of cosign in the last list of tags; empty if none was read."""
        ...


class ReferrerTarget(ReferrerSource, Protocol):
    """What is attached to the manifests of a repository, at the target."""

    async def push_referrer(self, manifest: RawManifest, fence: Fence | None = None) -> bool:
        """Store *manifest*, which has a subject, by its digest; whether the registry lists it by itself.

        If not, call `list_referrers`. *fence* as in `Target.push_manifest`.
        """
        ...

    async def list_referrers(self, subject: Digest, entries: Sequence[Descriptor], fence: Fence | None = None) -> None:
        """Add *entries* to the index of the tag schema of *subject*, keeping what others put there meanwhile."""
        ...


class ReferrerStores(Protocol):
    """Gives access to what is attached to the manifests of every repository."""

    def referrer_source(self, repository: Repository) -> ReferrerSource:
        """Return *repository* as a source of referrers."""
        ...

    def referrer_target(self, repository: Repository) -> ReferrerTarget:
        """Return *repository* as a target of referrers."""
        ...


class Attachment(Struct):
    """A manifest that is attached to *subject*, as the source has it: at depth 1 to the image or one of its manifests.

    *entry* is its entry in the list of referrers. *tag* is the legacy tag of cosign that names it; empty for referrers.
    """

    subject: Digest
    entry: Descriptor
    tag: str = ""


class AttachmentReader(Protocol):
    """Reads attached manifests and their blobs at the source; each is read once per run."""

    async def manifest(self, attachment: Attachment) -> RawManifest:
        """Return the attached manifest, verified."""
        ...

    async def blob(self, attachment: Attachment, blob: Descriptor) -> bytes:
        """Return the content of *blob*, verified; `TooLarge` above 32 MiB."""
        ...


class GatedImage(Struct):
    """An image that a gate decides about: its *root* at the source, and all that is attached to its manifests.

    *manifests* are the digests of the image: the root, and each entry if it is an index. *platforms* are those entries
    that are images of a platform; empty without an index.
    """

    source: Reference
    root: Digest
    manifests: frozenset[Digest]
    attachments: Sequence[Attachment]
    reader: AttachmentReader
    platforms: frozenset[Digest] = frozenset()


class Gate(Protocol):
    """Decides whether an image may reach its targets, by what is attached to it (`trust:` of a rule)."""

    @property
    def settings(self) -> str:
        """A short text that changes with the gate's settings, keys included; a secret cannot be derived from it."""
        ...

    async def check(self, image: GatedImage) -> None:
        """Return if the image may be copied; `NotTrusted` with the reason otherwise."""
        ...


class MadeReferrer(Struct):
    """A referrer that this tool made: the manifest and the blobs that it names."""

    manifest: RawManifest
    blobs: Mapping[Digest, bytes]


class Attester(Protocol):
    """Makes the signed statement that an image was copied (`attest:` of a rule)."""

    def attest(self, copy: ConfirmedCopy, subject: Descriptor) -> MadeReferrer:
        """Return the statement about *copy* as a referrer of its manifest *subject* at the target."""
        ...

    def is_ours(self, entry: Descriptor, copy: ConfirmedCopy) -> bool:
        """Whether *entry* of the target's list is already such a statement about *copy*, so that none is added."""
        ...
