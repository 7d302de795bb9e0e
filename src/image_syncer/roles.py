"""The roles in a copy: a source and a target of images, and the caches that save requests.

Registries, layouts on disk and stores in memory implement them; each implementation passes the contract suite in
`tests/contract`. The methods of sources and targets raise `errors.StoreError`.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from image_syncer.errors import Side
from image_syncer.oci import Descriptor, Digest, PlatformFilter, RawManifest, Reference, Repository
from image_syncer.structs import Struct, field

Chunk = bytes | bytearray | memoryview
"""A piece of content; valid only until the next one is read, since buffers are reused."""


class Opener(Protocol):
    """Content that can be opened again, when a push is retried or resumed."""

    def __call__(self, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open the content for one read from byte *start*."""
        ...


class Source(Protocol):
    """A repository that images are read from."""

    async def resolve(self, identifier: str) -> Descriptor:
        """Return the descriptor that the tag or digest *identifier* names now, by a HEAD; `NotFound`."""
        ...

    async def manifest(self, identifier: str) -> RawManifest:
        """Return the manifest or index at *identifier*, verified if that is a digest; `NotFound`."""
        ...

    def open(self, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*; an interrupted read resumes by itself, within limits.

        Size and digest are verified while bytes flow: wrong content raises `ContentMismatch` instead of its last
        chunk. After a *start* above 0 the digest is checked only if this process has read the bytes before; otherwise
        the size alone. A *size* of None is allowed (Docker schema 1).
        """
        ...

    def tags(self) -> AsyncIterator[str]:
        """Yield every tag in the store's order, one page at a time; `NotFound` if the repository does not exist."""
        ...

    def listed_digests(self) -> Mapping[str, Digest]:
        """Return the digests that the pages of `tags` contained; empty if the registry lists none.

        They may be slightly outdated, so use them only to find that nothing has changed.
        """
        ...


class BlobTarget(Protocol):
    """A repository that blobs are written to. Every push is idempotent."""

    async def has_blob(self, blob: Descriptor, *, expected: bool = False) -> bool:
        """Whether the repository is known to hold *blob*; False also where a push costs less than to find out.

        *expected*: there is a sign that it does, so it is worth a request.
        """
        ...

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Store *blob*; wrong bytes are never committed (`ContentMismatch`).

        Opens *content* once per attempt, from where the previous attempt stopped if possible.
        """
        ...

    async def mount(self, blob: Descriptor, origin: Repository) -> bool:
        """Mount *blob* from the repository *origin* of the same registry; False means that a push is needed."""
        ...


class Fence(Protocol):
    """Tells whether a copy may still write tags. A worker that lost its job must not overwrite newer images."""

    async def check(self) -> None:
        """Return if the copy may write now; raises `LeaseLost`."""
        ...


class Target(BlobTarget, Protocol):
    """A repository that images are written to, blobs first."""

    async def is_new(self) -> bool:
        """Whether it is known not to exist yet, apart from what this process writes; False if that is uncertain."""
        ...

    async def resolve(self, identifier: str) -> Descriptor | None:
        """Return the descriptor that *identifier* names now; None if it (or the repository) does not exist yet."""
        ...

    async def push_manifest(self, manifest: RawManifest, identifier: str, fence: Fence | None = None) -> None:
        """Store *manifest* at the tag or digest *identifier*; `MissingContent` if the store lacks content of it.

        Checks *fence* right before each request, after all waits: `LeaseLost`, and nothing is sent.
        """
        ...

    async def push_tags(self, manifest: RawManifest, tags: Sequence[str], fence: Fence | None = None) -> frozenset[str]:
        """Set as many of *tags* as one request can to *manifest*, which the repository holds; return those.

        The result contains only tags that the store confirms; the others may name *manifest* or not. It is empty if
        the store sets one tag at a time; use `push_manifest` then. *fence* as in `push_manifest`.
        """
        ...


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


class Stores(Protocol):
    """Gives access to the repositories of every registry; equal arguments return the same object."""

    def source(self, repository: Repository) -> Source:
        """Return *repository* as a source."""
        ...

    def target(self, repository: Repository) -> Target:
        """Return *repository* as a target."""
        ...

    async def prepare(self, repository: Repository, side: Side, connections: int = 1) -> None:
        """Prepare requests to *repository* as *side* that follow: scheme, token, and *connections* if it is far."""
        ...

    def is_far(self, registry: str) -> bool:
        """Whether round trips to *registry* are long, so that more at once carries more; False while unknown."""
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

    def attest(self, copy: "ConfirmedCopy", subject: Descriptor) -> MadeReferrer:
        """Return the statement about *copy* as a referrer of its manifest *subject* at the target."""
        ...

    def is_ours(self, entry: Descriptor, copy: "ConfirmedCopy") -> bool:
        """Whether *entry* of the target's list is already such a statement about *copy*, so that none is added."""
        ...


class BlobLocations(Protocol):
    """The repository of a target registry that last received or held each blob.

    Entries are hints: they may be wrong, outdated or missing, which only costs requests. No method raises.
    """

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each known one of *blobs*."""
        ...

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Record that *repository* holds *blob*: it was pushed, mounted or found there."""
        ...

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Record that *repository* does not hold *digest*."""
        ...

    async def claim(self, registry: str, digest: Digest) -> bool:
        """Claim the upload of *digest* to *registry* for this process; False while another process has the claim."""
        ...

    def release(self, registry: str, digest: Digest) -> None:
        """Release the claim, if this process has it: the upload has ended, in whatever way."""
        ...


class ConfirmedCopy(Struct):
    """*target* names *target_digest*, which is *source_digest* filtered by *platforms*.

    *written*: this tool pushed it; otherwise it was found there.
    """

    rule: str
    source: Reference
    source_digest: Digest
    platforms: PlatformFilter
    target: Reference
    target_digest: Digest
    written: bool


class DigestCache(Protocol):
    """Digests that earlier runs found and wrote. Like `BlobLocations` it holds hints, and no method raises."""

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of the index or image *source* after filtering by *platforms*; None if unknown."""
        ...

    def record_filtered(self, source: Digest, platforms: PlatformFilter, filtered: Digest) -> None:
        """Record that *source*, filtered by *platforms*, has the digest *filtered*."""
        ...

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what each tag or digest of the target *repository* named when this tool last read or wrote it.

        Contains only what was confirmed within the last *seconds*.
        """
        ...

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Record *copies* as confirmed now."""
        ...


class ReferrerCheck(Struct):
    """When the referrers of *subject* in the target *repository* were last compared with the source's.

    *listed* is the digest of the source's list then (`oci.referrer.list_digest`). *settings* identifies the rule's
    settings of referrers and trust that held. *checked_at* is in seconds since the epoch.
    """

    repository: Repository
    subject: Digest
    listed: Digest
    settings: str
    checked_at: float


class ReferrerCache(Protocol):
    """The referrers that earlier runs compared and wrote. Like `BlobLocations` it holds hints; no method raises."""

    async def checks(self, repository: Repository, subjects: Collection[Digest]) -> Mapping[Digest, ReferrerCheck]:
        """Return the last check of each one of *subjects* in the target *repository* that was checked."""
        ...

    def record_check(self, check: ReferrerCheck) -> None:
        """Replace the last check of its subject."""
        ...

    async def written_tags(self, repository: Repository) -> Mapping[str, Digest]:
        """Return what this tool last wrote at each legacy tag of the target *repository*."""
        ...

    def record_written_tag(self, repository: Repository, tag: str, digest: Digest) -> None:
        """Record that this tool wrote *digest* at the legacy *tag*."""
        ...


class UploadCheckpoint(Struct):
    """An unfinished upload: its *location*, and how many bytes the registry has acknowledged."""

    location: str = field(repr=False)  # It may grant write access.
    offset_bytes: int


class UploadJournal(Protocol):
    """Unfinished uploads. Like `BlobLocations` it holds hints, and no method raises."""

    def record(self, repository: Repository, digest: Digest, checkpoint: UploadCheckpoint) -> None:
        """Record how far the upload of the blob *digest* to *repository* has come."""
        ...

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Claim the upload of *digest* to *repository* that no live process works on; None without one."""
        ...

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Remove the upload: it has ended, or the registry does not know it."""
        ...


class HostFact(Struct):
    """What this tool found out about a registry, and when."""

    value: str
    recorded_at: datetime


class HostFacts(Protocol):
    """Facts about registries by host and key, until they expire. Like `BlobLocations`: hints, and no method raises.

    A key says what the value means (`plain_http`). Callers must be right without a fact, and with a wrong one.
    """

    async def get(self, host: str, key: str) -> HostFact | None:
        """Return the fact *key* about *host*, None if unknown or expired; all facts of a host are read at once."""
        ...

    def remember(self, host: str, key: str, value: str, *, seconds: float) -> None:
        """Record the fact *key* about *host*, for the next *seconds*; *value* has at most 2000 characters."""
        ...

    def forget(self, host: str, key: str) -> None:
        """Remove the fact *key* about *host*, since it turned out wrong."""
        ...
