"""The roles of caches: hints that save requests. They may be wrong, outdated or missing, and no method raises."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from image_syncer.oci import Descriptor, Digest, PlatformFilter, Reference, Repository
from image_syncer.structs import Struct, field


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
